use serde_json::json;

use super::*;

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
