//! Schema of a DestinationRule and of the parts of its traffic policy.

mod connection_pool;
mod load_balancer;

pub(super) use self::connection_pool::connection_pool;
use super::builder::{
    Field, Schema, duration, field, flag, int32, list, number, object, required, text, text_map,
    texts, uint32, words,
};
use super::shared::{export_to, port_selector, selector};

/// Schema of the spec.
pub(super) fn schema() -> Schema {
    object([
        required(
            "host",
            "The service; a short name is completed with the object's namespace, and *.example.com stands for many.",
            text(),
        ),
        field(
            "trafficPolicy",
            "What holds for all traffic to the service.",
            traffic_policy(),
        ),
        field(
            "subsets",
            "Named parts of the service, for example its versions.",
            list(object([
                required("name", "The subset's name.", text()),
                field(
                    "labels",
                    "Labels of the pods that belong to it.",
                    text_map(),
                ),
                field(
                    "trafficPolicy",
                    "What holds for traffic to the subset, over the service's policy.",
                    traffic_policy(),
                ),
            ])),
        ),
        export_to(),
        field(
            "workloadSelector",
            "The clients that the rule is for; all if left out.",
            selector(),
        ),
    ])
}

fn traffic_policy() -> Schema {
    let port_level = [field("port", "The service's port.", port_selector())]
        .into_iter()
        .chain(settings());
    let fields = [
        field(
            "portLevelSettings",
            "What holds for single ports; replaces the policy of all ports.",
            list(object(port_level)).at_most(4096),
        ),
        field(
            "tunnel",
            "Send TCP through a tunnel that another service opens.",
            object([
                field("protocol", "CONNECT (default) or POST.", text()),
                required("targetHost", "The host at the tunnel's end.", text()),
                required("targetPort", "The port at the tunnel's end.", uint32()),
            ]),
        ),
        field(
            "proxyProtocol",
            "Send a PROXY protocol header with the client's address.",
            object([field(
                "version",
                "Version of the header.",
                words(&["V1", "V2"]),
            )]),
        ),
        field(
            "retryBudget",
            "Retries allowed in relation to the requests that are under way.",
            object([
                field(
                    "percent",
                    "Share of the requests under way; 20 if left out.",
                    percentage().nullable(),
                ),
                field(
                    "budgetInterval",
                    "The time over which requests are counted.",
                    text(),
                ),
                field(
                    "minRetryConcurrency",
                    "Retries that are always allowed; 3 if left out.",
                    uint32(),
                ),
            ]),
        ),
    ];
    object(fields.into_iter().chain(settings()))
}

/// What can be said for all ports and for one.
fn settings() -> [Field; 4] {
    [
        field(
            "loadBalancer",
            "How an endpoint is chosen.",
            load_balancer::schema(),
        ),
        field(
            "connectionPool",
            "Limits of connections and requests.",
            connection_pool(),
        ),
        field(
            "outlierDetection",
            "When an endpoint that fails is left out for a while.",
            outlier_detection(),
        ),
        field("tls", "How connections are secured.", client_tls()),
    ]
}

/// A number from 0 to 100.
fn percentage() -> Schema {
    number().from(0).up_to(100)
}

fn outlier_detection() -> Schema {
    object([
        field(
            "consecutive5xxErrors",
            "Server errors in a row that eject an endpoint; 0 turns it off.",
            uint32().nullable(),
        ),
        field(
            "consecutiveGatewayErrors",
            "Answers 502, 503 or 504 in a row that eject an endpoint; 0 turns it off.",
            uint32().nullable(),
        ),
        field(
            "splitExternalLocalOriginErrors",
            "Count failures to connect apart from the endpoint's own answers.",
            flag(),
        ),
        field(
            "consecutiveLocalOriginFailures",
            "Failures to connect in a row that eject an endpoint, when counted apart.",
            uint32().nullable(),
        ),
        field(
            "consecutiveErrors",
            "Deprecated: use consecutive5xxErrors.",
            int32(),
        ),
        field(
            "outlierDetectionHttpErrorCodes",
            "Statuses that count as errors.",
            list(uint32().from(100).up_to(599)),
        ),
        field(
            "interval",
            "How often endpoints are looked at; 10s if left out.",
            duration(),
        ),
        field(
            "baseEjectionTime",
            "How long an ejection lasts, times how often it happened; 30s if left out.",
            duration(),
        ),
        field(
            "maxEjectionPercent",
            "Share of the endpoints that may be ejected; 10 if left out.",
            int32(),
        ),
        field(
            "minHealthPercent",
            "Share of healthy endpoints below which ejection is suspended.",
            int32(),
        ),
    ])
}

fn client_tls() -> Schema {
    object([
        field(
            "mode",
            "Whether TLS is used, and with whose certificates.",
            words(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]),
        ),
        field("clientCertificate", "File of our certificate.", text()),
        field("privateKey", "File of our private key.", text()),
        field(
            "caCertificates",
            "File of the authorities that sign the server's certificate.",
            text(),
        ),
        field("caCrl", "File of revoked server certificates.", text()),
        field("credentialName", "The secret with all of these.", text()),
        field(
            "subjectAltNames",
            "Names of which the server's certificate must have one.",
            texts(),
        ),
        field("sni", "The name to ask for in the handshake.", text()),
        field(
            "insecureSkipVerify",
            "Do not check the server's certificate.",
            flag().nullable(),
        ),
    ])
}
