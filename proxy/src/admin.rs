//! The admin interface on localhost:15000, in Envoy's paths and shapes, so that tools made
//! for Envoy read it.

mod clusters;
mod config_dump;
pub mod drain;
mod pages;
pub mod server;

use std::rc::Rc;

use http::{Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use mesh_telemetry::drain::Phase;
use mesh_telemetry::metrics::CONTENT_TYPE;

use crate::control::Control;
use server::{Answer, Handler, Query, json, text};

/// Serves the admin paths.
#[derive(Debug)]
pub struct Admin {
    control: Rc<Control>,
}

/// Path, method and meaning of everything that is served.
const PATHS: &[(&str, &str, &str)] = &[
    ("/", "GET", "this help"),
    ("/certs", "GET", "workload certificate and roots"),
    (
        "/clusters",
        "GET",
        "clusters with their endpoints (?format=json)",
    ),
    (
        "/config_dump",
        "GET",
        "configuration as it came and is in force (?include_eds, ?resource=LIST)",
    ),
    (
        "/drain_listeners",
        "POST",
        "tell connections to go, keep serving (?inboundonly: those from elsewhere)",
    ),
    ("/healthz", "GET", "200 while the process runs"),
    ("/listeners", "GET", "listeners (?format=json)"),
    (
        "/logging",
        "POST",
        "show the log filter, or set it (?level=info, ?mesh_proxy=debug)",
    ),
    ("/quitquitquit", "POST", "drain and end"),
    ("/ready", "GET", "200 if ready, else 503 with the reason"),
    ("/server_info", "GET", "version, state, node"),
    (
        "/stats",
        "GET",
        "metrics (?filter=REGEX, ?usedonly, ?format=json, ?format=prometheus)",
    ),
    (
        "/stats/prometheus",
        "GET",
        "metrics in Prometheus text format",
    ),
];

impl Admin {
    /// An admin interface to `control`.
    pub fn new(control: Rc<Control>) -> Rc<Self> {
        Rc::new(Self { control })
    }

    fn answer(&self, method: &Method, path: &str, query: &Query) -> Answer {
        let path = if path.len() > 1 {
            path.trim_end_matches('/')
        } else {
            path
        };
        let Some((_, wanted, _)) = PATHS.iter().find(|(known, ..)| *known == path) else {
            return text(
                StatusCode::NOT_FOUND,
                "no such path, see / for those there are\n",
            );
        };
        let changes = *wanted == "POST";
        if changes != (method == Method::POST) && method != Method::HEAD {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{path} takes {wanted}\n"),
            );
        }
        let control = &*self.control;
        match path {
            "/" => pages::help(PATHS),
            "/certs" => json(&pages::certs(control)),
            "/clusters" if query.is("format", "json") => json(&clusters::as_json(control)),
            "/clusters" => text(StatusCode::OK, clusters::as_text(control)),
            "/config_dump" => config_dump::answer(control, query),
            "/drain_listeners" => self.drain(query),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/listeners" if query.is("format", "json") => json(&pages::listeners_json(control)),
            "/listeners" => text(StatusCode::OK, pages::listeners_text(control)),
            "/logging" => pages::logging(control, query),
            "/quitquitquit" => {
                control.shutdown.ask();
                text(StatusCode::OK, "OK\n")
            }
            "/ready" => pages::ready(control),
            "/server_info" => json(&pages::server_info(control)),
            "/stats" if query.is("format", "prometheus") => prometheus(control),
            "/stats" => pages::stats(control, query),
            _ => prometheus(control),
        }
    }

    /// Always `graceful`, and never an exit: Envoy's other parameters change nothing.
    fn drain(&self, query: &Query) -> Answer {
        let phase = match query.has("inboundonly") {
            true => Phase::DrainingInbound,
            false => Phase::Draining,
        };
        self.control.drain.advance(phase);
        text(StatusCode::OK, "OK\n")
    }
}

impl Handler for Admin {
    async fn handle(self: Rc<Self>, request: Request<Incoming>) -> Answer {
        let query = Query::of(request.uri());
        self.answer(request.method(), request.uri().path(), &query)
    }
}

/// All metrics, as text.
pub(crate) fn prometheus(control: &Control) -> Answer {
    server::typed(
        StatusCode::OK,
        CONTENT_TYPE,
        control.shared.registry.render(),
    )
}

#[cfg(test)]
mod tests;
