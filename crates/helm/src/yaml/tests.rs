use serde_json::{Value, json};

use super::print;

/// As `helm template` with sigs.k8s.io/yaml prints them.
#[test]
fn prints_what_helm_prints() {
    let value = json!({
        "empty": {"list": [], "map": {}, "text": ""},
        "list": ["a", {"b": 1, "c": [true, null]}, ["x", "y"]],
        "map": {"below": {"key": 1.5}},
        "number": 100,
    });
    assert_eq!(
        print(&value),
        "empty:\n  list: []\n  map: {}\n  text: \"\"\nlist:\n- a\n- b: 1\n  c:\n  - true\n  - null\n- - x\n  - \"y\"\nmap:\n  below:\n    key: 1.5\nnumber: 100"
    );
}

#[test]
fn quotes_text_that_yaml_takes_for_something_else() {
    let cases = [
        ("true", "\"true\""),
        ("No", "\"No\""),
        ("null", "\"null\""),
        ("1", "\"1\""),
        ("0x1F", "\"0x1F\""),
        ("1e3", "\"1e3\""),
        ("0xFFFFFFFFFFFFFFFF", "\"0xFFFFFFFFFFFFFFFF\""),
        ("0x123456789abcdef01", "\"0x123456789abcdef01\""),
        ("12:30", "\"12:30\""),
        ("190:20:30.5", "\"190:20:30.5\""),
        ("80:443", "80:443"),
        ("2026-11-21", "\"2026-11-21\""),
        ("100m", "100m"),
        ("1.2.3", "1.2.3"),
        ("*", "'*'"),
        ("a: b", "'a: b'"),
        ("it's: b", "'it''s: b'"),
        ("a:b", "a:b"),
        ("[x]", "'[x]'"),
        ("-", "'-'"),
        ("-x", "-x"),
        ("a #b", "'a #b'"),
        ("\u{7}", "\"\\u0007\""),
        ("\u{7f}\u{80}\u{85}\u{ffff}", "\"\\u007F\\u0080\\N\\uFFFF\""),
    ];
    for (text, printed) in cases {
        assert_eq!(print(&Value::from(text)), printed, "{text:?}");
    }
}

#[test]
fn prints_lines_as_a_block() {
    let value = json!({"a": "one\ntwo", "b": "one\n", "c": ["x\n\ny\n"]});
    assert_eq!(
        print(&value),
        "a: |-\n  one\n  two\nb: |\n  one\nc:\n- |\n  x\n\n  y"
    );
}

/// Whatever the text, YAML reads back what was printed.
#[test]
fn is_read_back_as_it_was() {
    let awkward = [
        "", " ", "a\n", "a\n\n", "\n", "\na", " a\nb", "a \nb", "a\tb", "~", "#", "- a", "? a",
        "'", "\"", "%a", "@a", "`a", "a:", ":a", "a: ", "---", "...", "é", "a\\nb", "{{ x }}", "|",
        ">", "!a", "&a", "*a", ".", "+1", "0o17", "1_000", "=", "<<", "y", "a,b", "\u{2028}",
        "\r\n", "a\n b\n",
    ];
    for text in awkward {
        let value = json!({"key": [text], "map": {text: text}});
        let printed = print(&value) + "\n";
        let read: Value =
            serde_yaml::from_str(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(read, value, "{printed}");
    }
}
