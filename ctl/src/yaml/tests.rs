use serde_json::json;

use super::*;

/// Words that version 1.1 takes for something else, in the cases that go-yaml v2 knows.
const WORDS: [&str; 42] = [
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "Yes",
    "YES",
    "no",
    "No",
    "NO",
    "on",
    "On",
    "ON",
    "off",
    "Off",
    "OFF",
    "true",
    "True",
    "TRUE",
    "false",
    "False",
    "FALSE",
    "null",
    "Null",
    "NULL",
    "~",
    "1_000",
    "-1_0",
    "010",
    "0o17",
    "0x1F",
    "0xFFFFFFFFFFFFFFFF",
    "0b1010",
    "1e3",
    ".5",
    ".inf",
    ".NaN",
    "190:20:30",
    "2001-12-14",
    "<<",
    "=",
    "",
];

#[test]
fn text_that_means_something_else_is_quoted() {
    for word in WORDS {
        let quoted = format!("\"{word}\"");
        assert_eq!(print(&json!({ "a": word })), format!("a: {quoted}\n"));
        assert_eq!(print(&json!([word])), format!("- {quoted}\n"));
        assert_eq!(print(&json!({ word: 1 })), format!("{quoted}: 1\n"));
    }
    for word in ["oN", "nope", "1.2.3", "100m", "a_1", "_1", "80:443", "v1"] {
        // `oN` is quoted although nobody needs it.
        let printed = print(&json!({ "a": word }));
        assert_eq!(read(&printed).unwrap(), json!({ "a": word }));
    }
    assert_eq!(
        print(&json!({"a": [true, null, 1, 1.5]})),
        "a:\n- true\n- null\n- 1\n- 1.5\n"
    );
}

#[test]
fn what_is_printed_is_read_back_as_it_was() {
    let value: Value = WORDS.iter().map(|word| json!({ *word: [word] })).collect();
    assert_eq!(read(&print(&value)).unwrap(), value);
}

#[test]
fn plain_words_are_read_as_kubectl_reads_them() {
    let text = "\
a: yes # as kubectl says
b: [off, Y, {c: NO, d: 0644}]
e:
- on
-   n
f: -1_000
g: 09
h: 1_0.5
i: 0x_ff
";
    let value = json!({"a": true, "b": [false, true, {"c": false, "d": 420}], "e": [true, false],
        "f": -1000, "g": 9.0, "h": 10.5, "i": 255});
    assert_eq!(read(text).unwrap(), value);
}

#[test]
fn words_within_text_stay_text() {
    let text = r#"
a: "yes"
b: 'off'
c: |-
  - no
d: no more, yes
e: "say: no"
f: !!str on
on: x
g: {y: 1, no}
h: yesterday
i: "
  - off"
j: 12:30
"#;
    let value = json!({"a": "yes", "b": "off", "c": "- no", "d": "no more, yes", "e": "say: no",
        "f": "on", "on": "x", "g": {"y": 1, "no": null}, "h": "yesterday", "i": " - off", "j": "12:30"});
    assert_eq!(read(text).unwrap(), value);
}

#[test]
fn errors_are_about_the_text_as_it_is() {
    let error = read("a: yes\nb: [").unwrap_err().to_string();
    assert_eq!(
        error,
        serde_yaml::from_str::<Value>("a: yes\nb: [")
            .unwrap_err()
            .to_string()
    );
}
