//! The monitoring port: metrics, readiness, version, debug pages, log level.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_injector::Inputs;
use mesh_pilot::Pilot;
use mesh_telemetry::log::LogHandle;
use mesh_telemetry::metrics::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "\
/metrics              Prometheus metrics
/ready                200 while proxies, and on Kubernetes webhooks, are served
/live                 200 while this process runs
/version              this control plane's version
/debug/syncz          every proxy, and how far it has come
/debug/problems       everything that is wrong with the configuration
/debug/config_dump    ?proxyID=POD.NAMESPACE: what that proxy gets
/logging              the log filter; POST ?level=info,mesh_pilot=debug changes it
";

const FOR_THE_LOOPBACK: &str = "this page is served on the loopback only: use `meshctl dashboard control-plane`, or `kubectl port-forward`\n";

/// What the pages tell about.
pub(crate) struct Monitoring {
    metrics: Registry,
    log: LogHandle,
    /// There once the certificate authority is.
    started: OnceLock<Started>,
    leaving: AtomicBool,
}

struct Started {
    pilot: Arc<Pilot>,
    injection: Option<watch::Receiver<Option<Inputs>>>,
}

/// Serves the pages until `stopped`'s sender is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    pages: Arc<Monitoring>,
    mut stopped: watch::Receiver<()>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((stream, from)) = accepted else {
            continue;
        };
        let here = from.ip().to_canonical().is_loopback();
        let pages = pages.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let page = pages.page(&request, here);
                async move { Ok::<_, Infallible>(page) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "monitoring connection ended");
            }
        });
    }
    connections.shutdown().await;
}

impl Monitoring {
    /// Pages of a process that has just begun: it is not ready.
    pub(crate) fn new(metrics: Registry, log: LogHandle) -> Self {
        Self {
            metrics,
            log,
            started: OnceLock::new(),
            leaving: AtomicBool::new(false),
        }
    }

    /// Everything runs now; it is ready as soon as discovery and injection have been read once.
    pub(crate) fn started(
        &self,
        pilot: Arc<Pilot>,
        injection: Option<watch::Receiver<Option<Inputs>>>,
    ) {
        let _ = self.started.set(Started { pilot, injection });
    }

    /// The process is about to end: nobody is to be sent here any more.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Why not, if it is not ready. Discovery has its own say after this.
    fn unready(&self) -> Option<&'static str> {
        if self.leaving.load(Ordering::Relaxed) {
            return Some("the process is ending");
        }
        let Some(started) = self.started.get() else {
            return Some("the certificate authority has not been read yet");
        };
        let injection = started.injection.as_ref()?;
        let missing = injection.borrow().is_none();
        missing.then_some("the settings of the injection (ConfigMaps istio and istio-sidecar-injector) have not been read yet, or are refused: see the log")
    }

    /// `here`: whether the request comes from the loopback, as by port forwarding. What tells of every
    /// proxy, and what changes something, is for those only. As in Istio.
    fn page(&self, request: &Request<Incoming>, here: bool) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !here && (path.starts_with("/debug") || request.method() != Method::GET) {
            return reply(StatusCode::FORBIDDEN, TEXT, FOR_THE_LOOPBACK.to_owned());
        }
        match (request.method(), path) {
            (&Method::GET, "/") => reply(StatusCode::OK, TEXT, INDEX.to_owned()),
            (&Method::GET, "/live") => reply(StatusCode::OK, TEXT, "alive\n".to_owned()),
            (&Method::GET, "/metrics") => reply(StatusCode::OK, METRICS, self.metrics.render()),
            (&Method::GET, "/version") => {
                let version = json!({"version": env!("CARGO_PKG_VERSION")});
                reply(StatusCode::OK, "application/json", format!("{version}\n"))
            }
            (&Method::GET, "/logging") => reply(StatusCode::OK, TEXT, self.log.current() + "\n"),
            (&Method::POST, "/logging") => self.set_log(request.uri().query().unwrap_or_default()),
            (&Method::GET, _) => self.debug_page(request.uri()),
            _ => reply(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "only GET (and POST /logging)\n".to_owned(),
            ),
        }
    }

    fn debug_page(&self, uri: &http::Uri) -> Response<Full<Bytes>> {
        if let ("/ready", Some(reason)) = (uri.path(), self.unready()) {
            return reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n"));
        }
        let asked = uri.path_and_query().map_or("/", |path| path.as_str());
        let page = self
            .started
            .get()
            .and_then(|started| started.pilot.debug(asked));
        let Some(page) = page else {
            return reply(
                StatusCode::NOT_FOUND,
                TEXT,
                format!("no such page; there are\n{INDEX}"),
            );
        };
        let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        reply(status, page.content_type, page.body)
    }

    fn set_log(&self, query: &str) -> Response<Full<Bytes>> {
        let Some(filter) = query.strip_prefix("level=") else {
            return reply(
                StatusCode::BAD_REQUEST,
                TEXT,
                "say which: POST /logging?level=debug\n".to_owned(),
            );
        };
        match self.log.set(filter) {
            Ok(()) => reply(StatusCode::OK, TEXT, self.log.current() + "\n"),
            Err(error) => reply(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")),
        }
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
