//! Rebuilds `crates/xds/proto/envoy.fds`, the descriptor set from which `mesh-xds` generates
//! its types.
//!
//! The input is the descriptor set that the `envoy-types` crate ships (real protoc output of
//! Envoy's whole API). From it we keep the roots below with everything they import, and drop
//! comments and source positions. The output is committed, so a build needs neither protoc
//! nor that crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Files wanted by name or, with a trailing `/`, by directory. Their imports come along.
const ROOTS: &[&str] = &[
    // discovery services and what they carry
    "envoy/service/discovery/v3/",
    "envoy/service/cluster/v3/cds.proto",
    "envoy/service/endpoint/v3/eds.proto",
    "envoy/service/listener/v3/lds.proto",
    "envoy/service/route/v3/rds.proto",
    "envoy/service/secret/v3/sds.proto",
    "envoy/service/status/v3/csds.proto",
    "envoy/config/accesslog/v3/",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/",
    "envoy/config/core/v3/",
    "envoy/config/endpoint/v3/",
    "envoy/config/listener/v3/",
    "envoy/config/rbac/v3/",
    "envoy/config/route/v3/",
    "envoy/type/v3/",
    "envoy/type/matcher/v3/",
    "envoy/type/metadata/v3/",
    "envoy/type/tracing/v3/",
    "envoy/data/accesslog/v3/",
    // HTTP filters
    "envoy/extensions/filters/http/compressor/v3/",
    "envoy/extensions/filters/http/cors/v3/",
    "envoy/extensions/filters/http/ext_authz/v3/",
    "envoy/extensions/filters/http/ext_proc/v3/",
    "envoy/extensions/filters/http/fault/v3/",
    "envoy/extensions/filters/http/grpc_stats/v3/",
    "envoy/extensions/filters/http/grpc_web/v3/",
    "envoy/extensions/filters/http/header_mutation/v3/",
    "envoy/extensions/filters/http/header_to_metadata/v3/",
    "envoy/extensions/filters/http/jwt_authn/v3/",
    "envoy/extensions/filters/http/local_ratelimit/v3/",
    "envoy/extensions/filters/http/lua/v3/",
    "envoy/extensions/filters/http/ratelimit/v3/",
    "envoy/extensions/filters/http/rbac/v3/",
    "envoy/extensions/filters/http/router/v3/",
    "envoy/extensions/filters/http/set_filter_state/v3/",
    "envoy/extensions/filters/http/stateful_session/v3/",
    "envoy/extensions/filters/http/wasm/v3/",
    "envoy/extensions/http/header_formatters/preserve_case/v3/",
    // network and listener filters
    "envoy/extensions/filters/network/connection_limit/v3/",
    "envoy/extensions/filters/network/ext_authz/v3/",
    "envoy/extensions/filters/network/http_connection_manager/v3/",
    "envoy/extensions/filters/network/local_ratelimit/v3/",
    "envoy/extensions/filters/network/rbac/v3/",
    "envoy/extensions/filters/network/set_filter_state/v3/",
    "envoy/extensions/filters/network/sni_cluster/v3/",
    "envoy/extensions/filters/network/tcp_proxy/v3/",
    "envoy/extensions/filters/listener/http_inspector/v3/",
    "envoy/extensions/filters/listener/original_dst/v3/",
    "envoy/extensions/filters/listener/original_src/v3/",
    "envoy/extensions/filters/listener/proxy_protocol/v3/",
    "envoy/extensions/filters/listener/set_filter_state/v3/",
    "envoy/extensions/filters/listener/tls_inspector/v3/",
    // transport sockets, upstream options, balancing, retries, matching
    "envoy/extensions/transport_sockets/internal_upstream/v3/",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/",
    "envoy/extensions/transport_sockets/quic/v3/",
    "envoy/extensions/transport_sockets/raw_buffer/v3/",
    "envoy/extensions/transport_sockets/tls/v3/",
    "envoy/extensions/upstreams/http/v3/",
    "envoy/extensions/upstreams/tcp/v3/",
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/",
    "envoy/extensions/load_balancing_policies/cluster_provided/v3/",
    "envoy/extensions/load_balancing_policies/common/v3/",
    "envoy/extensions/load_balancing_policies/least_request/v3/",
    "envoy/extensions/load_balancing_policies/maglev/v3/",
    "envoy/extensions/load_balancing_policies/override_host/v3/",
    "envoy/extensions/load_balancing_policies/pick_first/v3/",
    "envoy/extensions/load_balancing_policies/random/v3/",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/",
    "envoy/extensions/load_balancing_policies/round_robin/v3/",
    "envoy/extensions/load_balancing_policies/subset/v3/",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/",
    "envoy/extensions/retry/host/omit_canary_hosts/v3/",
    "envoy/extensions/retry/host/previous_hosts/v3/",
    "envoy/extensions/matching/",
    "envoy/extensions/bootstrap/internal_listener/v3/",
    "envoy/extensions/internal_redirect/previous_routes/v3/",
    "envoy/extensions/path/",
    "xds/type/matcher/v3/",
    // access logs and telemetry
    "envoy/extensions/access_loggers/file/v3/",
    "envoy/extensions/access_loggers/filters/cel/v3/",
    "envoy/extensions/access_loggers/grpc/v3/",
    "envoy/extensions/access_loggers/open_telemetry/v3/",
    "envoy/extensions/access_loggers/stream/v3/",
    "envoy/extensions/formatter/",
    // what the admin interface prints
    "envoy/admin/v3/certs.proto",
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/admin/v3/listeners.proto",
    "envoy/admin/v3/server_info.proto",
    "google/protobuf/",
    "google/rpc/status.proto",
];

/// Writes the descriptor set of [`ROOTS`] and their imports to `out`.
///
/// `envoy_types_dir`: the unpacked `envoy-types` crate.
///
/// # Errors
/// If the shipped set can't be read or decoded, if a root matches no file (the API moved it:
/// correct the list), or if `out` can't be written.
pub(crate) fn refresh(envoy_types_dir: &Path, out: &Path) -> anyhow::Result<()> {
    let source = envoy_types_dir.join("src/generated/types.bin");
    let bytes = std::fs::read(&source).with_context(|| format!("read {}", source.display()))?;
    let set = FileDescriptorSet::decode(bytes.as_slice())
        .with_context(|| format!("decode {}", source.display()))?;
    let files: BTreeMap<&str, &FileDescriptorProto> =
        set.file.iter().map(|file| (file.name(), file)).collect();

    let mut wanted = BTreeSet::new();
    for root in ROOTS {
        let before = wanted.len();
        let matches = files.keys().filter(|name| is_under(name, root));
        let mut found = false;
        for name in matches {
            found = true;
            add_with_imports(name, &files, &mut wanted)?;
        }
        if !found {
            bail!(
                "no file matches {root} (of {} files; {before} kept so far)",
                files.len()
            );
        }
    }

    // The order of the input is topological, as protoc writes it: keep it.
    let kept = FileDescriptorSet {
        file: set
            .file
            .iter()
            .filter(|file| wanted.contains(file.name()))
            .map(|file| FileDescriptorProto {
                source_code_info: None,
                ..file.clone()
            })
            .collect(),
    };
    let encoded = kept.encode_to_vec();
    std::fs::write(out, &encoded).with_context(|| format!("write {}", out.display()))?;
    anstream::println!(
        "{}: {} files, {} bytes",
        out.display(),
        kept.file.len(),
        encoded.len()
    );
    Ok(())
}

fn is_under(name: &str, root: &str) -> bool {
    if root.ends_with('/') {
        name.starts_with(root)
    } else {
        name == root
    }
}

fn add_with_imports<'a>(
    name: &'a str,
    files: &BTreeMap<&'a str, &'a FileDescriptorProto>,
    wanted: &mut BTreeSet<&'a str>,
) -> anyhow::Result<()> {
    if !wanted.insert(name) {
        return Ok(());
    }
    let file = files
        .get(name)
        .with_context(|| format!("{name} is imported but not shipped"))?;
    for import in &file.dependency {
        add_with_imports(import, files, wanted)?;
    }
    Ok(())
}
