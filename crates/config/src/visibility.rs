//! `exportTo`: to which namespaces an object is visible.

use std::collections::BTreeSet;

/// The namespaces that see an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum ExportTo {
    /// `exportTo` is absent: the mesh's default applies (all namespaces unless MeshConfig says otherwise).
    #[default]
    MeshDefault,
    /// `*`: all namespaces.
    All,
    /// `~`: no namespace at all (services only).
    Nowhere,
    /// These namespaces; `.` was replaced with the object's own.
    Namespaces(BTreeSet<String>),
}

impl ExportTo {
    /// Whether a proxy in `namespace` sees the object, where `mesh_default` is what MeshConfig
    /// says for the kind ([`ExportTo::MeshDefault`] there means all namespaces) and `own` is the object's namespace.
    pub fn visible_in(&self, namespace: &str, own: &str, mesh_default: &DefaultExport) -> bool {
        match self {
            ExportTo::MeshDefault => mesh_default.visible_in(namespace, own),
            ExportTo::All => true,
            ExportTo::Nowhere => false,
            ExportTo::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// MeshConfig's default for objects that carry no `exportTo`. `.` cannot be resolved before the
/// object is known, therefore a type of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum DefaultExport {
    /// All namespaces.
    #[default]
    All,
    /// `.`: the object's own namespace.
    OwnNamespace,
    /// `~`: nowhere.
    Nowhere,
    /// These namespaces (and the object's own, if `own` is set).
    Namespaces {
        /// Whether `.` was listed too.
        own: bool,
        /// The namespaces listed by name.
        namespaces: BTreeSet<String>,
    },
}

impl DefaultExport {
    fn visible_in(&self, namespace: &str, own: &str) -> bool {
        match self {
            DefaultExport::All => true,
            DefaultExport::OwnNamespace => namespace == own,
            DefaultExport::Nowhere => false,
            DefaultExport::Namespaces {
                own: with_own,
                namespaces,
            } => (*with_own && namespace == own) || namespaces.contains(namespace),
        }
    }
}
