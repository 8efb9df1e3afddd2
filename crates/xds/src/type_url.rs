//! Type URLs of the resources that travel over ADS, and what the protocol says of each type.

/// `envoy.config.cluster.v3.Cluster` (CDS).
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// `envoy.config.endpoint.v3.ClusterLoadAssignment` (EDS).
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// `envoy.config.listener.v3.Listener` (LDS).
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// `envoy.config.route.v3.RouteConfiguration` (RDS).
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// `envoy.extensions.transport_sockets.tls.v3.Secret` (SDS).
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// The order in which a server sends types, so that nothing refers to what is not there yet:
/// clusters, then their endpoints, then listeners, then their routes, then secrets.
///
/// Source: xDS protocol, "eventual consistency considerations".
pub const PUSH_ORDER: [&str; 5] = [CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET];

/// Whether a request of this type that names nothing subscribes to everything.
///
/// Types that are only ever asked for by name are the exception.
///
/// Source: xDS protocol, "how the client specifies what resources to return".
pub fn wildcard_by_default(type_url: &str) -> bool {
    !matches!(type_url, ENDPOINT | ROUTE | SECRET)
}

/// Whether a state-of-the-world response of this type is the whole set, so that a resource
/// missing from it is gone. For the others a response may carry any part of the set.
///
/// Source: xDS protocol, "grouping resources into responses".
pub fn whole_set(type_url: &str) -> bool {
    matches!(type_url, CLUSTER | LISTENER)
}

/// The last part of a type URL, for people: `Cluster`, `RouteConfiguration`.
pub fn short(type_url: &str) -> &str {
    type_url.rsplit(['.', '/']).next().unwrap_or(type_url)
}
