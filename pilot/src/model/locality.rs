//! Where a workload runs: `region/zone/subzone`.

use std::fmt;

use super::Labels;

const REGION_LABEL: &str = "topology.kubernetes.io/region";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const SUBZONE_LABEL: &str = "topology.istio.io/subzone";

/// A place; empty parts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// Region, the widest part.
    pub region: String,
    /// Zone within the region.
    pub zone: String,
    /// Rack or the like within the zone.
    pub subzone: String,
}

impl Locality {
    /// Reads `region[/zone[/subzone]]`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        Self {
            region: parts.next().unwrap_or_default(),
            zone: parts.next().unwrap_or_default(),
            subzone: parts.next().unwrap_or_default(),
        }
    }

    /// Reads the value of the `istio-locality` pod label, where `.` stands for `/` when there is no
    /// slash (a label value cannot hold one).
    pub fn parse_label(text: &str) -> Self {
        if text.contains('/') {
            Self::parse(text)
        } else {
            Self::parse(&text.replace('.', "/"))
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        if !self.zone.is_empty() {
            write!(f, "/{}", self.zone)?;
        }
        if !self.subzone.is_empty() {
            write!(f, "/{}", self.subzone)?;
        }
        Ok(())
    }
}

/// The place that the labels of a node (or of a pod, to which newer clusters copy them) name.
pub fn of_labels(labels: &Labels) -> Locality {
    let part = |key| labels.get(key).cloned().unwrap_or_default();
    Locality {
        region: part(REGION_LABEL),
        zone: part(ZONE_LABEL),
        subzone: part(SUBZONE_LABEL),
    }
}

/// Where a node of the cluster is, and with it the pods that name no place of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLocality {
    /// Name of the node.
    pub node: String,
    /// Its place.
    pub locality: Locality,
}
