//! Certificate authority of the mesh: CSR in, SVID out.
