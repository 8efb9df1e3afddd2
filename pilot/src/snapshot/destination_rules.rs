//! DestinationRules, merged per namespace and host, and the lookup for one client.
//!
//! Source: Istio: rules of one namespace for one host are merged (the oldest's policy, everybody's
//! subsets); a client looks in its own namespace, then in that of the service, then in the root
//! namespace; the most specific host wins.

use std::sync::Arc;

use hashbrown::HashMap;
use mesh_config::{
    DestinationRule, HostPattern, LabelSelector, Labels, MeshConfig, Object, ObjectMeta,
};

use super::{DOMAIN, Problem};
use crate::model::{ExportTo, Service};

/// The rules of one namespace for one host and one selector.
#[derive(Debug)]
pub struct MergedRule {
    /// Metadata of the oldest rule.
    pub meta: ObjectMeta,
    /// Host, resolved to the rule's namespace.
    pub host: HostPattern,
    /// The merged rule.
    pub rule: DestinationRule,
    export_to: ExportTo,
}

/// All DestinationRules.
#[derive(Debug, Default)]
pub struct DestinationRules {
    by_namespace: HashMap<String, NamespaceRules>,
    root_namespace: String,
    with_selector: bool,
}

#[derive(Debug, Default)]
struct NamespaceRules {
    exact: HashMap<String, Vec<Arc<MergedRule>>>,
    /// Most specific first.
    wildcard: Vec<Arc<MergedRule>>,
}

impl DestinationRules {
    /// Merges and indexes the objects.
    pub(super) fn build(
        objects: &[Arc<Object<DestinationRule>>],
        mesh: &MeshConfig,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut objects = objects.to_vec();
        objects.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
        let mut merged: Vec<MergedRule> = Vec::new();
        let mut known: HashMap<(String, HostPattern, Option<LabelSelector>), usize> =
            HashMap::new();
        for object in objects {
            let meta = &object.meta;
            let host = object.spec.host.qualify(&meta.namespace, DOMAIN);
            let selector = object.spec.workload_selector.clone();
            let key = (meta.namespace.clone(), host.clone(), selector);
            if let Some(index) = known.get(&key) {
                merge(&mut merged[*index], &object, problems);
                continue;
            }
            known.insert(key, merged.len());
            merged.push(MergedRule {
                meta: meta.clone(),
                host,
                export_to: ExportTo::resolve(
                    &object.spec.export_to,
                    &mesh.default_destination_rule_export_to,
                    &meta.namespace,
                ),
                rule: object.spec.clone(),
            });
        }
        Self::index(merged, mesh)
    }

    fn index(merged: Vec<MergedRule>, mesh: &MeshConfig) -> Self {
        let mut rules = Self {
            root_namespace: mesh.root_namespace.clone(),
            ..Self::default()
        };
        for rule in merged {
            rules.with_selector |= rule.rule.workload_selector.is_some();
            let namespace = rules
                .by_namespace
                .entry(rule.meta.namespace.clone())
                .or_default();
            match rule.host.exact() {
                Some(host) => namespace
                    .exact
                    .entry(host.as_str().to_owned())
                    .or_default()
                    .push(Arc::new(rule)),
                None => namespace.wildcard.push(Arc::new(rule)),
            }
        }
        for namespace in rules.by_namespace.values_mut() {
            namespace.wildcard.sort_by(|a, b| a.host.cmp(&b.host));
        }
        rules
    }

    /// Whether some rule applies to chosen clients only, so that the rules of a namespace are not
    /// the same for all its clients.
    pub fn depend_on_labels(&self) -> bool {
        self.with_selector
    }

    /// The rule for a client in `namespace` with `labels` that calls `service`.
    pub fn find(
        &self,
        service: &Service,
        namespace: &str,
        labels: &Labels,
    ) -> Option<&Arc<MergedRule>> {
        let host = &service.hostname;
        let own = self.by_namespace.get(namespace).and_then(|rules| {
            rules.most_specific(host, |rule| {
                let selector = rule.rule.workload_selector.as_ref();
                selector.is_none_or(|selector| selector.matches(labels))
            })
        });
        let exported = |owner: &str| {
            self.by_namespace.get(owner)?.most_specific(host, |rule| {
                rule.rule.workload_selector.is_none() && rule.export_to.visible_in(namespace)
            })
        };
        own.or_else(|| exported(&service.namespace))
            .or_else(|| exported(&self.root_namespace))
    }

    /// Every merged rule.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<MergedRule>> {
        self.by_namespace
            .values()
            .flat_map(|rules| rules.exact.values().flatten().chain(&rules.wildcard))
    }
}

impl NamespaceRules {
    /// Rules that select the client's labels come before those for everybody.
    fn most_specific(
        &self,
        host: &str,
        applies: impl Fn(&MergedRule) -> bool,
    ) -> Option<&Arc<MergedRule>> {
        let exact = self.exact.get(host).map_or(&[][..], Vec::as_slice);
        choose(exact.iter().filter(|rule| applies(rule))).or_else(|| {
            let matching = || {
                self.wildcard
                    .iter()
                    .filter(|rule| covers(&rule.host, host) && applies(rule))
            };
            let best = matching().next()?.host.clone();
            choose(matching().filter(move |rule| rule.host == best))
        })
    }
}

/// A rule that selects its clients before one that does not.
fn choose<'a>(
    mut rules: impl Iterator<Item = &'a Arc<MergedRule>> + Clone,
) -> Option<&'a Arc<MergedRule>> {
    rules
        .clone()
        .find(|rule| rule.rule.workload_selector.is_some())
        .or_else(|| rules.next())
}

/// Whether `pattern` covers a service's host, which may be a pattern itself.
pub(crate) fn covers(pattern: &HostPattern, host: &str) -> bool {
    match host.strip_prefix('*') {
        None => pattern.matches(host),
        Some(suffix) => match pattern {
            HostPattern::Any => true,
            HostPattern::Suffix(own) => suffix.ends_with(own.as_str()),
            HostPattern::Exact(_) => false,
        },
    }
}

/// Adds a younger rule: its policy counts only if the older one has none; its subsets are added.
fn merge(into: &mut MergedRule, object: &Object<DestinationRule>, problems: &mut Vec<Problem>) {
    let problem = |field: String, message: String, remedy: &str| Problem {
        kind: "DestinationRule",
        namespace: object.meta.namespace.clone(),
        name: object.meta.name.clone(),
        field,
        message,
        remedy: remedy.to_owned(),
    };
    let empty = mesh_config::destination_rule::TrafficPolicy::default();
    if into.rule.traffic_policy == empty {
        into.rule.traffic_policy = object.spec.traffic_policy.clone();
    } else if object.spec.traffic_policy != empty {
        problems.push(problem(
            "spec.trafficPolicy".to_owned(),
            format!(
                "{} already has a policy from DestinationRule {}, the older one, which wins",
                into.host, into.meta
            ),
            "keep one trafficPolicy per host and namespace",
        ));
    }
    for (index, subset) in object.spec.subsets.iter().enumerate() {
        if into.rule.subset(&subset.name).is_some() {
            problems.push(problem(
                format!("spec.subsets[{index}].name"),
                format!(
                    "subset {} of {} is already defined by DestinationRule {}, the older one, which wins",
                    subset.name, into.host, into.meta
                ),
                "give the subset another name or remove one of the two",
            ));
        } else {
            into.rule.subsets.push(subset.clone());
        }
    }
}
