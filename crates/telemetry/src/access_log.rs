//! The access log: a record per request or connection, Envoy's format strings, and a writer
//! thread behind a bounded buffer.
//!
//! Data threads render a line and append it to the buffer under a short lock; they never
//! wait for the disk. When the buffer is full, lines are dropped and counted.

mod flags;
mod format;
mod record;
mod sink;
mod time;

use std::cell::RefCell;
use std::sync::Arc;

pub use flags::{ResponseFlag, ResponseFlags};
pub use format::{Format, FormatError};
pub use record::Record;
pub use sink::{OpenError, Sink};

/// Istio's default line for HTTP and TCP. Source: MeshConfig `accessLogFormat`, documented default.
pub const ISTIO_DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% \
%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A format joined with the place where its lines go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: Arc<Format>,
    sink: Sink,
}

impl AccessLog {
    /// Joins a compiled format with a sink; several logs may share one sink.
    pub fn new(format: Arc<Format>, sink: Sink) -> Self {
        Self { format, sink }
    }

    /// See [`Format::reads_response_headers`].
    pub fn reads_response_headers(&self) -> bool {
        self.format.reads_response_headers()
    }

    /// Renders `record` and hands the line to the writer thread. Never blocks on IO.
    pub fn write(&self, record: &Record<'_>) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            self.format.render(record, line);
            self.sink.append(line);
        });
    }
}

#[cfg(test)]
mod tests;
