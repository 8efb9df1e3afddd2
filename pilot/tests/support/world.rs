//! A mesh made of manifests, for tests: a snapshot of it, and the proxies of its pods.
//!
//! Stands in for Kubernetes' endpoint controller: a Service with a selector gets an EndpointSlice of
//! the pods that it selects.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_config::decode::{Decoded, documents};
use mesh_pilot::ingest::{MeshConfigMap, ObjectKey, decode_all};
use mesh_pilot::model::{Labels, Locality, selects};
use mesh_pilot::snapshot::{Inputs, Item, Snapshot};
use mesh_pilot::translate::{Names, Proxy, ProxyKind, resources};
use mesh_xds::NamedResource;

/// Objects by key; a later manifest replaces an earlier one.
#[derive(Clone, Default)]
pub(crate) struct World {
    items: BTreeMap<ObjectKey, Item>,
    /// As written: what the tests ask of a pod stands in its annotations.
    pods: BTreeMap<(String, String), Pod>,
}

impl World {
    /// Adds the objects of a text; panics on anything that does not decode.
    pub(crate) fn load(mut self, text: &str) -> Self {
        let manifests = decode_all(text, "test", &MeshConfigMap::default());
        assert!(manifests.problems.is_empty(), "{:#?}", manifests.problems);
        self.items.extend(manifests.items);
        for document in documents(text, "test").into_iter().flatten() {
            let Decoded::Other(object) = document else {
                continue;
            };
            if object.kind == "Pod" {
                let namespace = object.namespace.unwrap_or_else(|| "default".to_owned());
                let mut pod: Pod = serde_json::from_value(object.value).unwrap();
                pod.metadata.namespace = Some(namespace.clone());
                self.pods.insert((namespace, object.name), pod);
            }
        }
        self
    }

    #[allow(dead_code)] // Not every test that includes this file loads files.
    /// As [`Self::load`], from a file below the repository's root.
    pub(crate) fn load_file(self, path: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        self.load(&text)
    }

    /// The snapshot of everything.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let inputs: Inputs = self.items.values().cloned().chain(self.slices()).collect();
        Snapshot::build(inputs)
    }

    /// Every pod.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// The proxy of a pod.
    pub(crate) fn proxy(&self, pod: &str, kind: ProxyKind) -> Proxy {
        let found = self
            .pods()
            .find(|p| p.metadata.name.as_deref() == Some(pod));
        let found = found.unwrap_or_else(|| panic!("no pod {pod}"));
        let meta = &found.metadata;
        let namespace = meta.namespace.clone().unwrap();
        let ip = ip(found);
        Proxy {
            id: format!("{pod}.{namespace}"),
            kind,
            ip: ip.parse().unwrap(),
            pod: pod.to_owned(),
            dns_domain: format!("{namespace}.svc.cluster.local"),
            namespace,
            labels: meta.labels.clone().unwrap_or_default(),
            service_account: "default".to_owned(),
            workload: pod.to_owned(),
            locality: Locality::default(),
            metadata: metadata(meta.annotations.as_ref()),
        }
    }

    fn slices(&self) -> Vec<Item> {
        let services = self.items.values().filter_map(|item| match item {
            Item::Service(service) => Some(service),
            _ => None,
        });
        services
            .filter_map(|service| self.slice(service))
            .map(|slice| Item::EndpointSlice(Arc::new(slice)))
            .collect()
    }

    fn slice(&self, service: &Service) -> Option<EndpointSlice> {
        let spec = service.spec.as_ref()?;
        let selector: &Labels = spec.selector.as_ref()?;
        let namespace = service.metadata.namespace.clone()?;
        let name = service.metadata.name.clone()?;
        let pods: Vec<&Pod> = self
            .pods()
            .filter(|pod| pod.metadata.namespace.as_ref() == Some(&namespace))
            .filter(|pod| {
                let labels = pod.metadata.labels.clone().unwrap_or_default();
                selects(selector, &labels)
            })
            .collect();
        let ports = spec.ports.iter().flatten().map(|port| EndpointPort {
            name: port.name.clone(),
            port: Some(match &port.target_port {
                Some(IntOrString::Int(number)) => *number,
                _ => port.port,
            }),
            protocol: port.protocol.clone(),
            app_protocol: None,
        });
        Some(EndpointSlice {
            address_type: "IPv4".to_owned(),
            metadata: ObjectMeta {
                name: Some(format!("{name}-1")),
                namespace: Some(namespace),
                labels: Some([("kubernetes.io/service-name".to_owned(), name)].into()),
                ..ObjectMeta::default()
            },
            ports: Some(ports.collect()),
            endpoints: pods.into_iter().map(endpoint).collect(),
        })
    }
}

fn ip(pod: &Pod) -> String {
    pod.status.as_ref().unwrap().pod_ip.clone().unwrap()
}

fn endpoint(pod: &Pod) -> Endpoint {
    Endpoint {
        addresses: vec![ip(pod)],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            ..EndpointConditions::default()
        }),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// All resources of a type that a proxy gets.
pub(crate) fn all(snapshot: &Snapshot, proxy: &Proxy, type_url: &str) -> Vec<NamedResource> {
    let all = resources(snapshot, proxy, type_url, &Names::All);
    all.iter().map(NamedResource::from).collect()
}

/// Node metadata that a test pod asks for: `golden/interception: NONE` is a pod without a redirect.
fn metadata(annotations: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mode = annotations.and_then(|annotations| annotations.get("golden/interception"));
    let mode = mode.map(|mode| ("INTERCEPTION_MODE".to_owned(), mode.clone()));
    mode.into_iter().collect()
}
