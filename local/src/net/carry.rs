//! Carries bytes between two connections.

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

/// Per direction. Large enough for bulk transfer, small enough for a thousand idle connections (32 MB).
const BUFFER_BYTES: usize = 16 * 1024;

/// Carries bytes both ways until both sides have ended; a failure of one resets the other.
pub(super) async fn carry(mut left: TcpStream, mut right: TcpStream) {
    let _ = left.set_nodelay(true);
    let _ = right.set_nodelay(true);
    let copied =
        copy_bidirectional_with_sizes(&mut left, &mut right, BUFFER_BYTES, BUFFER_BYTES).await;
    if copied.is_err() {
        reset(&left);
        reset(&right);
    }
}

/// Makes closing the connection look like a failure, not like an orderly end.
pub(super) fn reset(stream: &TcpStream) {
    let _ = mesh_sys::socket::reset_on_close(stream);
}
