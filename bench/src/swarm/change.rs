//! Configuration churn: one service whose endpoints come and go.

use std::path::Path;

use anyhow::Context;

use crate::contender::{Mass, slice};

const FILE: &str = "changing.yaml";

/// The service that changes. Its endpoints are in a file of their own, so that a change is a small one.
pub(super) struct Changing {
    mass: Mass,
}

impl Changing {
    /// The manifests of all services, and the handle for changes.
    pub(super) fn prepare(all: Mass) -> (Self, Vec<(String, String)>) {
        let changing = Self { mass: all };
        let mut manifests: Vec<(String, String)> = all.files().collect();
        let own = slice(all, 0, all.endpoints);
        if let Some((_, text)) = manifests.first_mut() {
            *text = text.replacen(&own, "", 1);
        }
        manifests.push((FILE.to_owned(), own));
        (changing, manifests)
    }

    /// The name of its endpoints, as xDS has it.
    pub(super) fn endpoints(&self) -> String {
        format!("outbound|{}||{}", self.mass.port, Mass::host(0))
    }

    /// Change `number`: removes an endpoint, or brings it back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn change(&self, config: &Path, number: u32) -> anyhow::Result<()> {
        let count = self.mass.endpoints - usize::from(number.is_multiple_of(2));
        let text = slice(self.mass, 0, count);
        let (temporary, path) = (config.join(".changing"), config.join(FILE));
        std::fs::write(&temporary, text).context("write a change")?;
        std::fs::rename(&temporary, &path).context("bring a change into place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::mass;

    #[test]
    fn the_changing_endpoints_are_in_one_file_only() {
        let all = Mass {
            services: 2,
            endpoints: 3,
            port: 80,
        };
        let (_, manifests) = Changing::prepare(all);
        let of_zero = "kind: EndpointSlice\nmetadata: {name: service-0-1,";
        let holding = manifests.iter().filter(|(_, text)| text.contains(of_zero));
        let names: Vec<&str> = holding.map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [FILE]);
        assert!(mass(all, 0..1).contains(of_zero));
    }
}
