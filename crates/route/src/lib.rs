//! xDS compiled to matching, authorization and balancing: the mesh's engine.
