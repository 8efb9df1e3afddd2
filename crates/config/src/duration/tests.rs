use proptest::prelude::*;

use super::*;

#[test]
fn reads_go_durations() {
    let cases = [
        ("0", Duration::ZERO),
        ("0s", Duration::ZERO),
        ("5s", Duration::from_secs(5)),
        ("1.5s", Duration::from_millis(1500)),
        (".5s", Duration::from_millis(500)),
        ("1h2m3s", Duration::from_secs(3723)),
        ("250ms", Duration::from_millis(250)),
        ("10us", Duration::from_micros(10)),
        ("7ns", Duration::from_nanos(7)),
        ("43200s", Duration::from_secs(43200)),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn refuses_what_is_not_a_duration() {
    for text in [
        "", "5", "s", "5 s", "5x", "1..5s", ".s", "five", "5s ", "1e3s",
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(
            message.contains("write a number with a unit"),
            "{text}: {message}"
        );
    }
    assert_eq!(
        parse("-1s").unwrap_err().to_string(),
        "\"-1s\" is negative: a duration must not be"
    );
    assert!(matches!(
        parse("99999999999h"),
        Err(DurationError::TooLong(_))
    ));
    assert!(parse(&"9".repeat(80)).is_err());
    assert!(parse(&format!("{}h", "9".repeat(80))).is_err());
}

proptest! {
    #[test]
    fn format_is_read_back(seconds in 0u64..400_000_000, nanos in 0u32..1_000_000_000) {
        let duration = Duration::new(seconds, nanos);
        prop_assert_eq!(parse(&format(duration)), Ok(duration));
    }

    #[test]
    fn never_panics(text in "\\PC{0,40}") {
        let _ = parse(&text);
    }
}
