//! Route actions.

use bytes::Bytes;
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::config::route::v3::route_action;

use crate::compile::headers::{header_fields, mutations};
use crate::compile::{
    Unset, disregard, filters, flag, known, matchers, name, nothing_left, number, policies, port,
    some_duration, some_name, take,
};
use crate::error::{At, Refused};
use crate::mutate::HeaderMutations;
use crate::rewrite::{HostRewrite, PathRewrite};
use crate::route::{ForwardRoute, RedirectRoute, RouteAction, WeightedCluster};
use crate::table::matcher::PathMatcher;

/// What a route takes over from its virtual host and table.
pub(crate) struct Inherited<'t> {
    pub(crate) retry: Option<route::RetryPolicy>,
    /// Retry policies of the table.
    pub(crate) retries: &'t policies::Retries,
    pub(crate) mirrors: Vec<route_action::RequestMirrorPolicy>,
}

pub(crate) fn action(
    action: route::route::Action,
    path: &PathMatcher,
    inherited: &Inherited<'_>,
) -> Result<RouteAction, Refused> {
    use route::route::Action;
    Ok(match action {
        Action::Route(action) => RouteAction::Forward(Box::new(
            forward(action, path, inherited).at(|| "route".to_owned())?,
        )),
        Action::Redirect(action) => RouteAction::Redirect(Box::new(
            redirect(action, path).at(|| "redirect".to_owned())?,
        )),
        Action::DirectResponse(action) => direct(action).at(|| "direct_response".to_owned())?,
        Action::FilterAction(_) => return Err(Refused::unsupported("filter_action")),
        Action::NonForwardingAction(_) => {
            return Err(Refused::unsupported("non_forwarding_action"));
        }
    })
}

fn forward(
    mut action: route::RouteAction,
    path: &PathMatcher,
    inherited: &Inherited<'_>,
) -> Result<ForwardRoute, Refused> {
    ignore_harmless(&mut action);
    let (clusters, total_weight) = clusters(take(&mut action.cluster_specifier))?;
    let retry = take(&mut action.retry_policy).or_else(|| inherited.retry.clone());
    let mirrors = match take(&mut action.request_mirror_policies) {
        own if own.is_empty() => inherited.mirrors.clone(),
        own => own,
    };
    let durations = stream_durations(&mut action)?;
    let compiled = ForwardRoute {
        clusters,
        total_weight,
        cluster_not_found_status: not_found_status(take(
            &mut action.cluster_not_found_response_code,
        ))?,
        path_rewrite: path_rewrite(&mut action, path)?,
        host_rewrite: host_rewrite(take(&mut action.host_rewrite_specifier))?,
        append_forwarded_host: take(&mut action.append_x_forwarded_host),
        timeout: Some(
            some_duration(take(&mut action.timeout), "timeout")?
                .unwrap_or(super::route::DEFAULT_TIMEOUT),
        ),
        idle_timeout: some_duration(take(&mut action.idle_timeout), "idle_timeout")?,
        grpc_timeout_max: durations.0,
        max_stream_duration: durations.1,
        retry: retry
            .map(|policy| inherited.retries.compile(policy))
            .transpose()
            .at(|| "retry_policy".to_owned())?,
        mirrors: policies::mirrors(mirrors)?,
        hash: policies::hash(take(&mut action.hash_policy))?,
        upgrades: upgrades(take(&mut action.upgrade_configs))?,
    };
    nothing_left(&action)?;
    Ok(compiled)
}

/// Fields whose values change nothing here: default priority, rate limits of the host (none
/// are accepted), pass-through of redirects (what we do), early data (never accepted).
fn ignore_harmless(action: &mut route::RouteAction) {
    disregard!(action: include_vh_rate_limits, early_data_policy, max_internal_redirects);
}

/// `grpc-timeout` cap and maximum stream duration.
fn stream_durations(
    action: &mut route::RouteAction,
) -> Result<(Option<std::time::Duration>, Option<std::time::Duration>), Refused> {
    let grpc_max = some_duration(take(&mut action.max_grpc_timeout), "max_grpc_timeout")?;
    let Some(durations) = take(&mut action.max_stream_duration) else {
        return Ok((grpc_max, None));
    };
    if durations.grpc_timeout_header_offset.is_some() {
        return Err(Refused::unsupported(
            "max_stream_duration.grpc_timeout_header_offset",
        ));
    }
    let header_max = some_duration(
        durations.grpc_timeout_header_max,
        "max_stream_duration.grpc_timeout_header_max",
    )?;
    let stream = some_duration(
        durations.max_stream_duration,
        "max_stream_duration.max_stream_duration",
    )?;
    Ok((
        header_max.or(grpc_max),
        stream.filter(|time| !time.is_zero()),
    ))
}

fn not_found_status(code: i32) -> Result<u16, Refused> {
    use route_action::ClusterNotFoundResponseCode as Code;
    Ok(match known(code, "cluster_not_found_response_code")? {
        Code::ServiceUnavailable => 503,
        Code::NotFound => 404,
        Code::InternalServerError => 500,
    })
}

fn clusters(
    specifier: Option<route_action::ClusterSpecifier>,
) -> Result<(Vec<WeightedCluster>, u32), Refused> {
    use route_action::ClusterSpecifier as Specifier;
    match specifier {
        Some(Specifier::Cluster(cluster)) => Ok((vec![single(&cluster)], 1)),
        Some(Specifier::WeightedClusters(clusters)) => {
            weighted(clusters).at(|| "weighted_clusters".to_owned())
        }
        Some(Specifier::ClusterHeader(_)) => Err(Refused::unsupported("cluster_header")),
        Some(Specifier::ClusterSpecifierPlugin(_)) => {
            Err(Refused::unsupported("cluster_specifier_plugin"))
        }
        Some(Specifier::InlineClusterSpecifierPlugin(_)) => {
            Err(Refused::unsupported("inline_cluster_specifier_plugin"))
        }
        None => Err(Refused::missing("cluster_specifier")),
    }
}

fn single(cluster: &str) -> WeightedCluster {
    WeightedCluster {
        name: name(cluster),
        weight: 1,
        mutations: HeaderMutations::default(),
        host_rewrite: None,
        fault: None,
    }
}

fn weighted(mut list: route::WeightedCluster) -> Result<(Vec<WeightedCluster>, u32), Refused> {
    // No runtime layer; the total is the sum of the weights since Envoy 1.20.
    disregard!(list: runtime_key_prefix, total_weight);
    let clusters = take(&mut list.clusters)
        .into_iter()
        .enumerate()
        .map(|(at, cluster)| weight(cluster).at(|| format!("clusters[{at}]")))
        .collect::<Result<Vec<_>, _>>()?;
    nothing_left(&list)?;
    let total = clusters
        .iter()
        .try_fold(0_u32, |sum, cluster| sum.checked_add(cluster.weight))
        .filter(|total| *total > 0)
        .ok_or_else(|| {
            Refused::field(
                "clusters",
                "the sum of weights must be between 1 and 4294967295",
            )
        })?;
    Ok((clusters, total))
}

fn weight(mut cluster: route::weighted_cluster::ClusterWeight) -> Result<WeightedCluster, Refused> {
    use route::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    let extensions = filters::per_route(take(&mut cluster.typed_per_filter_config))?;
    if extensions.cors.is_some() {
        return Err(Refused::field(
            "typed_per_filter_config",
            "CORS stands at the route or virtual host",
        ));
    }
    let compiled = WeightedCluster {
        name: some_name(&take(&mut cluster.name)).ok_or_else(|| Refused::missing("name"))?,
        weight: number(take(&mut cluster.weight)).unwrap_or(0),
        mutations: mutations(header_fields!(cluster))?,
        host_rewrite: take(&mut cluster.host_rewrite_specifier).map(
            |HostRewriteSpecifier::HostRewriteLiteral(host)| HostRewrite::Literal(name(&host)),
        ),
        fault: extensions.fault,
    };
    nothing_left(&cluster)?;
    Ok(compiled)
}

fn path_rewrite(
    action: &mut route::RouteAction,
    path: &PathMatcher,
) -> Result<Option<PathRewrite>, Refused> {
    let prefix = some_name(&take(&mut action.prefix_rewrite));
    let regex = take(&mut action.regex_rewrite);
    let whole = some_name(&take(&mut action.path_rewrite));
    if whole
        .as_ref()
        .is_some_and(|template| template.contains('%'))
    {
        return Err(Refused::field(
            "path_rewrite",
            "%COMMANDS% are not supported by this proxy",
        ));
    }
    match (prefix, regex, whole) {
        (None, None, None) => Ok(None),
        (Some(to), None, None) => Ok(Some(PathRewrite::Prefix {
            matched: path.prefix_length(),
            to,
        })),
        (None, Some(rewrite), None) => {
            let substitution = matchers::substitution(rewrite).at(|| "regex_rewrite".to_owned())?;
            Ok(Some(PathRewrite::Regex(substitution)))
        }
        (None, None, Some(to)) => Ok(Some(PathRewrite::Whole(to))),
        _ => Err(Refused::field(
            "prefix_rewrite",
            "only one kind of path rewrite may be set",
        )),
    }
}

fn host_rewrite(
    specifier: Option<route_action::HostRewriteSpecifier>,
) -> Result<Option<HostRewrite>, Refused> {
    use route_action::HostRewriteSpecifier as Specifier;
    Ok(match specifier {
        Some(Specifier::HostRewriteLiteral(host)) => Some(HostRewrite::Literal(name(&host))),
        Some(Specifier::AutoHostRewrite(on)) => on.value.then_some(HostRewrite::Endpoint),
        Some(Specifier::HostRewriteHeader(header)) => {
            Some(HostRewrite::Header(name(&header.to_ascii_lowercase())))
        }
        Some(Specifier::HostRewritePathRegex(rewrite)) => Some(HostRewrite::PathRegex(
            matchers::substitution(rewrite).at(|| "host_rewrite_path_regex".to_owned())?,
        )),
        Some(Specifier::HostRewrite(_)) => return Err(Refused::unsupported("host_rewrite")),
        None => None,
    })
}

fn upgrades(
    list: Vec<route_action::UpgradeConfig>,
) -> Result<Vec<(std::sync::Arc<str>, bool)>, Refused> {
    list.into_iter()
        .enumerate()
        .map(|(at, upgrade)| {
            if upgrade.connect_config.is_some() {
                return Err(Refused::unsupported(format!(
                    "upgrade_configs[{at}].connect_config"
                )));
            }
            let enabled = flag(upgrade.enabled, Unset::True);
            Ok((name(&upgrade.upgrade_type.to_ascii_lowercase()), enabled))
        })
        .collect()
}

fn redirect(
    mut action: route::RedirectAction,
    path: &PathMatcher,
) -> Result<RedirectRoute, Refused> {
    use route::redirect_action::{
        PathRewriteSpecifier, RedirectResponseCode as Code, SchemeRewriteSpecifier,
    };
    let status = match known(take(&mut action.response_code), "response_code")? {
        Code::MovedPermanently => 301,
        Code::Found => 302,
        Code::SeeOther => 303,
        Code::TemporaryRedirect => 307,
        Code::PermanentRedirect => 308,
    };
    let scheme = match take(&mut action.scheme_rewrite_specifier) {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some(name("https")),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(name(&scheme)),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    let path = match take(&mut action.path_rewrite_specifier) {
        Some(PathRewriteSpecifier::PathRedirect(to)) => Some(PathRewrite::Whole(name(&to))),
        Some(PathRewriteSpecifier::PrefixRewrite(to)) => Some(PathRewrite::Prefix {
            matched: path.prefix_length(),
            to: name(&to),
        }),
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => Some(PathRewrite::Regex(
            matchers::substitution(rewrite).at(|| "regex_rewrite".to_owned())?,
        )),
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(Refused::unsupported("path_rewrite"));
        }
        None => None,
    };
    let port_redirect = take(&mut action.port_redirect);
    let compiled = RedirectRoute {
        status,
        scheme,
        host: some_name(&take(&mut action.host_redirect)),
        port: (port_redirect != 0)
            .then(|| port(port_redirect, "port_redirect"))
            .transpose()?,
        path,
        strip_query: take(&mut action.strip_query),
    };
    nothing_left(&action)?;
    Ok(compiled)
}

fn direct(mut action: route::DirectResponseAction) -> Result<RouteAction, Refused> {
    let status = policies::status_code(take(&mut action.status), "status")?;
    let body = take(&mut action.body)
        .map(inline)
        .transpose()
        .at(|| "body".to_owned())?;
    nothing_left(&action)?;
    Ok(RouteAction::Direct {
        status,
        body: body.unwrap_or_default(),
    })
}

fn inline(source: core::DataSource) -> Result<Bytes, Refused> {
    use core::data_source::Specifier;
    match source.specifier {
        Some(Specifier::InlineString(text)) => Ok(Bytes::from(text)),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes),
        Some(Specifier::Filename(_)) => Err(Refused::unsupported("filename")),
        Some(Specifier::EnvironmentVariable(_)) => {
            Err(Refused::unsupported("environment_variable"))
        }
        None => Ok(Bytes::new()),
    }
}
