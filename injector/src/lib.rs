//! The sidecar injector: a pod in, a patched pod out.
