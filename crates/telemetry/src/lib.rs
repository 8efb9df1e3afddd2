//! Logs, metrics, access log, trace headers and drain.
