//! The API server's errors in words.

use std::error::Error as _;

use kube::Error;

/// What went wrong in a request to the API server, with a remedy where one is known.
///
/// The text is one line, and fits behind "what was attempted: ".
pub fn explain(error: &Error) -> String {
    match error {
        Error::Api(status) => match status.code {
            401 => "the API server does not know who we are (is the kubeconfig's token or \
                    certificate expired?)"
                .to_owned(),
            403 => format!("no permission: {} (ask for this right)", status.message),
            404 if status.reason == "NotFound" && status.message.contains("could not find") => {
                "the cluster does not know this kind (is its CRD installed?)".to_owned()
            }
            _ => status.message.clone(),
        },
        Error::HyperError(_) | Error::Service(_) => {
            format!("the API server does not answer: {}", innermost(error))
        }
        other => innermost(other),
    }
}

/// The error at the bottom says what happened; those above say only through which layers.
fn innermost(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
