//! Hash policies for consistent balancing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::view::RequestView;

/// One source of the request's hash.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// If this one gave a value, the rest is not looked at.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug)]
pub enum HashSource {
    /// All values of a header.
    Header(Arc<str>),
    /// A cookie.
    Cookie {
        /// Name.
        name: Arc<str>,
        /// Make the cookie where it is absent, with this lifetime (zero: session cookie).
        generate: Option<Duration>,
        /// Path of the generated cookie.
        path: Arc<str>,
    },
    /// The client's address.
    SourceIp,
    /// First value of a query parameter.
    QueryParameter(Arc<str>),
}

/// xxHash64 of an address, as Envoy hashes it (its text).
pub fn of_address(address: IpAddr) -> u64 {
    let _ = address;
    todo!()
}

/// Hash of a request by a list of policies.
pub fn of_request(
    policies: &[HashPolicy],
    request: &RequestView<'_>,
    source: IpAddr,
) -> Option<u64> {
    let _ = (policies, request, source);
    todo!()
}
