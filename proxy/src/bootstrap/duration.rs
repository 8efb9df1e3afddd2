//! Durations as Go and Kubernetes write them.

use std::time::Duration;

/// Parses `1h30m`, `45s`, `1.5s`, `300ms`, `0`. `None` for anything else, negative ones included.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        // Longer units first: `m` is a prefix of `ms`.
        let (unit, seconds) = [
            ("ms", 1e-3),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ns", 1e-9),
            ("h", 3600.0),
            ("m", 60.0),
            ("s", 1.0),
        ]
        .into_iter()
        .find(|(unit, _)| rest.starts_with(unit))?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_durations() {
        for (text, millis) in [
            ("45s", 45_000),
            ("1h2m3s", 3_723_000),
            ("1.5s", 1500),
            ("300ms", 300),
            ("0", 0),
            ("24h0m0s", 86_400_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "-5s", "s", "1x", "1..2s", "1e9s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
