use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http1::echo;
use crate::rig::{Rig, get, run, server};
use crate::xds::{cluster, filtered, manager, outbound_listener, route_to, routes, with};

const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";

fn fault_filter() -> Value {
    filtered(&[json!({"name": "envoy.filters.http.fault", "typed_config": {"@type": FAULT}})])
}

fn faulty(fault: Value) -> Value {
    let config = with(json!({"@type": FAULT}), fault);
    with(
        route_to("a"),
        json!({"typed_per_filter_config": {"envoy.filters.http.fault": config}}),
    )
}

#[test]
fn delays_then_forwards() {
    run(async {
        let rig = Rig::new("client");
        let delay = json!({"delay": {"fixed_delay": "0.1s", "percentage": {"numerator": 100}}});
        rig.apply(&[
            cluster("a", &[echo().await]),
            outbound_listener(manager(routes(&[faulty(delay)]), fault_filter())),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let started = Instant::now();
        assert!(get(at, "/", "").await.starts_with("HTTP/1.1 200"));
        assert!(started.elapsed() >= Duration::from_millis(100));
        assert_eq!(
            rig.lines("istio_requests_total", &["response_flags=\"DI\""])
                .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn aborts_with_the_wanted_status() {
    run(async {
        let rig = Rig::new("client");
        let abort = json!({"abort": {"http_status": 555, "percentage": {"numerator": 100}}});
        rig.apply(&[
            cluster("a", &[echo().await]),
            outbound_listener(manager(routes(&[faulty(abort)]), fault_filter())),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let answer = get(at, "/", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 555") && answer.ends_with("fault filter abort"),
            "{answer}"
        );
        assert_eq!(
            rig.lines(
                "istio_requests_total",
                &["response_flags=\"FI\"", "code=\"555\""]
            )
            .len(),
            1
        );
        assert_eq!(rig.cluster("a").rq_total, 0);
        rig.finish().await;
    });
}

#[test]
fn a_slow_upstream_is_a_504() {
    run(async {
        let silent = server(|stream| async move {
            let _open = stream;
            std::future::pending().await
        })
        .await;
        let rig = Rig::new("client");
        let route = with(route_to("a"), json!({"route": {"timeout": "0.05s"}}));
        rig.apply(&[
            cluster("a", &[silent]),
            outbound_listener(manager(routes(&[route]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let answer = get(at, "/", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 504") && answer.ends_with("upstream request timeout"),
            "{answer}"
        );
        assert_eq!(
            rig.lines("istio_requests_total", &["response_flags=\"UT\""])
                .len(),
            1
        );
        assert_eq!(rig.cluster("a").rq_timeout, 1);
        rig.finish().await;
    });
}

#[test]
fn a_new_policy_holds_for_the_next_request_of_an_old_connection() {
    run(async {
        use tokio::io::AsyncWriteExt as _;
        let rig = Rig::new("client");
        let open = outbound_listener(manager(routes(&[route_to("a")]), json!({})));
        rig.apply(&[cluster("a", &[echo().await]), open]);
        let at = rig.outbound("10.96.0.1:80").await;
        let mut client = tokio::net::TcpStream::connect(at).await.unwrap();
        client
            .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(
            crate::rig::read_head(&mut client)
                .await
                .starts_with("HTTP/1.1 200")
        );
        let deny = json!({"name": "envoy.filters.http.rbac", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {}},
        }});
        rig.apply(&[outbound_listener(manager(
            routes(&[route_to("a")]),
            filtered(&[deny]),
        ))]);
        client
            .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(
            crate::rig::read_head(&mut client)
                .await
                .starts_with("HTTP/1.1 403")
        );
        drop(client);
        rig.finish().await;
    });
}

#[test]
fn mirrors_are_sent_and_forgotten() {
    run(async {
        use std::cell::RefCell;
        use std::rc::Rc;
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let shadows = Rc::clone(&seen);
        let shadow = server(move |mut stream| {
            let shadows = Rc::clone(&shadows);
            async move {
                let head = crate::rig::read_head(&mut stream).await;
                let mut body = [0; 4];
                let _ = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body).await;
                shadows
                    .borrow_mut()
                    .push(format!("{head}{}", String::from_utf8_lossy(&body)));
            }
        })
        .await;
        let rig = Rig::new("client");
        let route = with(
            route_to("a"),
            json!({"route": {"request_mirror_policies": [{
                "cluster": "outbound|80||b.test",
                "runtime_fraction": {"default_value": {"numerator": 100}},
            }]}}),
        );
        rig.apply(&[
            cluster("a", &[echo().await]),
            cluster("b", &[shadow]),
            outbound_listener(manager(routes(&[route]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let request =
            "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
        assert!(crate::rig::raw(at, request).await.ends_with("body"));
        rig.until("the shadow came", || !seen.borrow().is_empty())
            .await;
        let text = seen.borrow()[0].to_lowercase();
        assert!(
            text.contains("host: a.test-shadow\r\n") && text.ends_with("body"),
            "{text}"
        );
        rig.finish().await;
    });
}
