//! Where a workload runs: `region/zone/subzone`.

use std::fmt;

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
