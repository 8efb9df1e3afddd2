//! User-facing configuration types of the mesh (Istio's API): decode, validate, analyse.
