//! Schema of how an endpoint is chosen.

use super::super::builder::{
    Field, Schema, duration, field, flag, list, map, number, object, required, text, texts, uint32,
    uint64, words,
};
use super::percentage;

/// Schema of `LoadBalancerSettings`.
pub(super) fn schema() -> Schema {
    object([
        field(
            "simple",
            "A method that knows nothing about the request.",
            words(&[
                "UNSPECIFIED",
                "LEAST_CONN",
                "RANDOM",
                "PASSTHROUGH",
                "ROUND_ROBIN",
                "LEAST_REQUEST",
            ]),
        ),
        field(
            "consistentHash",
            "Equal requests go to the same endpoint.",
            consistent_hash(),
        ),
        field(
            "localityLbSetting",
            "Preferences among localities.",
            locality(),
        ),
        field(
            "zoneAwareLbSetting",
            "Preference of the own zone, as far as its endpoints can bear it.",
            zone_aware(),
        ),
        field(
            "warmup",
            "New endpoints get their share little by little.",
            warmup(),
        ),
        field("warmupDurationSecs", "Deprecated: use warmup.", duration()),
    ])
    .one_of(&["simple", "consistentHash"])
}

fn consistent_hash() -> Schema {
    let cookie = object([
        required("name", "The cookie's name.", text()),
        field("path", "The path it is set for.", text()),
        field(
            "ttl",
            "How long it lives; 0s makes it end with the browser. A missing cookie is made only if this is set.",
            text(),
        ),
        field(
            "attributes",
            "Further attributes of a cookie that is made.",
            list(object([
                required("name", "The attribute.", text()),
                field("value", "Its value.", text()),
            ])),
        ),
    ]);
    let ring_size = "Entries of the ring at least; more make shares more even.";
    object([
        field("httpHeaderName", "Hash this header.", text()),
        field("httpCookie", "Hash this cookie.", cookie),
        field("useSourceIp", "Hash the client's address.", flag()),
        field(
            "httpQueryParameterName",
            "Hash this parameter of the query.",
            text(),
        ),
        field(
            "ringHash",
            "Use a hash ring (the default).",
            object([field("minimumRingSize", ring_size, uint64())]),
        ),
        field(
            "maglev",
            "Use a Maglev table.",
            object([field(
                "tableSize",
                "Entries of the table, a prime number; 65537 if left out.",
                uint64(),
            )]),
        ),
        field("minimumRingSize", "Deprecated: use ringHash.", uint64()),
    ])
    .one_of(&[
        "httpHeaderName",
        "httpCookie",
        "useSourceIp",
        "httpQueryParameterName",
    ])
    .one_of(&["ringHash", "maglev"])
}

fn locality() -> Schema {
    let distribute = object([
        field(
            "from",
            "The caller's locality, region/zone/subzone.",
            text(),
        ),
        field(
            "to",
            "Shares of localities in percent; they add up to 100.",
            map(uint32()),
        ),
    ]);
    object(
        [field(
            "distribute",
            "Fixed shares by the caller's locality.",
            list(distribute),
        )]
        .into_iter()
        .chain(failover()),
    )
}

fn zone_aware() -> Schema {
    let size = field(
        "minClusterSize",
        "Endpoints below which zones play no part; 6 if left out.",
        uint64().from(1).nullable(),
    );
    object([size].into_iter().chain(failover()))
}

fn failover() -> [Field; 3] {
    [
        field(
            "enabled",
            "Turn it on or off, whatever the mesh says.",
            flag().nullable(),
        ),
        field(
            "failover",
            "Where to go when a region has no healthy endpoints.",
            list(object([
                field("from", "The region.", text()),
                field("to", "The region to go to.", text()),
            ])),
        ),
        field(
            "failoverPriority",
            "Labels in order of weight: the more an endpoint shares with the caller, the better.",
            texts(),
        ),
    ]
}

fn warmup() -> Schema {
    object([
        required("duration", "How long it takes.", duration()),
        field(
            "minimumPercent",
            "The share to start with; 10 if left out.",
            percentage().nullable(),
        ),
        field(
            "aggression",
            "How fast the share grows: 1 (default) is linear.",
            number().from(0).nullable(),
        ),
    ])
}
