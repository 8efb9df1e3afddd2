//! End-to-end suites of the mesh.
//!
//! A suite ([`suites`]) is written once against a [`platform::Platform`], and says what a user
//! sees: pages, statuses, failed requests. A platform brings a running mesh. Today there is the
//! local one, as the user who runs the tests and, when that is root, as an ordinary user too.

pub mod bookinfo;
pub mod deadline;
pub mod exposition;
pub mod http;
pub mod load;
pub mod platform;
pub mod suites;
