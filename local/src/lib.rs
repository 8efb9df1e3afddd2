//! The local platform: Kubernetes manifests run as processes in network namespaces.
