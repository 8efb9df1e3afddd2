//! What every kind reports about its objects.

use super::builder::{Schema, field, int_or_text, list, object, text, words};

/// Schema of the field `status`. Other controllers may add fields of their own.
pub(super) fn schema() -> Schema {
    object([
        field(
            "conditions",
            "Named aspects of the object's state, each true, false or unknown.",
            list(condition()),
        ),
        field(
            "observedGeneration",
            "The generation of the object that this status is about.",
            int_or_text(),
        ),
        field(
            "validationMessages",
            "What an analysis found about the object.",
            list(message()),
        ),
    ])
    .keeping_unknown()
    .described("What the control plane made of the object; written by it, not by users.")
}

fn condition() -> Schema {
    object([
        field("type", "Name of the aspect, for example Accepted.", text()),
        field("status", "True, False or Unknown.", text()),
        field(
            "reason",
            "One word in CamelCase that says why, for programs.",
            text(),
        ),
        field("message", "Says why, for people.", text()),
        field(
            "observedGeneration",
            "The generation of the object that this condition is about.",
            int_or_text(),
        ),
        field(
            "lastProbeTime",
            "When the condition was last looked at.",
            text().format("date-time"),
        ),
        field(
            "lastTransitionTime",
            "When the status last changed.",
            text().format("date-time"),
        ),
    ])
}

fn message() -> Schema {
    object([
        field(
            "type",
            "Which finding it is.",
            object([
                field("name", "The finding's name.", text()),
                field("code", "The finding's code, for example IST0101.", text()),
            ]),
        ),
        field(
            "level",
            "How bad it is.",
            words(&["UNKNOWN", "ERROR", "WARNING", "INFO"]),
        ),
        field(
            "documentationUrl",
            "Where the finding is explained.",
            text(),
        ),
    ])
}
