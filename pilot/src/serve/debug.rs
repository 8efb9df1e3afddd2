//! What people may look at: pages of the monitoring port.

use std::collections::BTreeMap;

use mesh_xds::{NamedResource, Scope, json, type_url};
use serde::Serialize;
use serde_json::{Value, json};

use super::Shared;
use crate::ingest::Problem;
use crate::store::ProblemReader;
use crate::translate;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// Its content type.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

impl Page {
    fn json(value: &impl Serialize) -> Self {
        let body = serde_json::to_string_pretty(value).expect("keys are strings");
        Self {
            status: 200,
            content_type: "application/json",
            body: body + "\n",
        }
    }

    fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

/// The page at `path`, or `None` if there is none:
///
/// - `/ready`: 200 once proxies are served, 503 before;
/// - `/debug/syncz`: a list of [`ProxyStatus`](super::ProxyStatus);
/// - `/debug/problems`: a list of [`Problem`], those of single objects first;
/// - `/debug/config_dump?proxyID=POD[.NAMESPACE]`: every resource as that proxy gets it now, by
///   type; secrets by name only.
pub(crate) fn page(
    shared: &Shared,
    problems: &ProblemReader,
    path_and_query: &str,
) -> Option<Page> {
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    match path {
        "/ready" if shared.latest.borrow().is_some() => Some(Page::text(200, "ready\n")),
        "/ready" => Some(Page::text(503, "configuration is not read yet\n")),
        "/debug/syncz" => Some(Page::json(&shared.connections.status())),
        "/debug/problems" => Some(Page::json(&all_problems(shared, problems))),
        "/debug/config_dump" => Some(config_dump(shared, query)),
        _ => None,
    }
}

/// What is wrong with single objects, then what is wrong between them.
pub(crate) fn all_problems(shared: &Shared, problems: &ProblemReader) -> Vec<Problem> {
    let mut all = problems.list();
    if let Some(published) = shared.latest.borrow().as_ref() {
        all.extend(published.snapshot.problems().iter().map(|problem| Problem {
            file: String::new(),
            object: format!("{} {}/{}", problem.kind, problem.namespace, problem.name),
            field: problem.field.clone(),
            problem: problem.message.clone(),
            remedy: problem.remedy.clone(),
        }));
    }
    all
}

fn config_dump(shared: &Shared, query: &str) -> Page {
    let wanted = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("proxyID="));
    let Some(name) = wanted else {
        return Page::text(400, "name a proxy: ?proxyID=POD or POD.NAMESPACE\n");
    };
    let Some(connection) = shared.connections.find(name) else {
        return Page::text(
            404,
            format!("proxy {name} is not connected (see /debug/syncz)\n"),
        );
    };
    let Some(published) = shared.latest.borrow().clone() else {
        return Page::text(503, "configuration is not read yet\n");
    };
    let mut types: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for url in type_url::PUSH_ORDER {
        let resources =
            translate::resources(&published.snapshot, &connection.proxy, url, &Scope::All);
        let shown = resources.iter().map(|resource| {
            let resource = NamedResource::from(resource);
            // Keys don't belong on a page without authentication.
            let body = if url == type_url::SECRET {
                Value::Null
            } else {
                json::to_json(&resource.body).unwrap_or_else(|error| error.to_string().into())
            };
            json!({"name": resource.name, "version": resource.version, "resource": body})
        });
        types.insert(type_url::short(url), shown.collect());
    }
    Page::json(&json!({
        "proxy": connection.proxy.id,
        "version": published.version,
        "resources": types,
    }))
}
