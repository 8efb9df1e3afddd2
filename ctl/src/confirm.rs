//! Asking before something is done to a cluster.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use clap::Args;

use crate::output;

/// Whether to ask at all.
#[derive(Args, Clone, Debug)]
pub(crate) struct Confirm {
    /// Do it without asking.
    #[arg(short = 'y', long = "skip-confirmation", visible_alias = "yes")]
    yes: bool,
}

impl Confirm {
    /// Whether the answer is known already.
    pub(crate) fn is_given(&self) -> bool {
        self.yes
    }

    /// Whether the user agrees with `what`, a sentence without a full stop.
    ///
    /// # Errors
    /// If there is nobody to ask.
    pub(crate) fn ask(&self, what: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            bail!(
                "{what}: nobody can be asked here, as standard input is no terminal (give -y to do it without asking)"
            );
        }
        let mut out = anstream::stdout();
        write!(out, "{what}. Proceed? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        let agreed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        if !agreed {
            output::line("Nothing was changed.")?;
        }
        Ok(agreed)
    }
}
