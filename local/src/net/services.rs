//! DNAT of service addresses.
