//! Configuration churn: what changes, again and again, and by what a proxy notices.

use std::path::Path;

use anyhow::Context;
use mesh_xds::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};

use crate::contender::{Mass, slice};

const FILE: &str = "changing.yaml";

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A service loses an endpoint and gets it back.
    Endpoints,
    /// A VirtualService sends requests to another path.
    Route,
    /// A service appears and goes.
    Service,
    /// An AuthorizationPolicy names another path.
    Policy,
}

impl Kind {
    /// For people.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoint change",
            Self::Route => "VirtualService change",
            Self::Service => "service added or removed",
            Self::Policy => "AuthorizationPolicy change",
        }
    }
}

/// By what a proxy notices a change.
#[derive(Debug, Clone)]
pub(super) struct Sign {
    /// A response of this type comes,
    pub(super) type_url: &'static str,
    /// and, if this is given, has a resource of this name.
    pub(super) name: Option<String>,
}

/// The object that changes. It is in a file of its own, so that a change is a small one.
pub(super) struct Changing {
    kind: Kind,
    mass: Mass,
}

impl Changing {
    /// The manifests of all services, and the handle for changes.
    pub(super) fn prepare(kind: Kind, all: Mass) -> (Self, Vec<(String, String)>) {
        let changing = Self { kind, mass: all };
        let mut manifests: Vec<(String, String)> = all.files().collect();
        if kind == Kind::Endpoints {
            let own = slice(all, 0, all.endpoints);
            if let Some((_, text)) = manifests.first_mut() {
                *text = text.replacen(&own, "", 1);
            }
            manifests.push((FILE.to_owned(), own));
        }
        (changing, manifests)
    }

    /// By what a proxy notices.
    pub(super) fn sign(&self) -> Sign {
        let of_type = |type_url| Sign {
            type_url,
            name: None,
        };
        match self.kind {
            Kind::Endpoints => Sign {
                type_url: ENDPOINT,
                name: Some(format!("outbound|{}||{}", self.mass.port, Mass::host(0))),
            },
            Kind::Route => of_type(ROUTE),
            Kind::Service => of_type(CLUSTER),
            Kind::Policy => of_type(LISTENER),
        }
    }

    /// Change `number`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn change(&self, config: &Path, number: u32) -> anyhow::Result<()> {
        let (temporary, path) = (config.join(".changing"), config.join(FILE));
        std::fs::write(&temporary, self.text(number)).context("write a change")?;
        std::fs::rename(&temporary, &path).context("bring a change into place")
    }

    fn text(&self, number: u32) -> String {
        let even = number.is_multiple_of(2);
        match self.kind {
            Kind::Endpoints => slice(self.mass, 0, self.mass.endpoints - usize::from(even)),
            Kind::Route => format!(
                "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: changing, namespace: mass}}
spec:
  hosts: [{host}]
  http:
  - rewrite: {{uri: /change-{number}}}
    route: [{{destination: {{host: {host}}}}}]
",
                host = Mass::host(0)
            ),
            // A file without objects where there is no service.
            Kind::Service if !even => String::new(),
            Kind::Service => format!(
                "apiVersion: v1
kind: Service
metadata: {{name: changing, namespace: mass}}
spec: {{clusterIP: 10.98.0.1, selector: {{app: changing}}, ports: [{{name: http, port: {}}}]}}
",
                self.mass.port
            ),
            Kind::Policy => format!(
                "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: changing, namespace: mass}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: [/change-{number}]}}}}]}}]}}
"
            ),
        }
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
        let (_, manifests) = Changing::prepare(Kind::Endpoints, all);
        let of_zero = "kind: EndpointSlice\nmetadata: {name: service-0-1,";
        let holding = manifests.iter().filter(|(_, text)| text.contains(of_zero));
        let names: Vec<&str> = holding.map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [FILE]);
        assert!(mass(all, 0..1).contains(of_zero));
    }

    #[test]
    fn one_change_is_not_like_the_next() {
        let mass = Mass {
            services: 1,
            endpoints: 3,
            port: 80,
        };
        for kind in [Kind::Endpoints, Kind::Route, Kind::Service, Kind::Policy] {
            let changing = Changing { kind, mass };
            assert_ne!(changing.text(0), changing.text(1), "{kind:?}");
        }
    }
}
