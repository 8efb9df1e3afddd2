//! Istio's kinds that come later.

/// A kind of Istio's API that is not implemented yet.
///
/// Its CustomResourceDefinition is installed all the same, so that Istio's YAML and tools find
/// the kind; its objects are refused by name instead of having no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlannedKind {
    /// API group, for example `networking.istio.io`.
    pub group: &'static str,
    /// The kind as written in manifests, for example `EnvoyFilter`.
    pub name: &'static str,
    /// The kind's name in URLs of the API server, for example `envoyfilters`.
    pub plural: &'static str,
    /// Versions that Istio serves, newest first.
    pub versions: &'static [&'static str],
    /// The version in which Istio's CRD stores objects.
    pub stored: &'static str,
    /// Short names that kubectl knows.
    pub short_names: &'static [&'static str],
}

impl PlannedKind {
    /// All of them, by group and name.
    pub const ALL: [PlannedKind; 7] = [
        PlannedKind {
            group: "extensions.istio.io",
            name: "TrafficExtension",
            plural: "trafficextensions",
            versions: &["v1alpha1"],
            stored: "v1alpha1",
            short_names: &[],
        },
        PlannedKind {
            group: "extensions.istio.io",
            name: "WasmPlugin",
            plural: "wasmplugins",
            versions: &["v1alpha1"],
            stored: "v1alpha1",
            short_names: &[],
        },
        PlannedKind {
            group: "networking.istio.io",
            name: "EnvoyFilter",
            plural: "envoyfilters",
            versions: &["v1alpha3"],
            stored: "v1alpha3",
            short_names: &[],
        },
        PlannedKind {
            group: "networking.istio.io",
            name: "ProxyConfig",
            plural: "proxyconfigs",
            versions: &["v1beta1"],
            stored: "v1beta1",
            short_names: &[],
        },
        PlannedKind {
            group: "networking.istio.io",
            name: "WorkloadGroup",
            plural: "workloadgroups",
            versions: &["v1", "v1beta1", "v1alpha3"],
            stored: "v1",
            short_names: &["wg"],
        },
        PlannedKind {
            group: "security.istio.io",
            name: "RequestAuthentication",
            plural: "requestauthentications",
            versions: &["v1", "v1beta1"],
            stored: "v1",
            short_names: &["ra"],
        },
        PlannedKind {
            group: "telemetry.istio.io",
            name: "Telemetry",
            plural: "telemetries",
            versions: &["v1", "v1alpha1"],
            stored: "v1alpha1",
            short_names: &["telemetry"],
        },
    ];

    /// The planned kind of a manifest's `kind` under an API `group`, if it is one.
    pub fn find(group: &str, kind: &str) -> Option<PlannedKind> {
        PlannedKind::ALL
            .into_iter()
            .find(|planned| planned.group == group && planned.name == kind)
    }
}
