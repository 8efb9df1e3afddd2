//! Starting processes in namespaces of their own, with chosen descriptors.
