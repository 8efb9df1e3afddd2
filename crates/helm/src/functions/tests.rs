use serde_json::json;

use crate::engine::Engine;
use crate::values::to_template;

fn render(template: &str) -> Result<String, String> {
    let data = json!({
        "text": "Some text", "empty": "", "no": false, "zero": 0, "half": 2.5,
        "list": ["a", "b"], "map": {"b": 1, "a": {"c": true}},
    });
    let engine = Engine::parse([
        ("it", template),
        ("lib", r#"{{ define "wrap" }}<{{ .text }}>{{ end }}{{ define "loop" }}{{ include "loop" . }}{{ end }}"#),
    ])
    .map_err(|error| error.to_string())?;
    engine
        .execute("it", &to_template(&data))
        .map_err(|error| error.to_string())
}

fn expect(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template).as_deref(), Ok(*expected), "{template}");
    }
}

#[test]
fn text_functions_do_what_helm_says() {
    expect(&[
        (r#"{{ include "wrap" . }}"#, "<Some text>"),
        (
            r#"{{ contains "me t" .text }} {{ hasPrefix "So" .text }}"#,
            "true true",
        ),
        (r#"{{ "a\nb" | indent 2 }}"#, "  a\n  b"),
        (r#"{{ "a\nb" | nindent 2 }}"#, "\n  a\n  b"),
        (r#"{{ lower .text }}"#, "some text"),
        (r#"{{ quote .text 1 .nothing }}"#, r#""Some text" "1""#),
        (r#"{{ toString .map.b }}"#, "1"),
        (r#"{{ toYaml .map }}"#, "a:\n  c: true\nb: 1"),
        (
            r#"{{ trim " a " }}{{ trimPrefix "a" "ab" }}{{ trimSuffix "b" "ab" }}"#,
            "aba",
        ),
        (
            r#"{{ trunc 4 .text }} {{ trunc 99 .text }}"#,
            "Some Some text",
        ),
        (r#"{{ .nothing }}{{ .nothing.below }}|"#, "|"),
    ]);
}

#[test]
fn map_and_list_functions_do_what_helm_says() {
    expect(&[
        (
            r#"{{ dict "x" 1 "z" (list 1 2) | toYaml }}"#,
            "x: 1\nz:\n- 1\n- 2",
        ),
        (
            r#"{{ has "a" .list }} {{ has "c" .list }} {{ has "c" .nothing }}"#,
            "true false false",
        ),
        (
            r#"{{ hasKey .map "a" }} {{ hasKey .map "z" }}"#,
            "true false",
        ),
        (
            r#"{{ omit .map "a" | toYaml }} {{ pick .map "b" "z" | toYaml }}"#,
            "b: 1 b: 1",
        ),
        (
            r#"{{ range $key, $value := .map }}{{ $key }};{{ end }}"#,
            "a;b;",
        ),
    ]);
}

#[test]
fn decisions_are_helms() {
    expect(&[
        (r#"{{ coalesce .nothing .empty .zero .text }}"#, "Some text"),
        (
            r#"{{ .empty | default "x" }} {{ .no | default "x" }} {{ .text | default "x" }}"#,
            "x x Some text",
        ),
        (r#"{{ .nothing | default .list | len }}"#, "2"),
        (
            r#"{{ int .half }} {{ int "7" }} {{ int .text }} {{ int .nothing }}"#,
            "2 7 0 0",
        ),
        (r#"{{ required "give text" .text }}"#, "Some text"),
        (r#"{{ ternary "yes" "no" (eq .text "x") }}"#, "no"),
    ]);
}

#[test]
fn faults_name_template_place_and_function() {
    let cases = [
        (
            r#"{{ required "set it, please" .nothing }}"#,
            "template it: line 1, column 4: set it, please",
        ),
        (
            r#"{{ fail "no way" }}"#,
            "template it: line 1, column 4: no way",
        ),
        (
            "\n{{ indent 2 .map }}",
            "template it: line 2, column 4: indent SPACES TEXT: map[a:map[c:true] b:1] is no text",
        ),
        (r#"{{ trunc 1 }}"#, "trunc LENGTH TEXT: got 1 arguments"),
        (
            r#"{{ lookup "v1" "Pod" "" "" }}"#,
            "template it is not in the dialect that meshctl and Helm share: line 1, column 4: function lookup not defined",
        ),
        (r#"{{ set .map "a" 1 }}"#, "function set not defined"),
        (r#"{{ js .text }}"#, "function js not defined"),
        (r#"{{ if }}"#, "not in the dialect"),
        (
            r#"{{ include "loop" . }}"#,
            "templates include each other more than 16 deep",
        ),
        (r#"{{ include "missing" . }}"#, "missing"),
    ];
    for (template, expected) in cases {
        let error = render(template).expect_err(template);
        assert!(error.contains(expected), "{template}: {error}");
    }
}
