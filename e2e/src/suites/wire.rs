//! What a packet capture shows: frames, and the TLS handshakes in them.

use anyhow::{Context, ensure};

/// A TLS record of handshake messages.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const SUPPORTED_VERSIONS: u16 = 43;
const ETHERNET_BYTES: usize = 14;

/// Reads the frames that `meshecho capture` printed: one per line, in hexadecimal.
///
/// # Errors
/// When a line is something else.
pub fn frames(printed: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    printed.lines().map(frame).collect()
}

fn frame(line: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(line.len().is_multiple_of(2), "half a byte in {line:?}");
    (0..line.len())
        .step_by(2)
        .map(|at| {
            let digits = line.get(at..at + 2).context("no hexadecimal digits")?;
            u8::from_str_radix(digits, 16).with_context(|| format!("{digits:?} in a frame"))
        })
        .collect()
}

/// Whether `text` can be read in a frame.
#[must_use]
pub fn shows(frames: &[Vec<u8>], text: &str) -> bool {
    frames.iter().any(|frame| {
        frame
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

/// The TLS versions that servers on `port` chose, one per ServerHello seen.
#[must_use]
pub fn chosen_tls_versions(frames: &[Vec<u8>], port: u16) -> Vec<u16> {
    frames
        .iter()
        .filter_map(|frame| server_hello_version(tcp_payload(frame, port)?))
        .collect()
}

/// What a TCP segment over IPv4 from `port` carries.
fn tcp_payload(frame: &[u8], port: u16) -> Option<&[u8]> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    let (version, header) = (packet.first()? >> 4, usize::from(packet[0] & 15) * 4);
    let tcp = packet.get(header..)?;
    let from = u16::from_be_bytes(tcp.first_chunk().copied()?);
    let is_tcp = version == 4 && packet.get(9) == Some(&6);
    let offset = usize::from(tcp.get(12)? >> 4) * 4;
    tcp.get(offset..).filter(|_| is_tcp && from == port)
}

/// The version of a ServerHello: that of `supported_versions` (RFC 8446 section 4.2.1), else the
/// old field's. `None` for anything else.
fn server_hello_version(payload: &[u8]) -> Option<u16> {
    if *payload.first()? != HANDSHAKE || *payload.get(5)? != SERVER_HELLO {
        return None;
    }
    let hello = payload.get(9..)?; // after record and handshake header
    let legacy = u16::from_be_bytes(hello.first_chunk().copied()?);
    let session = usize::from(*hello.get(34)?);
    let mut extensions = hello.get(35 + session + 3 + 2..)?; // cipher suite, compression, length
    while let Some((head, rest)) = extensions.split_first_chunk::<4>() {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (value, next) = rest.split_at_checked(length)?;
        if kind == SUPPORTED_VERSIONS {
            return value.first_chunk().copied().map(u16::from_be_bytes);
        }
        extensions = next;
    }
    Some(legacy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 and TCP from port 8080 around a ServerHello with one extension.
    fn hello(extension: &[u8]) -> Vec<u8> {
        let mut ip = vec![0; 20];
        (ip[0], ip[9]) = (0x45, 6);
        let mut tcp = vec![0; 20];
        tcp[..2].copy_from_slice(&8080u16.to_be_bytes());
        tcp[12] = 5 << 4;
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0x13, 1, 0, 0, u8::try_from(extension.len()).unwrap()]);
        hello.extend(extension);
        let head = [22, 3, 3, 0, 0, 2, 0, 0, 0];
        [vec![0; ETHERNET_BYTES], ip, tcp, head.to_vec(), hello].concat()
    }

    #[test]
    fn tells_which_version_a_server_chose() {
        let new = hello(&[0, 51, 0, 1, 9, 0, 43, 0, 2, 3, 4]);
        let old = hello(&[0, 51, 0, 1, 9]);
        let frames = [new, old, b"something else".to_vec(), Vec::new()];
        assert_eq!(chosen_tls_versions(&frames, 8080), [0x0304, 0x0303]);
        assert_eq!(chosen_tls_versions(&frames, 80), Vec::<u16>::new());
    }

    #[test]
    fn reads_what_the_capture_printed() {
        assert_eq!(frames("00ff\n\n").unwrap(), [vec![0, 255], Vec::new()]);
        assert!(frames("zz").is_err() && frames("0").is_err());
        assert!(shows(&[b"a secret".to_vec()], "secret"));
    }
}
