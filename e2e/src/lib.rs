//! End-to-end suites of the mesh, written once against a platform.
