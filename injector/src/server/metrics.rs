//! What the webhooks count, under Istio's names.

use mesh_telemetry::metrics::{CounterFamily, HistogramFamily, Registry};

/// Seconds; an injection takes well below a millisecond.
const SECONDS: &[f64] = &[0.0001, 0.001, 0.01, 0.1, 1.0];

/// The counters of both webhooks.
pub(super) struct Metrics {
    /// Reviews of pods.
    pub(super) requests: CounterFamily,
    /// Pods that were patched.
    pub(super) injected: CounterFamily,
    /// Pods that were refused, and reviews that could not be read.
    pub(super) failed: CounterFamily,
    /// Pods that stayed as they were.
    pub(super) skipped: CounterFamily,
    /// Time that deciding and patching took.
    pub(super) seconds: HistogramFamily,
    /// Objects that passed validation.
    pub(super) valid: CounterFamily,
    /// Objects that did not, by reason.
    pub(super) invalid: CounterFamily,
    /// Reviews for validation that could not be read, by HTTP status.
    pub(super) unreadable: CounterFamily,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        const OBJECT: &[&str] = &["group", "version", "resource"];
        const FAILURE: &[&str] = &["group", "version", "resource", "reason"];
        Metrics {
            requests: registry.counter(
                "sidecar_injection_requests_total",
                "Pods that the API server asked to inject.",
                &[],
            ),
            injected: registry.counter(
                "sidecar_injection_success_total",
                "Pods that got a proxy.",
                &[],
            ),
            failed: registry.counter(
                "sidecar_injection_failure_total",
                "Pods that were refused because they could not be injected.",
                &[],
            ),
            skipped: registry.counter(
                "sidecar_injection_skip_total",
                "Pods that were left as they are.",
                &[],
            ),
            seconds: registry.histogram(
                "sidecar_injection_time_seconds",
                "Time that injecting a pod took, in seconds.",
                &[],
                SECONDS,
            ),
            valid: registry.counter(
                "galley_validation_passed",
                "Objects that the validation webhook accepted.",
                OBJECT,
            ),
            invalid: registry.counter(
                "galley_validation_failed",
                "Objects that the validation webhook refused.",
                FAILURE,
            ),
            unreadable: registry.counter(
                "galley_validation_http_error",
                "Requests for validation that could not be read.",
                &["status"],
            ),
        }
    }
}
