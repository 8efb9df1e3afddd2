//! `meshctl completion`: scripts for shells.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

/// Options of `completion`.
#[derive(Args)]
#[command(after_help = "For bash: source <(meshctl completion bash)")]
pub(crate) struct Completion {
    /// The shell.
    shell: Shell,
}

/// Prints the script for the commands of `program`.
pub(crate) fn run(options: &Completion, mut program: clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut program, "meshctl", &mut script);
    match std::io::stdout().write_all(&script) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
