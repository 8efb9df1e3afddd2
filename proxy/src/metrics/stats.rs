//! Envoy's counters per cluster and per listener, as `/stats` and `/clusters` show them.
//!
//! Handles are made when a cluster or listener is first used by a worker: a proxy that knows
//! ten thousand clusters and talks to five has five sets.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use mesh_telemetry::metrics::{Counter, CounterFamily, Gauge, GaugeFamily, Registry};

macro_rules! stats {
    ($families:ident, $handles:ident, $figures:ident, $label:literal, $prefix:literal, $what:literal;
     counters { $($counter:ident $counter_name:literal $counter_doc:literal;)* }
     gauges { $($gauge:ident $gauge_name:literal $gauge_doc:literal;)* }) => {
        #[derive(Clone)]
        struct $families {
            $($counter: CounterFamily,)*
            $($gauge: GaugeFamily,)*
        }

        impl $families {
            fn register(registry: &Registry) -> Self {
                Self {
                    $($counter: registry.counter(
                        concat!($prefix, $counter_name), $counter_doc, &[$label]),)*
                    $($gauge: registry.gauge(
                        concat!($prefix, $gauge_name), $gauge_doc, &[$label]),)*
                }
            }

            fn handles(&self, name: &str) -> $handles {
                $handles {
                    $($counter: self.$counter.with(&[name]),)*
                    $($gauge: self.$gauge.with(&[name]),)*
                }
            }

            fn figures(&self, name: &str) -> $figures {
                $figures {
                    $($counter: self.$counter.value(&[name]).unwrap_or(0),)*
                    $($gauge: self.$gauge.value(&[name]).unwrap_or(0),)*
                }
            }
        }

        #[doc = concat!("One worker's handles for one ", $what, ".")]
        #[derive(Debug)]
        pub struct $handles {
            $(#[doc = $counter_doc] pub $counter: Counter,)*
            $(#[doc = $gauge_doc] pub $gauge: Gauge,)*
        }

        #[doc = concat!("Sums over all workers for one ", $what, ".")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $figures {
            $(#[doc = $counter_doc] pub $counter: u64,)*
            $(#[doc = $gauge_doc] pub $gauge: i64,)*
        }

        impl $figures {
            #[doc = concat!("Envoy's short names with their values, for `/stats`.")]
            pub fn named(&self) -> impl Iterator<Item = (&'static str, i64)> {
                [
                    $(($counter_name, i64::try_from(self.$counter).unwrap_or(i64::MAX)),)*
                    $(($gauge_name, self.$gauge),)*
                ].into_iter()
            }
        }
    };
}

stats! {
    ClusterFamilies, ClusterStats, ClusterFigures, "cluster_name", "envoy_cluster_", "cluster";
    counters {
        cx_total "upstream_cx_total" "Connections made.";
        connect_fail "upstream_cx_connect_fail" "Connections that failed.";
        connect_timeout "upstream_cx_connect_timeout" "Connections that timed out.";
        cx_overflow "upstream_cx_overflow" "Connections refused by the circuit breaker.";
        tls_failure "ssl_fail_verify_san" "TLS handshakes that failed.";
        protocol_error "upstream_cx_protocol_error" "Connections that broke the protocol.";
        pending_overflow "upstream_rq_pending_overflow" "Requests refused by the circuit breaker.";
        rq_total "upstream_rq_total" "Requests sent.";
        rq_retry "upstream_rq_retry" "Retries.";
        rq_retry_overflow "upstream_rq_retry_overflow" "Retries refused by the circuit breaker.";
        rq_timeout "upstream_rq_timeout" "Requests that timed out.";
        rq_per_try_timeout "upstream_rq_per_try_timeout" "Attempts that timed out.";
        rx_reset "upstream_rq_rx_reset" "Streams reset by the upstream.";
        none_healthy "upstream_cx_none_healthy" "Requests without a healthy endpoint.";
        rx_bytes "upstream_cx_rx_bytes_total" "TCP bytes received from the upstream.";
        tx_bytes "upstream_cx_tx_bytes_total" "TCP bytes sent to the upstream.";
    }
    gauges {
        cx_active "upstream_cx_active" "Connections open.";
        rq_active "upstream_rq_active" "Requests in flight.";
    }
}

stats! {
    ListenerFamilies, ListenerStats, ListenerFigures, "listener_name", "envoy_listener_", "listener";
    counters {
        cx_total "downstream_cx_total" "Connections accepted.";
        cx_overflow "downstream_cx_overflow" "Connections refused by the connection limit.";
        accept_error "downstream_accept_error" "Errors of accept.";
        no_chain "no_filter_chain_match" "Connections that no filter chain took.";
        plaintext_refused "downstream_cx_plaintext_refused" "Plaintext connections refused where mTLS is required.";
        self_connect "downstream_cx_self_refused" "Connections to our own port refused.";
        tls_handshake "ssl_handshake" "TLS handshakes completed.";
        tls_error "ssl_connection_error" "TLS handshakes that failed.";
        detect_timeout "downstream_pre_cx_timeout" "Connections whose protocol was not clear in time.";
        protocol_error "downstream_cx_protocol_error" "Connections that broke the protocol.";
        rbac_denied "downstream_cx_rbac_denied" "Connections denied by a network policy.";
        rq_total "downstream_rq_total" "Requests received.";
    }
    gauges {
        cx_active "downstream_cx_active" "Connections open.";
        rq_active "downstream_rq_active" "Requests in flight.";
    }
}

/// The families of one process.
#[derive(Clone)]
pub struct Families {
    clusters: ClusterFamilies,
    listeners: ListenerFamilies,
}

impl Families {
    /// Registers everything. Call once per process.
    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            clusters: ClusterFamilies::register(registry),
            listeners: ListenerFamilies::register(registry),
        }
    }

    /// Sums for one cluster; zeros if it was never used.
    pub fn cluster(&self, name: &str) -> ClusterFigures {
        self.clusters.figures(name)
    }

    /// Sums for one listener; zeros if it was never used.
    pub fn listener(&self, name: &str) -> ListenerFigures {
        self.listeners.figures(name)
    }
}

/// One worker's handles.
pub struct WorkerStats {
    families: Families,
    clusters: RefCell<HashMap<Arc<str>, Rc<ClusterStats>>>,
    listeners: RefCell<HashMap<Arc<str>, Rc<ListenerStats>>>,
}

impl WorkerStats {
    /// Handles that count into `families`.
    pub fn new(families: Families) -> Self {
        Self {
            families,
            clusters: RefCell::default(),
            listeners: RefCell::default(),
        }
    }

    /// The handles of a cluster.
    pub fn cluster(&self, name: &Arc<str>) -> Rc<ClusterStats> {
        if let Some(stats) = self.clusters.borrow().get(name) {
            return Rc::clone(stats);
        }
        let stats = Rc::new(self.families.clusters.handles(name));
        self.clusters
            .borrow_mut()
            .insert(Arc::clone(name), Rc::clone(&stats));
        stats
    }

    /// The handles of a listener.
    pub fn listener(&self, name: &Arc<str>) -> Rc<ListenerStats> {
        if let Some(stats) = self.listeners.borrow().get(name) {
            return Rc::clone(stats);
        }
        let stats = Rc::new(self.families.listeners.handles(name));
        self.listeners
            .borrow_mut()
            .insert(Arc::clone(name), Rc::clone(&stats));
        stats
    }
}

impl std::fmt::Debug for WorkerStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerStats")
            .field("clusters", &self.clusters.borrow().len())
            .finish()
    }
}
