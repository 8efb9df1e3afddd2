//! `meshctl validate`: the same decoding and validation as the control plane's, on files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use mesh_config::decode::{self, DecodeError, Decoded, FieldError, OtherObject};

use crate::input::read;
use crate::output;

/// Options of `validate`.
#[derive(Args)]
pub(crate) struct Validate {
    /// Files or directories of YAML or JSON; `-` for standard input.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    filenames: Vec<PathBuf>,
}

/// Prints a line per wrong object and per warning. Exit code 1 when an object was wrong.
pub(crate) fn run(options: &Validate) -> anyhow::Result<ExitCode> {
    let mut checked = 0;
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for path in files(&options.filenames)? {
        let source = path.display().to_string();
        for document in decode::documents(&read(&path)?, &source) {
            checked += 1;
            match document {
                Ok(Decoded::Mesh(resource)) => {
                    let named = |found: FieldError| format!("{source}: {found}");
                    match mesh_config::validate::validate(&resource) {
                        Ok(found) => warnings.extend(found.into_iter().map(named)),
                        Err(found) => problems.extend(found.into_iter().map(named)),
                    }
                }
                Ok(Decoded::Other(object)) => {
                    problems.extend(mesh_settings(&object, &source).map(|error| error.to_string()));
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    for warning in warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    if problems.is_empty() {
        output::line(&format!("{}, all valid", count(checked, "object")))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&problems.join("\n"))?;
    let (objects, problems) = (count(checked, "object"), count(problems.len(), "problem"));
    output::line(&format!("{objects}, {problems}"))?;
    Ok(ExitCode::FAILURE)
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// What is wrong with the settings of the whole mesh, if the object holds them.
fn mesh_settings(object: &OtherObject, source: &str) -> Option<DecodeError> {
    // Of any revision, in any namespace.
    let is_mesh =
        object.kind == "ConfigMap" && (object.name == "istio" || object.name.starts_with("istio-"));
    let text = object.value["data"]["mesh"].as_str().filter(|_| is_mesh)?;
    decode::mesh_config(text, source).err()
}

/// The files named, and those directly in the directories named, as kubectl takes them.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries =
            std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
        let mut inside: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        inside.retain(|file| {
            file.is_file()
                && file
                    .extension()
                    .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|e| ext == *e))
        });
        ensure!(
            !inside.is_empty(),
            "no .yaml, .yml or .json file in {}",
            path.display()
        );
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
