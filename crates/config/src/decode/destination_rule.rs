//! Reads a DestinationRule.

use super::reader::Node;
use super::scope::{SelectorKey, export_to, labels, selector};
use super::traffic_policy;
use crate::destination_rule::{DestinationRule, Subset};
use crate::selector::LabelSelector;

pub(super) fn read(spec: &Node<'_>) -> Option<DestinationRule> {
    let fields = spec.open(
        &[
            "host",
            "trafficPolicy",
            "subsets",
            "exportTo",
            "workloadSelector",
        ],
        &[],
    )?;
    let host = fields
        .required_text("host", "name the service")
        .and_then(|_| fields.parse("host"));
    let subsets = fields.items("subsets").iter().filter_map(subset).collect();
    Some(DestinationRule {
        traffic_policy: traffic_policy::of(&fields),
        subsets,
        export_to: export_to(&fields, false),
        workload_selector: selector(&fields, "workloadSelector", SelectorKey::MatchLabels),
        host: host?,
    })
}

fn subset(node: &Node<'_>) -> Option<Subset> {
    let fields = node.open(&["name", "labels", "trafficPolicy"], &[])?;
    let name = fields
        .required_text("name", "name the subset")
        .and_then(|_| fields.parse("name"));
    Some(Subset {
        labels: LabelSelector::new(labels(&fields, "labels")),
        traffic_policy: traffic_policy::of(&fields),
        name: name?,
    })
}
