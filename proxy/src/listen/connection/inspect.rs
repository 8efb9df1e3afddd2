//! What a client's first bytes say, and how long they are waited for.

use std::time::Duration;

use mesh_route::{Listener, Terminal};
use tokio::net::TcpStream;

use super::{ConnError, Connection, Direction};
use crate::detect::{Detected, Inspect, Prefixed, detect};

/// Envoy's default of `listener_filters_timeout`; with it, or with none, ours applies inbound.
const LISTENER_FILTERS_DEFAULT: Duration = Duration::from_secs(15);

/// A plaintext client that stays silent towards an inbound port whose server may speak first is
/// taken for one that waits for it. Long, for a request that is taken for TCP escapes HTTP policy.
const INBOUND_SILENCE: Duration = Duration::from_secs(1);

impl Connection {
    /// Looks at the first bytes as far as the listener needs to.
    ///
    /// # Errors
    /// [`ConnError::Undetected`] if the client stays silent and the listener insists,
    /// [`ConnError::Io`] if it left.
    pub async fn inspect(
        &mut self,
        stream: &mut Prefixed<TcpStream>,
        listener: &Listener,
    ) -> Result<(), ConnError> {
        let inspection = listener.inspect(self.destination);
        let wanted = Inspect {
            tls: inspection.tls,
            http: inspection.http,
        };
        if !wanted.tls && !wanted.http {
            return Ok(());
        }
        let configured = inspection.timeout.filter(|timeout| !timeout.is_zero());
        let timeout = match configured {
            Some(timeout) if timeout < LISTENER_FILTERS_DEFAULT => Some(timeout),
            _ if self.direction == Direction::Inbound && !self.must_request(listener) => {
                Some(INBOUND_SILENCE)
            }
            _ => configured,
        };
        let detected = detect(stream, wanted, timeout).await?;
        match detected {
            Detected::Closed => {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            Detected::Silent => {
                self.stats.detect_timeout.inc();
                let insists = !inspection.continue_on_timeout && configured.is_some();
                if insists && self.direction == Direction::Gateway {
                    return Err(ConnError::Undetected);
                }
            }
            _ => {}
        }
        self.detected = Some(detected);
        Ok(())
    }

    /// The chain of a client that has sent nothing is HTTP's, where clients always speak first.
    fn must_request(&self, listener: &Listener) -> bool {
        let chain = self.select(listener);
        chain.is_some_and(|chain| matches!(chain.terminal, Terminal::Http(_)))
    }
}
