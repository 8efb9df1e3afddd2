//! Discovery: configuration and endpoints in, xDS out.
