//! Path normalisation.

/// Path normalisation before anything looks at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathNormalisation {
    /// RFC 3986: dot segments, backslashes, unreserved escapes.
    pub normalize: bool,
    /// `//` to `/`.
    pub merge_slashes: bool,
    /// `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

/// What happens to `%2F` and `%5C` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// Nothing.
    Keep,
    /// 400.
    Reject,
    /// Decode and redirect the client there.
    UnescapeAndRedirect,
    /// Decode and go on.
    UnescapeAndForward,
}

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Normalised {
    /// As it was.
    Unchanged,
    /// Use this one.
    Changed(String),
    /// Answer 307 with this location.
    Redirect(String),
    /// Answer 400.
    Reject,
}

impl PathNormalisation {
    /// Normalises a path with query. Allocates only if something changes. Order as in Envoy:
    /// escaped slashes, RFC 3986, merging. A path that doesn't begin with a slash (`*`, or
    /// empty for CONNECT) is left alone.
    pub fn apply(&self, path: &str) -> Normalised {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (only, tail) = path.split_at(end);
        if !only.starts_with('/') {
            return Normalised::Unchanged;
        }
        let mut current = std::borrow::Cow::Borrowed(only);
        let mut redirect = false;
        if self.escaped_slashes != EscapedSlashes::Keep && has_escaped_slash(only) {
            if self.escaped_slashes == EscapedSlashes::Reject {
                return Normalised::Reject;
            }
            redirect = self.escaped_slashes == EscapedSlashes::UnescapeAndRedirect;
            current = unescape_slashes(&current).into();
        }
        if self.normalize && needs_normalising(&current) {
            match normalise(&current) {
                Some(normal) => current = normal.into(),
                None => return Normalised::Reject,
            }
        }
        if self.merge_slashes && current.contains("//") {
            current = merge(&current).into();
        }
        if *current == *only {
            Normalised::Unchanged
        } else if redirect {
            Normalised::Redirect(format!("{current}{tail}"))
        } else {
            Normalised::Changed(format!("{current}{tail}"))
        }
    }
}

fn has_escaped_slash(path: &str) -> bool {
    escapes(path).any(|(_, byte)| matches!(byte, b'/' | b'\\'))
}

/// Position and value of every `%XX`.
fn escapes(path: &str) -> impl Iterator<Item = (usize, u8)> {
    path.match_indices('%').filter_map(|(at, _)| {
        let digits = path.as_bytes().get(at + 1..at + 3)?;
        Some((at, hex(digits[0])? << 4 | hex(digits[1])?))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn unescape_slashes(path: &str) -> String {
    decode(path, |byte| matches!(byte, b'/' | b'\\'))
}

/// Decodes the escapes whose ASCII value is `wanted`.
fn decode(path: &str, wanted: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(path.len());
    let mut done = 0;
    for (at, byte) in escapes(path) {
        if at >= done && byte.is_ascii() && wanted(byte) {
            out.push_str(&path[done..at]);
            out.push(char::from(byte));
            done = at + 3;
        }
    }
    out.push_str(&path[done..]);
    out
}

fn needs_normalising(path: &str) -> bool {
    path.contains("/.") || path.contains('\\') || path.contains('%')
}

/// RFC 3986 section 6: unreserved characters are decoded, backslashes become slashes, dot
/// segments go. `None` for an escaped or literal NUL.
fn normalise(path: &str) -> Option<String> {
    if escapes(path).any(|(_, byte)| byte == 0) || path.contains('\0') {
        return None;
    }
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let decoded = decode(path, unreserved).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in decoded[1..].split('/') {
        directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            plain => segments.push(plain),
        }
    }
    let mut out = String::with_capacity(decoded.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if directory || out.is_empty() {
        out.push('/');
    }
    Some(out)
}

fn merge(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !out.ends_with('/') {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(escaped_slashes: EscapedSlashes, path: &str) -> Normalised {
        let normalisation = PathNormalisation {
            normalize: true,
            merge_slashes: true,
            escaped_slashes,
        };
        normalisation.apply(path)
    }

    #[test]
    fn normalises_what_hides_a_path() {
        for (from, to) in [
            ("/a/../b?x=../y", "/b?x=../y"),
            ("/a/./b/.", "/a/b/"),
            ("/../../etc", "/etc"),
            ("/%61dmin", "/admin"),
            (r"/a\b", "/a/b"),
            ("/a//b///c", "/a/b/c"),
            ("/%2e%2e/x", "/x"),
        ] {
            assert_eq!(
                apply(EscapedSlashes::Keep, from),
                Normalised::Changed(to.to_owned()),
                "{from}"
            );
        }
    }

    #[test]
    fn leaves_plain_paths_alone() {
        for path in ["/", "/a/b?c=//d", "*", "", "/a%20b", "/a/.b", "/a..b"] {
            assert_eq!(
                apply(EscapedSlashes::Keep, path),
                Normalised::Unchanged,
                "{path}"
            );
        }
    }

    #[test]
    fn escaped_slashes_as_configured() {
        assert_eq!(apply(EscapedSlashes::Keep, "/a%2Fb"), Normalised::Unchanged);
        assert_eq!(apply(EscapedSlashes::Reject, "/a%2fb"), Normalised::Reject);
        assert_eq!(
            apply(EscapedSlashes::UnescapeAndRedirect, "/a%2fb?q"),
            Normalised::Redirect("/a/b?q".to_owned())
        );
        assert_eq!(
            apply(EscapedSlashes::UnescapeAndForward, "/a/%2e%2e%5Cb"),
            Normalised::Changed("/b".to_owned())
        );
        assert_eq!(apply(EscapedSlashes::Keep, "/a%00"), Normalised::Reject);
    }
}
