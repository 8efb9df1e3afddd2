//! Unique subsets and ports, and settings that exclude each other.

use super::{Problems, duplicates};
use crate::destination_rule::{DestinationRule, H2UpgradePolicy, PolicySettings, TrafficPolicy};
use crate::host::HostPattern;
use crate::visibility::ExportTo;

pub(super) fn check(spec: &DestinationRule, namespace: &str, found: &mut Problems) {
    traffic_policy(&spec.traffic_policy, "spec.trafficPolicy", found);
    for index in duplicates(spec.subsets.iter().map(|subset| &subset.name)) {
        let name = &spec.subsets[index].name;
        found.error(
            format!("spec.subsets[{index}].name"),
            format!("subset {name} is defined twice"),
            "rename or remove one",
        );
    }
    for (index, subset) in spec.subsets.iter().enumerate() {
        traffic_policy(
            &subset.traffic_policy,
            &format!("spec.subsets[{index}].trafficPolicy"),
            found,
        );
    }
    if spec.host == HostPattern::Any && !spec.subsets.is_empty() {
        found.warn(
            "spec.subsets",
            "subsets of all hosts (\"*\") are hardly meant",
            "name the host",
        );
    }
    let own_only = match &spec.export_to {
        ExportTo::MeshDefault => true,
        ExportTo::Namespaces(names) => names.iter().all(|name| name == namespace),
        ExportTo::All | ExportTo::Nowhere => false,
    };
    if spec.workload_selector.is_some() && !own_only {
        found.error(
            "spec.exportTo",
            "a rule with a workloadSelector is for its own namespace only",
            "write \".\"",
        );
    }
}

fn traffic_policy(policy: &TrafficPolicy, path: &str, found: &mut Problems) {
    settings(&policy.settings, path, found);
    for (index, (_, port_settings)) in policy.port_level.iter().enumerate() {
        settings(
            port_settings,
            &format!("{path}.portLevelSettings[{index}]"),
            found,
        );
    }
    for index in duplicates(policy.port_level.iter().map(|(port, _)| port)) {
        let port = policy.port_level[index].0;
        found.error(
            format!("{path}.portLevelSettings[{index}].port"),
            format!("port {port} is listed twice"),
            "keep one",
        );
    }
}

fn settings(settings: &PolicySettings, path: &str, found: &mut Problems) {
    if let Some(http) = settings.connection_pool.as_ref().map(|pool| &pool.http)
        && http.h2_upgrade_policy == H2UpgradePolicy::Upgrade
        && http.use_client_protocol
    {
        found.error(
            format!("{path}.connectionPool.http.useClientProtocol"),
            "contradicts h2UpgradePolicy UPGRADE",
            "remove one of the two",
        );
    }
    if let Some(outlier) = &settings.outlier_detection
        && !outlier.split_external_local_origin_errors
        && outlier
            .consecutive_local_origin_failures
            .is_some_and(|failures| failures > 0)
    {
        found.error(
            format!("{path}.outlierDetection.consecutiveLocalOriginFailures"),
            "has no effect without splitExternalLocalOriginErrors",
            "set splitExternalLocalOriginErrors: true, or remove it",
        );
    }
}
