//! What is asked of the API server: collections, and which of their objects.

use http::Request;
use kube::api::{ListParams, WatchParams};
use kube::core::request;
use kube::core::{ApiResource, GroupVersionKind};
use mesh_config::Kind;
use serde_json::Value;

use super::Settings;
use super::cursor::Ask;

/// Objects of a part of a list: a part is in memory as a whole.
const PAGE_OBJECTS: u32 = 100;

/// How long the server keeps a stream open. Streams that a broken network holds open in silence are
/// given up soon after; going on costs a request or two.
pub(super) const STREAM_SECONDS: u32 = 120;

/// Secrets of these types have nothing for a gateway, and far too much of what isn't ours to read.
const SECRET_TYPES: &str = "type!=kubernetes.io/service-account-token,type!=helm.sh/release.v1,\
    type!=kubernetes.io/dockercfg,type!=kubernetes.io/dockerconfigjson,\
    type!=kubernetes.io/basic-auth,type!=kubernetes.io/ssh-auth,\
    type!=bootstrap.kubernetes.io/token,type!=istio.io/ca-root";

/// Pods that have finished serve nobody.
const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// A collection of the API server, and which of its objects are wanted.
#[derive(Clone, Debug)]
pub(super) struct Collection {
    /// The kind of the keys of its objects.
    pub(super) kind: &'static str,
    /// API version and kind of its objects: the parts of a list don't bear their own.
    resource: ApiResource,
    path: String,
    fields: Option<String>,
    /// Nothing but metadata is wanted.
    metadata_only: bool,
    /// Whether the mesh can't be served without it.
    pub(super) required: bool,
}

impl Collection {
    fn new(kind: &'static str, group: &str, version: &str) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Self {
            kind,
            path: path(&resource, None),
            resource,
            fields: None,
            metadata_only: false,
            required: true,
        }
    }

    fn with_fields(mut self, fields: &str) -> Self {
        self.fields = Some(fields.to_owned());
        self
    }

    /// Everything of Kubernetes' own that discovery reads.
    pub(super) fn of_kubernetes(settings: &Settings) -> Vec<Self> {
        vec![
            Self::new("Namespace", "", "v1"),
            Self::new("Service", "", "v1"),
            Self::new("EndpointSlice", "discovery.k8s.io", "v1"),
            Self::new("Pod", "", "v1").with_fields(LIVE_PODS),
            Self {
                // They only say where pods are.
                required: false,
                ..Self::new("Node", "", "v1")
            },
            Self::new("Secret", "", "v1").with_fields(SECRET_TYPES),
            Self::mesh_config(settings),
        ]
    }

    fn mesh_config(settings: &Settings) -> Self {
        let map = &settings.mesh_config;
        let maps = Self::new("ConfigMap", "", "v1");
        Self {
            kind: "MeshConfig",
            path: path(&maps.resource, Some(&map.namespace)),
            ..maps.with_fields(&format!("metadata.name={}", map.name))
        }
    }

    /// The objects of a mesh kind, in one of its versions.
    pub(super) fn of_mesh(kind: Kind, version: &str) -> Self {
        Self::new(kind.as_str(), kind.group(), version)
    }

    /// The definitions of custom resources: names only, for their schemas are huge.
    pub(super) fn definitions() -> Self {
        Self {
            metadata_only: true,
            ..Self::new("CustomResourceDefinition", "apiextensions.k8s.io", "v1")
        }
    }

    /// How RBAC and people call it: `virtualservices.networking.istio.io`.
    pub(super) fn name(&self) -> String {
        let ApiResource { plural, group, .. } = &self.resource;
        if group.is_empty() {
            plural.clone()
        } else {
            format!("{plural}.{group}")
        }
    }

    /// The request for what is to be asked.
    ///
    /// # Errors
    /// None in practice: paths are made of constants and a namespace's name.
    pub(super) fn request(&self, ask: &Ask) -> Result<Request<Vec<u8>>, request::Error> {
        let request = request::Request::new(self.path.as_str());
        let watch = |from: &str, initial| {
            let params = WatchParams {
                field_selector: self.fields.clone(),
                timeout: Some(STREAM_SECONDS),
                send_initial_events: initial,
                ..WatchParams::default()
            };
            match self.metadata_only {
                true => request.watch_metadata(&params, from),
                false => request.watch(&params, from),
            }
        };
        let list = |limit, continue_token| ListParams {
            field_selector: self.fields.clone(),
            limit: Some(limit),
            continue_token,
            ..ListParams::default()
        };
        match ask {
            // No version: at least as new as what anybody has seen.
            Ask::Stream => watch("", true),
            Ask::Watch(version) => watch(version, false),
            Ask::Page(token) if self.metadata_only => {
                request.list_metadata(&list(PAGE_OBJECTS, token.clone()))
            }
            Ask::Page(token) => request.list(&list(PAGE_OBJECTS, token.clone())),
            Ask::Version => request.list_metadata(&list(1, None)),
        }
    }

    /// Completes an object of a list.
    pub(super) fn complete(&self, object: &mut Value) {
        if let Value::Object(fields) = object {
            let resource = &self.resource;
            let mut add = |field: &str, value: &str| {
                fields.entry(field).or_insert_with(|| value.into());
            };
            add("apiVersion", &resource.api_version);
            add("kind", &resource.kind);
        }
    }
}

fn path(resource: &ApiResource, namespace: Option<&str>) -> String {
    let root = if resource.group.is_empty() {
        "/api"
    } else {
        "/apis"
    };
    let namespace = namespace
        .map(|name| format!("namespaces/{name}/"))
        .unwrap_or_default();
    format!(
        "{root}/{}/{namespace}{}",
        resource.api_version, resource.plural
    )
}
