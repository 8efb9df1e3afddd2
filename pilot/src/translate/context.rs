//! What the builders of a proxy's own resources read: the view of its audience, and the proxy.

use std::cell::OnceCell;
use std::ops::Deref;

use mesh_config::peer_authentication::EffectiveMtls;

use super::Proxy;
use super::audience::View;
use crate::model::Labels;
use crate::snapshot::{MergedGateway, ServiceTarget, Snapshot};

/// One proxy's view, for one call of [`super::resources`].
pub(crate) struct Context<'a> {
    view: View<'a>,
    /// The proxy that asks.
    pub(crate) proxy: &'a Proxy,
    /// Labels of its workload.
    pub(crate) labels: &'a Labels,
    targets: OnceCell<Vec<ServiceTarget>>,
    gateway: OnceCell<MergedGateway>,
    mtls: OnceCell<EffectiveMtls>,
}

impl<'a> Deref for Context<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl<'a> Context<'a> {
    /// The view of `proxy`.
    pub(crate) fn new(snapshot: &'a Snapshot, proxy: &'a Proxy) -> Self {
        Self {
            view: View::new(snapshot, proxy),
            proxy,
            labels: snapshot.labels(proxy),
            targets: OnceCell::new(),
            gateway: OnceCell::new(),
            mtls: OnceCell::new(),
        }
    }

    /// The service ports that lead to the proxy's workload, the oldest service first.
    pub(crate) fn targets(&self) -> &[ServiceTarget] {
        self.targets.get_or_init(|| {
            self.snapshot
                .registry
                .targets(self.proxy.ip, &self.proxy.namespace, self.labels)
        })
    }

    /// The listeners of a gateway proxy.
    pub(crate) fn gateway(&self) -> &MergedGateway {
        self.gateway.get_or_init(|| {
            MergedGateway::build(&self.snapshot.rules.gateways, self.labels, self.targets())
        })
    }

    /// What the proxy's own workload demands of its callers.
    pub(crate) fn own_mtls(&self) -> &EffectiveMtls {
        self.mtls
            .get_or_init(|| self.snapshot.rules.mtls(&self.proxy.namespace, self.labels))
    }
}
