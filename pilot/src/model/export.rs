//! Who may see an object: Istio's `exportTo`, with the mesh's default applied.

use std::collections::BTreeSet;

use mesh_config::visibility::{self, DefaultExport};

/// The namespaces to which a service, VirtualService or DestinationRule is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportTo {
    /// `*`: every namespace.
    Public,
    /// A set of namespaces; empty for `~`.
    Namespaces(BTreeSet<String>),
}

impl ExportTo {
    /// The effective visibility of an object in `namespace`.
    pub fn resolve(own: &visibility::ExportTo, default: &DefaultExport, namespace: &str) -> Self {
        match own {
            visibility::ExportTo::MeshDefault => Self::of_default(default, namespace),
            visibility::ExportTo::All => Self::Public,
            visibility::ExportTo::Nowhere => Self::Namespaces(BTreeSet::new()),
            visibility::ExportTo::Namespaces(set) => Self::Namespaces(set.clone()),
        }
    }

    /// Reads a list of `*`, `.`, `~` and namespace names, as the Service annotation
    /// `networking.istio.io/exportTo` holds it; when it is empty, `default` of the mesh holds.
    pub fn parse<'a>(
        values: impl IntoIterator<Item = &'a str>,
        default: &DefaultExport,
        namespace: &str,
    ) -> Self {
        let mut values: Vec<&str> = values.into_iter().map(str::trim).collect();
        values.retain(|value| !value.is_empty());
        if values.is_empty() {
            Self::of_default(default, namespace)
        } else if values.contains(&"*") {
            Self::Public
        } else if values.contains(&"~") {
            Self::Namespaces(BTreeSet::new())
        } else {
            let resolve = |value| if value == "." { namespace } else { value }.to_owned();
            Self::Namespaces(values.into_iter().map(resolve).collect())
        }
    }

    /// Whether a proxy in `namespace` may see the object.
    pub fn visible_in(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    fn of_default(default: &DefaultExport, namespace: &str) -> Self {
        let own = || BTreeSet::from([namespace.to_owned()]);
        match default {
            DefaultExport::All => Self::Public,
            DefaultExport::OwnNamespace => Self::Namespaces(own()),
            DefaultExport::Nowhere => Self::Namespaces(BTreeSet::new()),
            DefaultExport::Namespaces {
                own: with_own,
                namespaces,
            } => {
                let mut set = namespaces.clone();
                if *with_own {
                    set.extend(own());
                }
                Self::Namespaces(set)
            }
        }
    }
}
