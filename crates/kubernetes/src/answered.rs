//! No request waits for ever.

use std::time::Duration;

use kube::Error;
use tokio::time::timeout;

/// How long the API server may take over a request that is no watch.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Waits for an answer, but not longer than [`ANSWER_WITHIN`]. kube itself has no limit, and a
/// connection whose other end vanished says nothing for a quarter of an hour.
///
/// # Errors
/// That of the request, or [`Error::Service`] if there is no answer in time.
pub fn answered<T>(
    request: impl Future<Output = Result<T, Error>>,
) -> impl Future<Output = Result<T, Error>> {
    // Requests are large futures, which those who wait for them should not have to carry.
    let request = Box::pin(request);
    async {
        match timeout(ANSWER_WITHIN, request).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Service(
                format!("no answer within {ANSWER_WITHIN:?}").into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_error_that_says_so() {
        let error = answered(std::future::pending::<Result<(), Error>>()).await;
        let said = crate::explain(&error.unwrap_err());
        assert_eq!(said, "the API server does not answer: no answer within 10s");
    }
}
