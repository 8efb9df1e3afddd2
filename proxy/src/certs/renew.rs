//! The renewal loop: asks the authority for a certificate, publishes it, and asks again at
//! half of its life. While the authority is away, the old certificate stays.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_identity::WorkloadCertificate;
use mesh_identity::refresh::refresh_at;
use mesh_telemetry::metrics::{Counter, Kind};
use tokio::sync::Notify;

use super::request;
use super::roots::RootsFile;
use crate::control::backoff::Backoff;
use crate::state::{Shared, chain};

/// First and longest pause between attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Shortest time between two certificates.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest pause before the first certificate.
const FIRST_CERTIFICATE: Duration = Duration::from_secs(2);
/// Longest sleep at once: timers stand still while a machine is suspended, the wall clock does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Renews the certificate until the task is dropped. `published` is notified after each one.
pub async fn run(shared: Arc<Shared>, published: Rc<Notify>) {
    let (accepted, failed) = metrics(&shared);
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut roots = RootsFile::open(shared.bootstrap.root_cert_path.clone());
    loop {
        match request::certificate(&shared.bootstrap).await {
            Ok(certificate) => {
                accepted.inc();
                backoff.reset();
                let renew_at = renewal_of(&certificate, SystemTime::now(), rand::random());
                tracing::info!(
                    id = %certificate.id(),
                    serial = certificate.serial(),
                    renew_in = ?renew_at.duration_since(SystemTime::now()).unwrap_or_default(),
                    "workload certificate is in use"
                );
                shared.certs.publish(roots.add_to(&certificate));
                published.notify_waiters();
                serve_until(renew_at, &shared, &certificate, &mut roots).await;
            }
            Err(error) => {
                failed.inc();
                let pause = pause(&shared, &mut backoff);
                tracing::warn!(
                    error = chain(&error),
                    authority = %shared.bootstrap.authority,
                    retry_in = ?pause,
                    keeps = shared.certs.current().is_some(),
                    "no certificate from the authority"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// When to renew. Where half of the life lies behind us already, because a clock is wrong, a
/// tenth of what is left still passes: the authority must not be asked in a loop.
fn renewal_of(certificate: &WorkloadCertificate, now: SystemTime, jitter: f64) -> SystemTime {
    let left = certificate
        .not_after()
        .duration_since(now)
        .unwrap_or_default();
    let earliest = now + (left / 10).max(SHORTEST);
    refresh_at(certificate.not_before(), certificate.not_after(), jitter).max(earliest)
}

/// The next pause; a short-lived certificate leaves no time for long ones, and without any the
/// whole pod waits.
fn pause(shared: &Shared, backoff: &mut Backoff) -> Duration {
    let life = |certificate: &WorkloadCertificate| {
        certificate
            .not_after()
            .duration_since(certificate.not_before())
            .unwrap_or(RETRY.1)
    };
    let longest = shared
        .certs
        .current()
        .map_or(FIRST_CERTIFICATE, |current| life(&current.certificate) / 10);
    backoff.next_pause().min(longest)
}

/// Waits for `time`; new roots in the file go into use at once.
async fn serve_until(
    time: SystemTime,
    shared: &Shared,
    certificate: &WorkloadCertificate,
    roots: &mut RootsFile,
) {
    let mut renewal = pin!(sleep_until(time));
    loop {
        tokio::select! {
            () = &mut renewal => return,
            () = roots.changed() => {
                tracing::info!("roots have changed");
                shared.certs.publish(roots.add_to(certificate));
            }
        }
    }
}

async fn sleep_until(time: SystemTime) {
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

fn metrics(shared: &Arc<Shared>) -> (Counter, Counter) {
    let requests = shared.registry.counter(
        "meshproxy_certificate_requests_total",
        "Certificates asked for.",
        &["result"],
    );
    let weak = Arc::downgrade(shared);
    shared.registry.collector(move |encoder| {
        const NAME: &str = "meshproxy_certificate_expiry_timestamp_seconds";
        let current = weak.upgrade().and_then(|shared| shared.certs.current());
        if let Some(current) = current {
            let expiry = current
                .certificate
                .not_after()
                .duration_since(SystemTime::UNIX_EPOCH);
            encoder.family(
                NAME,
                "Unix time at which the workload certificate expires.",
                Kind::Gauge,
            );
            encoder.sample(
                NAME,
                &[],
                expiry.map_or(0.0, |since| since.as_secs_f64().floor()),
            );
        }
    });
    (requests.with(&["accepted"]), requests.with(&["failed"]))
}
