//! The daemon's interface on `STATE/api.sock`, used by [`crate::client`].
//!
//! One request per connection. The client sends one frame ([`wire::Request`]); `exec` attaches
//! its three standard descriptors to that frame's first byte (SCM_RIGHTS). The daemon answers
//! with one or more frames ([`wire::Reply`]), then closes. A frame is a 32-bit big-endian length
//! and that many bytes of JSON.
//!
//! Only the owner may connect: the socket's mode is 0600 and the peer's uid is checked.

mod logs;
mod manifests;
pub(crate) mod server;
pub mod wire;
