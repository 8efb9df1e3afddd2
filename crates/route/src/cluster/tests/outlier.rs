//! Outlier detection over time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::cluster::v3::cluster::LbPolicy;

use super::{Host, build, config, counts, healthy, number};
use crate::cluster::{Cluster, Report};

fn outlier(hosts: &[Host]) -> Cluster {
    let mut config = config(LbPolicy::RoundRobin, hosts);
    config.outlier_detection = Some(cluster::OutlierDetection {
        consecutive_5xx: number(3),
        max_ejection_percent: number(50),
        base_ejection_time: Some(mesh_xds::google::protobuf::Duration {
            seconds: 30,
            nanos: 0,
        }),
        ..Default::default()
    });
    build(config, None)
}

#[test]
fn failing_endpoint_is_ejected_and_comes_back_later_each_time() {
    let cluster = outlier(&[healthy("10.0.0.1"), healthy("10.0.0.2")]);
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let set = cluster.endpoints();
    let (bad, good) = (&set.all()[0], &set.all()[1]);
    let fail =
        |endpoint, now| (0..3).for_each(|_| cluster.report(endpoint, Report::Status(500), now));
    cluster.report(bad, Report::Status(500), start);
    cluster.report(bad, Report::Status(200), start);
    cluster.report(bad, Report::LocalFailure, start);
    assert!(!bad.stats().ejected, "a success in between starts anew");
    fail(bad, start);
    assert!(bad.stats().ejected);
    assert_eq!(
        counts(&cluster, 10, |_| None).keys().collect::<Vec<_>>(),
        ["10.0.0.2"]
    );
    fail(good, start);
    assert!(!good.stats().ejected, "at most half are ejected");
    cluster.sweep(at(29));
    assert!(bad.stats().ejected);
    cluster.sweep(at(30));
    assert!(!bad.stats().ejected);
    assert_eq!(counts(&cluster, 10, |_| None).len(), 2);
    fail(bad, at(31));
    cluster.sweep(at(90));
    assert!(bad.stats().ejected, "the second time lasts twice as long");
    cluster.sweep(at(91));
    assert!(!bad.stats().ejected);
}

#[test]
fn ejection_survives_a_new_version() {
    let hosts = [healthy("10.0.0.1"), healthy("10.0.0.2")];
    let first = outlier(&hosts);
    let now = Instant::now();
    let bad = Arc::clone(&first.endpoints().all()[0]);
    (0..3).for_each(|_| first.report(&bad, Report::Status(503), now));
    let second = build(config(LbPolicy::Random, &hosts), Some(&first));
    assert!(second.endpoints().all()[0].stats().ejected);
    assert_eq!(
        counts(&second, 20, |_| None).keys().collect::<Vec<_>>(),
        ["10.0.0.2"]
    );
}
