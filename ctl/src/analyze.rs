//! `meshctl analyze`: what the control plane finds doubtful in the configuration.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use crate::envoy::{items, text};
use crate::output::{self, Format};
use crate::proxy_status;
use crate::target::{Mesh, MeshArgs};

/// Where the control plane lists what it found.
const PAGE: &str = "/debug/problems";
/// Findings that a status shows.
const MOST_IN_STATUS: usize = 10;

/// Options of `analyze`.
#[derive(Args)]
pub(crate) struct Analyze {
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// Prints a line per finding. Exit code 1 if there is one.
pub(crate) async fn run(options: &Analyze) -> anyhow::Result<ExitCode> {
    let mesh = options.mesh.mesh().await?;
    let mut found = items(&mesh.control_plane(PAGE).await?).to_vec();
    for proxy in mesh.proxies().await? {
        found.extend(refusals(&proxy));
    }
    if options.output == Format::Json {
        output::json(&found.clone().into())?;
    } else {
        print(&found)?;
    }
    if found.is_empty() {
        if options.output == Format::Table {
            output::line("nothing doubtful is in the configuration")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Prints the findings of the mesh in `state_dir`, if it has a control plane that answers.
pub(crate) async fn print_found(state_dir: &Path) -> anyhow::Result<()> {
    match Mesh::local(state_dir).control_plane(PAGE).await {
        Ok(found) => {
            let all = items(&found);
            print(&all[..all.len().min(MOST_IN_STATUS)])?;
            match all.len().saturating_sub(MOST_IN_STATUS) {
                0 => Ok(()),
                more => output::line(&format!("{more} more: meshctl analyze")),
            }
        }
        // That it doesn't run stands in the status already.
        Err(_) => Ok(()),
    }
}

fn print(found: &[Value]) -> anyhow::Result<()> {
    found
        .iter()
        .try_for_each(|one| output::line(&format!("{} {}", "warning:".yellow().bold(), line(one))))
}

/// What a proxy refused, as the control plane's own findings look.
fn refusals(proxy: &Value) -> impl Iterator<Item = Value> {
    let object = format!("Proxy {}", proxy_status::name(proxy));
    proxy_status::refused(proxy).map(move |(kind, why)| {
        json!({
            "file": "",
            "object": object,
            "field": kind,
            "problem": format!("refused: {why}"),
            "remedy": "it keeps the last good configuration until the object behind this is corrected",
        })
    })
}

/// Object, field, what is wrong, and what to do.
fn line(found: &Value) -> String {
    let parts = ["file", "object", "field", "problem"].map(|name| text(found, name));
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match text(found, "remedy") {
        "" => parts.join(": "),
        remedy => format!("{} ({remedy})", parts.join(": ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_object_field_and_remedy() {
        let found = json!({"file": "", "object": "VirtualService default/a",
            "field": "spec.gateways[0]", "problem": "no such Gateway", "remedy": "create it"});
        assert_eq!(
            line(&found),
            "VirtualService default/a: spec.gateways[0]: no such Gateway (create it)"
        );
    }
}
