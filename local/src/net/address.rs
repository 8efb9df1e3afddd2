//! Pod addresses.
