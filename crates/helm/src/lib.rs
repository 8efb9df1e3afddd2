//! Renders the mesh's charts as Helm does, so that `meshctl` installs the very files that Helm's
//! users install.
//!
//! [`Chart::builtin`] gives a chart that is part of this program, [`Chart::load`] one from a
//! directory; [`Chart::render`] makes its objects out of a [`Release`] and the user's values.
//! Nothing here does network IO, reads a clock or asks for randomness: the same input gives the
//! same objects.
//!
//! The template engine is `gtmpl-ng`; the functions are the table in `functions.rs`. Together they
//! are a dialect of Helm's language: every template in it means the same to Helm, and a template
//! that leaves it is an error that names template and function. What the dialect leaves out, it
//! leaves out on purpose: hooks, `lookup`, random and clock functions (rendering must repeat), and
//! functions that change their arguments (`set`, `unset`, `merge`: values are values here).

mod chart;
mod engine;
mod error;
mod functions;
mod order;
mod profile;
mod release;
mod render;
mod schema;
mod values;
mod yaml;

pub use chart::{BUILTIN, Chart};
pub use error::{ChartError, RenderError};
pub use profile::{PROFILES, profile};
pub use release::{Capabilities, Release};
pub use render::Object;
pub use values::merge;
pub use yaml::print as print_yaml;
