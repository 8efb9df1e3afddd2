use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::decode::{Fields, Garbled};
use super::{Decoder, Encoder, Pseudo};

/// Fields as text, in their order.
#[derive(Default)]
struct Listed {
    lines: Vec<String>,
    invalid: usize,
    too_long: bool,
}

impl Fields for Listed {
    fn pseudo(&mut self, name: Pseudo, value: Bytes) {
        let value = String::from_utf8_lossy(&value).into_owned();
        self.lines.push(format!("{name:?}={value}"));
    }

    fn field(&mut self, name: HeaderName, value: HeaderValue) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.lines.push(format!("{name}={value}"));
    }

    fn invalid(&mut self) {
        self.invalid += 1;
    }

    fn too_long(&mut self) {
        self.too_long = true;
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Garbled> {
    let mut listed = Listed::default();
    decoder.decode(block, &mut listed)?;
    Ok(listed.lines)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pairs = digits.chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// RFC 7541 appendix C.4: requests with Huffman coding on one connection.
#[test]
fn decodes_the_requests_of_the_rfc() {
    let mut decoder = Decoder::new(4096);
    let first = hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
    let wanted = [
        "Method=GET",
        "Scheme=http",
        "Path=/",
        "Authority=www.example.com",
    ];
    assert_eq!(decode(&mut decoder, &first).unwrap(), wanted);
    let second = hex("8286 84be 5886 a8eb 1064 9cbf");
    let cached = decode(&mut decoder, &second).unwrap();
    assert_eq!(
        cached[3..],
        ["Authority=www.example.com", "cache-control=no-cache"]
    );
    let third = hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
    let wanted = [
        "Method=GET",
        "Scheme=https",
        "Path=/index.html",
        "Authority=www.example.com",
        "custom-key=custom-value",
    ];
    assert_eq!(decode(&mut decoder, &third).unwrap(), wanted);
}

#[test]
fn what_is_encoded_is_decoded_whatever_the_table_holds() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(64 * 1024));
    let mut sizes = Vec::new();
    for round in 0..300 {
        if round == 100 {
            encoder.resize(300);
        } else if round == 200 {
            encoder.resize(1 << 20);
        }
        let mut out = Vec::new();
        encoder.begin(&mut out);
        encoder.status(&mut out, StatusCode::from_u16(200 + round % 3).unwrap());
        encoder.path(&mut out, "/pkg.Service/Method");
        encoder.authority(&mut out, "reviews:9080");
        let mut fields = HeaderMap::new();
        fields.insert("x-request-id", HeaderValue::from(round));
        fields.insert("x-steady", HeaderValue::from_static("always the same"));
        fields.insert("x-slow", HeaderValue::from(round / 20));
        fields.insert("cookie", HeaderValue::from_static("secret=1"));
        fields.append("x-two", HeaderValue::from_static("one"));
        fields.append("x-two", HeaderValue::from_static("two"));
        fields.insert("connection", HeaderValue::from_static("close"));
        fields.insert("te", HeaderValue::from_static("gzip"));
        let name = format!("x-name-{round}").parse::<HeaderName>().unwrap();
        fields.insert(name, HeaderValue::from_static("v"));
        for (name, value) in &fields {
            encoder.field(&mut out, name, value);
        }
        sizes.push(out.len());
        let lines = decode(&mut decoder, &out).unwrap();
        fields.remove("connection");
        fields.remove("te");
        let expected = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
        assert_eq!(
            lines[..3],
            [
                format!("Status={}", 200 + round % 3),
                "Path=/pkg.Service/Method".to_owned(),
                "Authority=reviews:9080".to_owned(),
            ]
        );
        assert_eq!(lines[3..], expected.collect::<Vec<_>>());
    }
    assert!(sizes[50] < sizes[0] * 2 / 3, "{sizes:?}");
}

#[test]
fn a_value_that_must_not_be_kept_stays_so() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(4096));
    let mut secret = HeaderValue::from_static("token");
    secret.set_sensitive(true);
    for _ in 0..3 {
        let mut out = Vec::new();
        encoder.field(&mut out, &HeaderName::from_static("x-token"), &secret);
        assert_eq!(out[0], 0x10, "never indexed");
        assert_eq!(decode(&mut decoder, &out).unwrap(), ["x-token=token"]);
    }
}

#[test]
fn garbled_blocks_are_refused() {
    let blocks = [
        ("index 0", "80"),
        ("an index that no table has", "ff 80 01"),
        ("a number without an end", "ff ff ff ff ff ff ff"),
        ("a string longer than the block", "00 05 61"),
        ("a table larger than allowed", "3f e1 ff 03"),
        ("a table size behind a field", "82 20"),
        ("Huffman padding of more than 7 bits", "00 01 61 82 1f ff"),
        (
            "Huffman padding that is no prefix of the end",
            "00 01 61 81 18",
        ),
        ("the end inside a Huffman string", "00 01 61 84 ff ff ff ff"),
    ];
    for (what, block) in blocks {
        let result = decode(&mut Decoder::new(4096), &hex(block));
        assert_eq!(result, Err(Garbled), "{what}");
    }
}

#[test]
fn invalid_fields_are_told_and_keep_their_place() {
    let mut decoder = Decoder::new(4096);
    let mut listed = Listed::default();
    // X: upper case; then an index to it; then one to a good field.
    decoder
        .decode(&hex("40 01 58 01 31 40 01 79 01 32 be"), &mut listed)
        .unwrap();
    assert_eq!(
        (listed.invalid, listed.lines.as_slice()),
        (1, &["y=2".to_owned(), "y=2".to_owned()][..])
    );
}

#[test]
fn lists_longer_than_the_limit_are_cut_and_the_table_stays_right() {
    let mut decoder = Decoder::new(100);
    let mut listed = Listed::default();
    // Three fields of 34 bytes each, kept.
    let block = hex("40 01 61 01 31 40 01 62 01 32 40 01 63 01 33");
    decoder.decode(&block, &mut listed).unwrap();
    assert!(listed.too_long);
    assert_eq!(listed.lines, ["a=1", "b=2"]);
    assert_eq!(decode(&mut decoder, &hex("be c0")).unwrap(), ["c=3", "a=1"]);
}
