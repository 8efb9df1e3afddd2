//! The kinds the platform knows.

use std::fmt;

/// One kind of object; equality and order are those of the kind's name.
#[derive(Clone, Copy)]
pub(crate) struct Kind(&'static Info);

/// What there is to know about a kind.
#[derive(Debug)]
pub(crate) struct Info {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    /// The version objects are shown in.
    pub(crate) version: &'static str,
    /// `VirtualService`.
    pub(crate) kind: &'static str,
    /// `virtualservices`.
    pub(crate) plural: &'static str,
    /// `vs`.
    pub(crate) short: &'static [&'static str],
    /// Whether it lives in a namespace.
    pub(crate) namespaced: bool,
    /// Who understands it.
    pub(crate) role: Role,
}

/// Who understands a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The platform runs it.
    Run,
    /// The platform makes it; a manifest of it is refused.
    Computed,
    /// The control plane's; validated and passed on.
    Mesh,
}

impl Kind {
    pub(crate) const NAMESPACE: Kind = Kind(&KINDS[0]);
    pub(crate) const SERVICE_ACCOUNT: Kind = Kind(&KINDS[1]);
    pub(crate) const DEPLOYMENT: Kind = Kind(&KINDS[2]);
    pub(crate) const REPLICA_SET: Kind = Kind(&KINDS[3]);
    pub(crate) const POD: Kind = Kind(&KINDS[4]);
    #[cfg(test)]
    pub(crate) const SERVICE: Kind = Kind(&KINDS[5]);
    pub(crate) const CONFIG_MAP: Kind = Kind(&KINDS[6]);
    #[cfg(test)]
    pub(crate) const SECRET: Kind = Kind(&KINDS[7]);
    pub(crate) const ENDPOINT_SLICE: Kind = Kind(&KINDS[8]);

    /// Its description.
    pub(crate) fn info(self) -> &'static Info {
        self.0
    }

    /// `v1`, `apps/v1`, ...
    pub(crate) fn api_version(self) -> String {
        match self.0.group {
            "" => self.0.version.to_owned(),
            group => format!("{group}/{}", self.0.version),
        }
    }

    /// The kind of a manifest; the group decides, any version is taken.
    pub(crate) fn of(group: &str, kind: &str) -> Option<Kind> {
        KINDS
            .iter()
            .find(|info| info.group == group && info.kind == kind)
            .map(Kind)
    }

    /// The kind a user means: kind, singular, plural or short name in any case, group optional.
    pub(crate) fn named(name: &str) -> Option<Kind> {
        let name = name.to_ascii_lowercase();
        let name = name.split('.').next().unwrap_or_default();
        KINDS
            .iter()
            .find(|info| {
                info.kind.eq_ignore_ascii_case(name)
                    || info.plural == name
                    || info.short.contains(&name)
            })
            .map(Kind)
    }

    /// All kinds, for messages.
    pub(crate) fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(Kind)
    }
}

const fn info(
    (group, version): (&'static str, &'static str),
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    role: Role,
) -> Info {
    Info {
        group,
        version,
        kind,
        plural,
        short,
        namespaced,
        role,
    }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const DISCOVERY: (&str, &str) = ("discovery.k8s.io", "v1");
const NETWORKING: (&str, &str) = ("networking.istio.io", "v1");
const SECURITY: (&str, &str) = ("security.istio.io", "v1");
const TELEMETRY: (&str, &str) = ("telemetry.istio.io", "v1");
const EXTENSIONS: (&str, &str) = ("extensions.istio.io", "v1alpha1");

/// The first nine are indexed by the constants of [`Kind`].
static KINDS: [Info; 22] = {
    use Role::{Computed, Mesh, Run};
    [
        info(CORE, "Namespace", "namespaces", &["ns"], false, Run),
        info(
            CORE,
            "ServiceAccount",
            "serviceaccounts",
            &["sa"],
            true,
            Run,
        ),
        info(APPS, "Deployment", "deployments", &["deploy"], true, Run),
        info(APPS, "ReplicaSet", "replicasets", &["rs"], true, Computed),
        info(CORE, "Pod", "pods", &["po"], true, Run),
        info(CORE, "Service", "services", &["svc"], true, Run),
        info(CORE, "ConfigMap", "configmaps", &["cm"], true, Run),
        info(CORE, "Secret", "secrets", &[], true, Run),
        info(
            DISCOVERY,
            "EndpointSlice",
            "endpointslices",
            &["ep", "endpoints"],
            true,
            Computed,
        ),
        info(
            NETWORKING,
            "VirtualService",
            "virtualservices",
            &["vs"],
            true,
            Mesh,
        ),
        info(
            NETWORKING,
            "DestinationRule",
            "destinationrules",
            &["dr"],
            true,
            Mesh,
        ),
        info(NETWORKING, "Gateway", "gateways", &["gw"], true, Mesh),
        info(
            NETWORKING,
            "ServiceEntry",
            "serviceentries",
            &["se"],
            true,
            Mesh,
        ),
        info(
            NETWORKING,
            "WorkloadEntry",
            "workloadentries",
            &["we"],
            true,
            Mesh,
        ),
        info(
            NETWORKING,
            "WorkloadGroup",
            "workloadgroups",
            &["wg"],
            true,
            Mesh,
        ),
        info(NETWORKING, "Sidecar", "sidecars", &[], true, Mesh),
        info(NETWORKING, "EnvoyFilter", "envoyfilters", &[], true, Mesh),
        info(
            SECURITY,
            "PeerAuthentication",
            "peerauthentications",
            &["pa"],
            true,
            Mesh,
        ),
        info(
            SECURITY,
            "AuthorizationPolicy",
            "authorizationpolicies",
            &["ap"],
            true,
            Mesh,
        ),
        info(
            SECURITY,
            "RequestAuthentication",
            "requestauthentications",
            &["ra"],
            true,
            Mesh,
        ),
        info(
            TELEMETRY,
            "Telemetry",
            "telemetries",
            &["telemetry"],
            true,
            Mesh,
        ),
        info(EXTENSIONS, "WasmPlugin", "wasmplugins", &[], true, Mesh),
    ]
};

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.0.kind == other.0.kind
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.kind.cmp(other.0.kind)
    }
}

impl std::hash::Hash for Kind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.kind.hash(state);
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_name_their_kinds() {
        for (kind, name) in [
            (Kind::NAMESPACE, "Namespace"),
            (Kind::SERVICE_ACCOUNT, "ServiceAccount"),
            (Kind::DEPLOYMENT, "Deployment"),
            (Kind::REPLICA_SET, "ReplicaSet"),
            (Kind::POD, "Pod"),
            (Kind::SERVICE, "Service"),
            (Kind::CONFIG_MAP, "ConfigMap"),
            (Kind::SECRET, "Secret"),
            (Kind::ENDPOINT_SLICE, "EndpointSlice"),
        ] {
            assert_eq!(kind.info().kind, name);
        }
    }

    #[test]
    fn users_may_write_any_name_of_a_kind() {
        for name in [
            "vs",
            "VirtualService",
            "virtualservices",
            "virtualservice.networking.istio.io",
        ] {
            assert_eq!(Kind::named(name).unwrap().info().kind, "VirtualService");
        }
        assert!(Kind::named("cronjob").is_none());
    }
}
