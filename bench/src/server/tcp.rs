//! TCP: a request of [`REQUEST`] bytes begins with the length of the answer, four bytes, big-endian.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Length of a request.
pub(crate) const REQUEST: usize = 100;

/// Serves one connection.
pub(super) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; REQUEST];
    loop {
        match stream.read_exact(&mut request).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes([request[0], request[1], request[2], request[3]]);
        stream.write_all(super::body(length as usize)).await?;
    }
}
