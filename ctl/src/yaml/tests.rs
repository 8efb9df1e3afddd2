use mesh_config::yaml::read;
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
