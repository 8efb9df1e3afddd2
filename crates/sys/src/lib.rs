//! Linux system calls of the mesh: sockets, original destination, network namespaces, nftables.
