//! Wrong configuration: refused in words, and nothing else suffers.

use anyhow::ensure;

use super::{LIVE_WITHIN, Mesh, Test};
use crate::bookinfo::{Stars, page, visit};
use crate::deadline::eventually_true;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "bad_input::a_malformed_resource_is_refused_in_words",
        a_malformed_resource_is_refused_in_words,
    ),
    (
        "bad_input::the_last_good_version_stays",
        the_last_good_version_stays,
    ),
];

const UNKNOWN_FIELD: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong, namespace: default}
spec:
  hosts: [reviews]
  http:
    - route: [{destination: {host: reviews, subst: v1}}]
";

/// Right for the definition of its kind, and yet wrong.
pub(super) const NO_REGEX: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong, namespace: default}
spec:
  hosts: [reviews]
  http:
    - match: [{uri: {regex: '['}}]
      route: [{destination: {host: reviews}}]
";

const WEIGHTS: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
    - route:
        - {destination: {host: reviews, subset: v1}, weight: -5}
";

fn a_malformed_resource_is_refused_in_words(mesh: &Mesh) -> anyhow::Result<()> {
    for (yaml, words) in [
        (
            UNKNOWN_FIELD,
            &["spec.http[0].route[0].destination.subst"][..],
        ),
        (
            NO_REGEX,
            &[
                "VirtualService default/wrong",
                "spec.http[0].match[0].uri.regex",
                "RE2",
            ],
        ),
    ] {
        let Err(error) = mesh.platform.apply_text(yaml) else {
            anyhow::bail!("accepted: {yaml}");
        };
        let text = format!("{error:#}");
        for word in words {
            ensure!(
                text.contains(word),
                "the refusal doesn't name {word}: {text}"
            );
        }
    }
    Ok(())
}

fn the_last_good_version_stays(mesh: &Mesh) -> anyhow::Result<()> {
    let ingress = mesh.platform.ingress();
    mesh.with_file(&mesh.networking("virtual-service-reviews-v3.yaml"), || {
        let only_red = || {
            Ok(visit(ingress, &page(), 6)?
                .iter()
                .all(|stars| *stars == Stars::Red))
        };
        eventually_true("only red stars", LIVE_WITHIN * 2, only_red)?;
        ensure!(
            mesh.platform.apply_text(WEIGHTS).is_err(),
            "a negative weight was accepted"
        );
        std::thread::sleep(LIVE_WITHIN);
        ensure!(only_red()?, "a refused resource changed the routing");
        Ok(())
    })
}
