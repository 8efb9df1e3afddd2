//! The `capture` subcommand: redirects a pod's traffic to the proxy.
//!
//! Runs once, in the pod's init container, with the flags of `istio-iptables` as the injector passes them.

/// Flags of `meshproxy capture`, named as those of `istio-iptables`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Print the rules as text for `nft -f` and change nothing.
    #[arg(long)]
    pub print: bool,
}

/// Why traffic could not be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A flag has a bad value.
    #[error("{flag}: {problem}")]
    Flag {
        /// The flag as given on the command line.
        flag: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Installs (or prints) the rules in the calling thread's network namespace.
///
/// # Errors
/// [`CaptureError`] names the flag or the rule.
pub fn run(args: &Args) -> Result<(), CaptureError> {
    let _ = args;
    todo!()
}
