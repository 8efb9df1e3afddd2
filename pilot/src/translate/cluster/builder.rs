//! A cluster under construction: the message and the HTTP options that it will carry.

use mesh_config::Protocol;
use mesh_xds::any::pack;
use mesh_xds::google::protobuf as pb;

use super::{HTTP_OPTIONS, names};
use crate::model::Service;
use crate::translate::wire::*;
use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use upstream::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};

/// A cluster and its HTTP options, which are packed last.
pub(super) struct Builder {
    /// The message.
    pub(super) cluster: cluster::Cluster,
    /// HTTP options; `None` leaves Envoy's default (HTTP/1.1).
    pub(super) options: Option<upstream::HttpProtocolOptions>,
}

/// The `Type` form of a discovery type.
pub(super) fn discovery(kind: DiscoveryType) -> ClusterDiscoveryType {
    ClusterDiscoveryType::Type(kind.into())
}

/// HTTP/1.1 or HTTP/2, as the caller speaks.
pub(super) fn use_downstream_protocol() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(base::Http1ProtocolOptions::default()),
        http2_protocol_options: Some(base::Http2ProtocolOptions::default()),
        ..UseDownstreamHttpConfig::default()
    })
}

/// Connections to the application come from this address, which capture leaves alone.
pub(super) fn bind_inbound_source() -> base::BindConfig {
    base::BindConfig {
        source_address: Some(socket_address(names::INBOUND_SOURCE, 0)),
        ..base::BindConfig::default()
    }
}

impl Builder {
    /// A cluster without endpoints and policy.
    pub(super) fn new(name: String, kind: DiscoveryType) -> Self {
        Self {
            cluster: cluster::Cluster {
                alt_stat_name: names::stat_prefix(&name),
                name,
                cluster_discovery_type: Some(discovery(kind)),
                common_lb_config: Some(cluster::cluster::CommonLbConfig::default()),
                ..cluster::Cluster::default()
            },
            options: None,
        }
    }

    /// How endpoints are found.
    pub(super) fn kind(&self) -> DiscoveryType {
        match self.cluster.cluster_discovery_type {
            Some(ClusterDiscoveryType::Type(kind)) => {
                DiscoveryType::try_from(kind).expect("set from the enum")
            }
            _ => DiscoveryType::Static,
        }
    }

    /// Sets the discovery type.
    pub(super) fn set_kind(&mut self, kind: DiscoveryType) {
        self.cluster.cluster_discovery_type = Some(discovery(kind));
    }

    /// The HTTP options, made if absent.
    pub(super) fn options(&mut self) -> &mut upstream::HttpProtocolOptions {
        self.options.get_or_insert_default()
    }

    /// Speaks what the port declares.
    ///
    /// `detects`: the proxy finds out the protocol of undeclared ports (sidecars do).
    pub(super) fn set_protocol(&mut self, protocol: Protocol, detects: bool) {
        if protocol.is_http2() {
            self.set_http2();
        } else if protocol == Protocol::Undeclared && detects {
            self.options().upstream_protocol_options = Some(use_downstream_protocol());
        }
    }

    /// Speaks HTTP/2, unless a protocol is set already.
    pub(super) fn set_http2(&mut self) {
        self.options()
            .upstream_protocol_options
            .get_or_insert_with(|| {
                UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                    protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
                        base::Http2ProtocolOptions::default(),
                    )),
                })
            });
    }

    /// The options of an explicit HTTP/2 cluster.
    pub(super) fn http2(&mut self) -> Option<&mut base::Http2ProtocolOptions> {
        match self.options.as_mut()?.upstream_protocol_options.as_mut()? {
            UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(options)),
            }) => Some(options),
            _ => None,
        }
    }

    /// Names the services behind the cluster, for telemetry.
    pub(super) fn set_services<'a>(&mut self, services: impl IntoIterator<Item = &'a Service>) {
        let list = services.into_iter().map(|service| {
            struct_value(structure([
                ("host", string_value(&*service.hostname)),
                ("name", string_value(&service.name)),
                ("namespace", string_value(&service.namespace)),
            ]))
        });
        self.set_metadata(
            "services",
            pb::Value {
                kind: Some(pb::value::Kind::ListValue(pb::ListValue {
                    values: list.collect(),
                })),
            },
        );
    }

    /// Adds a field to the mesh's metadata.
    pub(super) fn set_metadata(&mut self, key: &str, value: pb::Value) {
        self.cluster
            .metadata
            .get_or_insert_default()
            .filter_metadata
            .entry("istio".to_owned())
            .or_default()
            .fields
            .insert(key.to_owned(), value);
    }

    /// The finished message.
    pub(super) fn build(mut self) -> cluster::Cluster {
        if let Some(mut options) = self.options.take() {
            // Required by Envoy: HTTP/1.1 where only limits or names were set.
            options.upstream_protocol_options.get_or_insert_with(|| {
                UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                    protocol_config: Some(ProtocolConfig::HttpProtocolOptions(
                        base::Http1ProtocolOptions::default(),
                    )),
                })
            });
            self.cluster
                .typed_extension_protocol_options
                .insert(HTTP_OPTIONS.to_owned(), pack(&options));
        }
        self.cluster
    }
}
