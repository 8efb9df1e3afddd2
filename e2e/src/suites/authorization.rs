//! AuthorizationPolicy: who may ask what.

use anyhow::ensure;

use super::{LIVE_WITHIN, Mesh, Test, echo};
use crate::deadline::eventually_true;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "authorization::denies_one_principal_on_one_path",
        denies_one_principal_on_one_path,
    ),
    (
        "authorization::allow_shuts_everyone_else_out",
        allow_shuts_everyone_else_out,
    ),
];

const DENY: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-client, namespace: echo}
spec:
  selector: {matchLabels: {app: server}}
  action: DENY
  rules:
    - from: [{source: {principals: [cluster.local/ns/echo/sa/client]}}]
      to: [{operation: {paths: [/admin*]}}]
";

const ALLOW: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-get, namespace: echo}
spec:
  selector: {matchLabels: {app: server}}
  rules:
    - from: [{source: {namespaces: [echo]}}]
      to: [{operation: {methods: [GET]}}]
";

fn denies_one_principal_on_one_path(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let admin = "http://server.echo/admin/x";
    mesh.with_text(DENY, || {
        eventually_true("the client is denied", LIVE_WITHIN, || {
            let (status, body) = echo.status(&echo.client, &[admin])?;
            Ok(status == 403 && body.ends_with("RBAC: access denied"))
        })?;
        let (other_path, _) = echo.status(&echo.client, &["http://server.echo/public"])?;
        ensure!(other_path == 200, "another path got {other_path}");
        let (other_caller, _) = echo.status(&echo.outside_client, &[admin])?;
        ensure!(other_caller == 200, "another caller got {other_caller}");
        Ok(())
    })
}

fn allow_shuts_everyone_else_out(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    let url = "http://server.echo/";
    mesh.with_text(ALLOW, || {
        eventually_true("a caller from outside is shut out", LIVE_WITHIN, || {
            Ok(echo.status(&echo.outside_client, &[url])?.0 == 403)
        })?;
        ensure!(
            echo.status(&echo.client, &[url])?.0 == 200,
            "an allowed GET was refused"
        );
        let (post, _) = echo.status(&echo.client, &["-X", "POST", url])?;
        ensure!(post == 403, "a POST got {post}");
        Ok(())
    })
}
