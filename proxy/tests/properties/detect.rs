//! What must hold of protocol detection, whatever bytes come: a verdict on the first of them
//! stands, and a ClientHello means to us what it means to the TLS library.

use mesh_proxy::detect::{ClientHello, Detected, Inspect, classify};
use rustls::server::Acceptor;

use super::pieces::pieces;

/// The first byte decides what is looked for and how the others are cut.
pub(crate) fn first_bytes(input: &[u8]) {
    let Some((&seed, bytes)) = input.split_first() else {
        return;
    };
    let inspect = Inspect {
        tls: seed & 2 == 0,
        http: seed & 4 == 0,
    };
    let whole = classify(bytes, inspect);
    let mut end = 0;
    for piece in pieces(bytes, seed) {
        end += piece.len();
        let verdict = classify(&bytes[..end], inspect);
        if verdict.is_some() {
            assert_eq!(verdict, whole, "the verdict on {end} bytes");
            break;
        }
    }
    if let (Some(Detected::Tls(ours)), Some((name, alpn))) = (whole, hello_of_rustls(bytes)) {
        compare(&ours, name.as_deref(), &alpn);
    }
}

fn compare(ours: &ClientHello, name: Option<&str>, alpn: &[Vec<u8>]) {
    assert_eq!(ours.alpn.as_slice(), alpn);
    // rustls knows names only where they are DNS names.
    if let Some(name) = name {
        let name = name.to_ascii_lowercase();
        assert_eq!(ours.server_name.as_deref(), Some(name.as_str()));
    }
}

/// Server name and protocols as rustls reads them; `None` for what it refuses.
fn hello_of_rustls(mut bytes: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let alpn = hello.alpn().map(|list| list.map(<[u8]>::to_vec).collect());
            return Some((
                hello.server_name().map(str::to_owned),
                alpn.unwrap_or_default(),
            ));
        }
    }
    None
}
