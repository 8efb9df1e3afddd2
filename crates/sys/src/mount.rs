//! Mount calls that nix lacks.
