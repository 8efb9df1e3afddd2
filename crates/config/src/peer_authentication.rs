//! PeerAuthentication: which transport authentication servers demand.
//!
//! Source: Istio API `security/v1/peer_authentication.proto`.

use std::collections::BTreeMap;

use crate::number::PortNumber;
use crate::object::Object;
use crate::selector::{LabelSelector, Labels};

/// Transport authentication of the mesh, a namespace, or the workloads that the selector picks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAuthentication {
    /// Workloads; `None` means the whole namespace (or, in the root namespace, the whole mesh).
    pub selector: Option<LabelSelector>,
    /// Mode for all ports; `None` (`UNSET`) means that of the wider scope.
    pub mtls: Option<MtlsMode>,
    /// Mode by port of the workload (not of the service); only with a selector. `None` means the workload's mode.
    pub port_level: BTreeMap<PortNumber, Option<MtlsMode>>,
}

/// What a server demands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MtlsMode {
    /// Plain text; TLS is not for the proxy.
    Disable,
    /// Both.
    #[default]
    Permissive,
    /// Mesh mTLS only.
    Strict,
}

/// What holds for one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct EffectiveMtls {
    /// For ports not named.
    pub mode: MtlsMode,
    /// For single ports of the workload.
    pub ports: BTreeMap<PortNumber, MtlsMode>,
}

impl EffectiveMtls {
    /// The mode of `port`.
    pub fn of(&self, port: PortNumber) -> MtlsMode {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }

    /// The mode of a workload with `labels` in `namespace`: workload over namespace over mesh
    /// (`root_namespace`), else permissive. Of several policies in one scope the oldest wins.
    ///
    /// `policies`: all of the mesh, in any order.
    ///
    /// Source: Istio, security concepts, policy precedence.
    pub fn compute<'a>(
        policies: impl IntoIterator<Item = &'a Object<PeerAuthentication>>,
        namespace: &str,
        labels: &Labels,
        root_namespace: &str,
    ) -> EffectiveMtls {
        let (mut mesh, mut own, mut workload) = (None, None, None);
        for policy in policies {
            let slot = match &policy.spec.selector {
                None if policy.meta.namespace == root_namespace => &mut mesh,
                None if policy.meta.namespace == namespace => &mut own,
                Some(selector)
                    if policy.meta.namespace == namespace && selector.matches(labels) =>
                {
                    &mut workload
                }
                _ => continue,
            };
            older(slot, policy);
        }
        if namespace == root_namespace {
            own = mesh;
        }
        let mode_of = |p: Option<&Object<PeerAuthentication>>| p.and_then(|p| p.spec.mtls);
        let mode = mode_of(workload)
            .or_else(|| mode_of(own))
            .or_else(|| mode_of(mesh))
            .unwrap_or_default();
        let ports = workload.map_or_else(BTreeMap::new, |policy| {
            let level = policy.spec.port_level.iter();
            level.map(|(port, m)| (*port, m.unwrap_or(mode))).collect()
        });
        EffectiveMtls { mode, ports }
    }
}

fn older<'a>(
    slot: &mut Option<&'a Object<PeerAuthentication>>,
    policy: &'a Object<PeerAuthentication>,
) {
    if slot.is_none_or(|kept| policy.meta.precedence() < kept.meta.precedence()) {
        *slot = Some(policy);
    }
}
