//! Linux system calls of the mesh: sockets, original destination, network namespaces, nftables,
//! links, descriptor passing, pipes between sockets, isolated processes, memory.
//!
//! The only crate of the mesh with `unsafe`; each block says why it is sound. Nothing here knows
//! what a proxy or a pod is: the proxy (capture, listeners) and the local platform (pods) build on it.

pub mod alloc;
pub mod caps;
pub mod fdpass;
pub mod link;
pub mod memory;
pub mod mount;
pub mod netns;
pub mod nft;
pub mod pipe;
pub mod process;
pub mod socket;

#[cfg(test)]
mod testing;
