//! SPIFFE identities, certificates, CSRs, trust bundles and refresh times.
