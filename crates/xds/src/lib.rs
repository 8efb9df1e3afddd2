//! Envoy xDS v3 wire types; delta and state-of-the-world client and server.
