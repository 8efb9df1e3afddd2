use super::*;
use crate::decode::{Decoded, documents};

fn warnings(kind: &str, spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    );
    match &documents(&text, "f")[0] {
        Ok(Decoded::Mesh(resource)) => validate(resource)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_behind_a_catch_all_are_warned_about() {
    let to = "route: [{destination: {host: a}}]";
    assert_eq!(
        warnings(
            "VirtualService",
            &format!("{{hosts: [a], http: [{{{to}}}, {{{to}}}]}}")
        ),
        ["spec.http[1]: is never reached: http[0] matches everything; move it up, or remove it"]
    );
    assert_eq!(
        warnings(
            "VirtualService",
            &format!(
                "{{hosts: [a], http: [{{match: [{{port: 1}}], {to}}}, {{match: [{{port: 1}}], {to}}}]}}"
            )
        ),
        ["spec.http[1].match[0]: is never used: spec.http[0].match[0] is the same; remove one"]
    );
}

#[test]
fn probable_slips_are_warned_about() {
    assert_eq!(
        warnings(
            "Gateway",
            "{servers: [{hosts: [a], port: {number: 1, name: a, protocol: HTTP}}]}"
        ),
        [
            "spec.selector: selects every proxy of the mesh; name the labels of the gateway's pods, for example istio: ingressgateway"
        ]
    );
    assert_eq!(
        warnings("Sidecar", "{egress: [{hosts: [\"*/*\", ./a]}]}"),
        ["spec.egress[0].hosts: \"*/*\" selects everything; remove the other hosts"]
    );
    assert!(warnings("DestinationRule", "{host: a}").is_empty());
}
