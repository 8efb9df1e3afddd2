//! Ports for the platform: readiness (15021), merged metrics and rewritten probes (15020),
//! the proxy's own metrics (15090).

mod merge;
mod probe;
pub mod wait;

use std::net::SocketAddr;
use std::rc::Rc;

use http::{Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;

use crate::admin::prometheus;
use crate::admin::server::{Answer, Handler, PeerAddress, text};
use crate::control::Control;
use crate::state::Shared;

/// Why the proxy takes no new traffic; `None` if it does.
pub fn not_ready(shared: &Shared) -> Option<String> {
    if shared.drain.is_draining() {
        return Some("draining".to_owned());
    }
    shared.readiness.missing()
}

fn readiness(shared: &Shared) -> Answer {
    match not_ready(shared) {
        None => text(StatusCode::OK, "ready\n"),
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// 15021: `/healthz/ready`.
#[derive(Debug)]
pub struct Readiness {
    control: Rc<Control>,
}

impl Readiness {
    /// Readiness of `control`'s process.
    pub fn new(control: Rc<Control>) -> Rc<Self> {
        Rc::new(Self { control })
    }
}

impl Handler for Readiness {
    async fn handle(self: Rc<Self>, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/healthz/ready" => readiness(&self.control.shared),
            _ => text(StatusCode::NOT_FOUND, "ask for /healthz/ready\n"),
        }
    }
}

/// 15090: `/stats/prometheus`.
#[derive(Debug)]
pub struct Metrics {
    control: Rc<Control>,
}

impl Metrics {
    /// Metrics of `control`'s process.
    pub fn new(control: Rc<Control>) -> Rc<Self> {
        Rc::new(Self { control })
    }
}

impl Handler for Metrics {
    async fn handle(self: Rc<Self>, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/stats/prometheus" | "/metrics" => prometheus(&self.control),
            _ => text(StatusCode::NOT_FOUND, "ask for /stats/prometheus\n"),
        }
    }
}

/// 15020: merged metrics, probes of the application, readiness, end.
#[derive(Debug)]
pub struct Status {
    control: Rc<Control>,
    prober: probe::Dialer,
}

impl Status {
    /// Status of `control`'s process.
    pub fn new(control: Rc<Control>) -> Rc<Self> {
        let prober = probe::Dialer::new(control.shared.bootstrap.instance_ip);
        Rc::new(Self { control, prober })
    }

    /// A probe (`/app-health/`) or lifecycle hook (`/app-lifecycle/`) that was redirected here.
    async fn application(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let Some(prober) = self.control.shared.bootstrap.probers.get(path) else {
            return text(
                StatusCode::NOT_FOUND,
                format!("no probe is known by {path}\n"),
            );
        };
        match self.prober.probe(prober, request.headers()).await {
            Ok(status) => text(status, ""),
            Err(error) => {
                tracing::debug!(
                    path,
                    error = crate::state::chain(&error),
                    "probe of the application failed"
                );
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("{}\n", crate::state::chain(&error)),
                )
            }
        }
    }

    async fn merged_metrics(&self, request: &Request<Incoming>) -> Answer {
        let own = self.control.shared.registry.render();
        let Some(app) = &self.control.shared.bootstrap.app_metrics else {
            return prometheus(&self.control);
        };
        merge::answer(own, app, &self.prober, request.headers()).await
    }
}

impl Handler for Status {
    async fn handle(self: Rc<Self>, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (_, "/healthz/ready") => readiness(&self.control.shared),
            (_, "/stats/prometheus" | "/metrics") => self.merged_metrics(&request).await,
            (&Method::POST, "/quitquitquit") => self.quit(&request),
            (_, "/quitquitquit") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "/quitquitquit takes POST\n")
            }
            (_, path)
                if path.starts_with("/app-health/") || path.starts_with("/app-lifecycle/") =>
            {
                self.application(&request).await
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

impl Status {
    /// Only the pod's own processes may end the proxy.
    fn quit(&self, request: &Request<Incoming>) -> Answer {
        let local = request
            .extensions()
            .get::<PeerAddress>()
            .is_some_and(|peer| is_local(peer.0, &self.control.shared));
        if !local {
            return text(StatusCode::FORBIDDEN, "only from within the pod\n");
        }
        self.control.shutdown.ask();
        text(StatusCode::OK, "OK\n")
    }
}

fn is_local(peer: SocketAddr, shared: &Shared) -> bool {
    peer.ip().is_loopback() || peer.ip() == shared.bootstrap.instance_ip
}
