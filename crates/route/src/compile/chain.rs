//! Filter chains: transport socket, network filters, terminal.

use std::sync::Arc;

use mesh_xds::envoy::config::listener::v3 as listener;

use crate::compile::{
    authz, disregard, manager, name, nothing_left, some_duration, take, tcp, tls, type_name, unpack,
};
use crate::error::{At, Refused};
use crate::listener::{FilterChain, Terminal};

const HTTP: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// Network filters of Istio's data plane whose work our proxy does without being told.
const BUILT_IN: &[&str] = &[
    "stats.PluginConfig",
    "io.istio.tcp.metadata_exchange.MetadataExchange",
    "envoy.tcp.metadataexchange.config.MetadataExchange",
];

/// A chain; its match was taken out before.
pub(crate) fn chain(mut chain: listener::FilterChain) -> Result<FilterChain, Refused> {
    disregard!(chain: metadata);
    let (network_rbac, terminal) = filters(take(&mut chain.filters))?;
    let compiled = FilterChain {
        name: name(&take(&mut chain.name)),
        tls: tls::downstream(take(&mut chain.transport_socket))
            .at(|| "transport_socket".to_owned())?
            .map(Arc::new),
        handshake_timeout: some_duration(
            take(&mut chain.transport_socket_connect_timeout),
            "transport_socket_connect_timeout",
        )?,
        network_rbac,
        terminal,
    };
    nothing_left(&chain)?;
    Ok(compiled)
}

fn filters(
    filters: Vec<listener::Filter>,
) -> Result<(Vec<Arc<crate::authz::Rbac>>, Terminal), Refused> {
    let count = filters.len();
    let mut policies = Vec::new();
    for (at, filter) in filters.into_iter().enumerate() {
        let path = || format!("filters[{at}].typed_config");
        let any = match filter.config_type {
            Some(listener::filter::ConfigType::TypedConfig(any)) => any,
            _ => return Err(Refused::missing(path())),
        };
        let terminal = match type_name(&any) {
            RBAC => {
                policies.extend(
                    authz::network(unpack(&any).at(path)?)
                        .at(path)?
                        .map(Arc::new),
                );
                continue;
            }
            built_in if BUILT_IN.contains(&built_in) => continue,
            HTTP => Terminal::Http(Arc::new(manager::manager(unpack(&any).at(path)?).at(path)?)),
            TCP => Terminal::Tcp(Arc::new(tcp::proxy(unpack(&any).at(path)?).at(path)?)),
            unknown => {
                let reason = format!(
                    "filter {:?} of type {unknown} is not supported by this proxy",
                    filter.name
                );
                return Err(Refused::field(path(), reason));
            }
        };
        if at + 1 != count {
            return Err(Refused::field(
                path(),
                "must be the last filter of the chain",
            ));
        }
        return Ok((policies, terminal));
    }
    Err(Refused::field(
        "filters",
        "the last filter must be http_connection_manager or tcp_proxy",
    ))
}
