//! Capabilities of the calling process.
