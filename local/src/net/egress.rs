//! Traffic that leaves the cluster.
