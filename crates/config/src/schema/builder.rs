//! A builder of structural schemas: OpenAPI v3 as the API server takes it for custom resources.
//!
//! What the API server would refuse cannot be built: every node has a type, alternatives only
//! constrain fields that are declared beside them, and a description stands at every field.

use serde_json::{Map, Value, json};

/// The schema of one value.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    node: Map<String, Value>,
}

/// One field of an object.
pub(super) struct Field {
    name: &'static str,
    schema: Schema,
    required: bool,
}

/// A field that may be left out.
pub(super) fn field(name: &'static str, description: &'static str, schema: Schema) -> Field {
    Field {
        name,
        schema: schema.described(description),
        required: false,
    }
}

/// A field that must be there.
pub(super) fn required(name: &'static str, description: &'static str, schema: Schema) -> Field {
    Field {
        required: true,
        ..field(name, description, schema)
    }
}

/// An object with these fields.
pub(super) fn object(fields: impl IntoIterator<Item = Field>) -> Schema {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        if field.required {
            required.push(field.name);
        }
        let twice = properties.insert(field.name.to_owned(), field.schema.node.into());
        assert!(twice.is_none(), "{} is declared twice", field.name);
    }
    let mut schema = typed("object");
    schema.set("properties", properties);
    if !required.is_empty() {
        schema.set("required", required);
    }
    schema
}

/// An object with any fields.
pub(super) fn anything() -> Schema {
    object([]).keeping_unknown()
}

/// An object whose keys are data, with values of one form.
pub(super) fn map(values: Schema) -> Schema {
    typed("object").with("additionalProperties", values.node)
}

/// A list.
pub(super) fn list(items: Schema) -> Schema {
    typed("array").with("items", items.node)
}

/// A list of strings.
pub(super) fn texts() -> Schema {
    list(text())
}

/// A map of strings to strings.
pub(super) fn text_map() -> Schema {
    map(text())
}

/// A string.
pub(super) fn text() -> Schema {
    typed("string")
}

/// One of a closed set of words.
pub(super) fn words(words: &[&str]) -> Schema {
    text().with("enum", json!(words))
}

/// A duration of at least a millisecond, for example `1.5s` or `1h30m`.
pub(super) fn duration() -> Schema {
    text().rule(
        "duration(self) >= duration('1ms')",
        "must be a duration of at least 1ms, for example 5s",
    )
}

/// `true` or `false`.
pub(super) fn flag() -> Schema {
    typed("boolean")
}

/// A number, whole or not.
pub(super) fn number() -> Schema {
    typed("number").with("format", "double")
}

/// A whole number of protobuf's type int32.
pub(super) fn int32() -> Schema {
    typed("integer").with("format", "int32")
}

/// A whole number of protobuf's type uint32, which OpenAPI has no format for.
pub(super) fn uint32() -> Schema {
    typed("integer").from(0).up_to(i64::from(u32::MAX))
}

/// A whole number of protobuf's type uint64.
pub(super) fn uint64() -> Schema {
    typed("integer").from(0)
}

/// A whole number, as number or as text: protobuf's JSON writes an int64 as text.
pub(super) fn int_or_text() -> Schema {
    Schema { node: Map::new() }
        .with("anyOf", json!([{"type": "integer"}, {"type": "string"}]))
        .with("x-kubernetes-int-or-string", true)
}

fn typed(kind: &str) -> Schema {
    Schema { node: Map::new() }.with("type", kind)
}

impl Schema {
    /// The schema as the API server reads it.
    pub(super) fn into_value(self) -> Value {
        self.node.into()
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.node.insert(key.to_owned(), value.into());
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Schema {
        self.set(key, value);
        self
    }

    fn is(&self, kind: &str) -> bool {
        self.node.get("type").is_some_and(|found| found == kind)
    }

    /// Says what the value is for.
    pub(super) fn described(self, description: &'static str) -> Schema {
        self.with("description", description)
    }

    /// Fields that are not declared are kept, where the API server would drop them.
    pub(super) fn keeping_unknown(self) -> Schema {
        self.with("x-kubernetes-preserve-unknown-fields", true)
    }

    /// `null` is allowed, and means the same as leaving the field out.
    pub(super) fn nullable(self) -> Schema {
        self.with("nullable", true)
    }

    /// Text of a format that OpenAPI names, for example `date-time`.
    pub(super) fn format(self, format: &'static str) -> Schema {
        self.with("format", format)
    }

    /// Text that matches a regular expression.
    pub(super) fn pattern(self, pattern: &'static str) -> Schema {
        self.with("pattern", pattern)
    }

    /// The smallest number.
    pub(super) fn from(self, minimum: i64) -> Schema {
        self.with("minimum", minimum)
    }

    /// The largest number.
    pub(super) fn up_to(self, maximum: i64) -> Schema {
        self.with("maximum", maximum)
    }

    /// At least so many characters, items or keys.
    pub(super) fn at_least(self, length: u32) -> Schema {
        let key = self.length_key(["minLength", "minItems", "minProperties"]);
        self.with(key, length)
    }

    /// At most so many characters, items or keys. The API server wants a bound wherever a rule
    /// could become expensive.
    pub(super) fn at_most(self, length: u32) -> Schema {
        let key = self.length_key(["maxLength", "maxItems", "maxProperties"]);
        self.with(key, length)
    }

    fn length_key(&self, [text, list, map]: [&'static str; 3]) -> &'static str {
        match () {
            () if self.is("string") => text,
            () if self.is("array") => list,
            () => map,
        }
    }

    /// The items of a list are told apart by one of their fields.
    pub(super) fn keyed_by(self, key: &'static str) -> Schema {
        self.with("x-kubernetes-list-type", "map")
            .with("x-kubernetes-list-map-keys", json!([key]))
    }

    /// At most one of these fields may be set: protobuf's `oneof`.
    pub(super) fn one_of(mut self, names: &[&str]) -> Schema {
        let set: Vec<Value> = names
            .iter()
            .map(|name| json!({"required": [name]}))
            .collect();
        let mut alternatives = vec![json!({"not": {"anyOf": set.clone()}})];
        alternatives.extend(set);
        let alternatives = Value::from(alternatives);
        match self.node.remove("oneOf") {
            None => self.with("oneOf", alternatives),
            Some(first) => self.with("allOf", json!([{"oneOf": first}, {"oneOf": alternatives}])),
        }
    }

    /// At most one of these fields may be set; as a rule, whose message names them.
    pub(super) fn at_most_one(self, names: &[&str]) -> Schema {
        let set: Vec<String> = names
            .iter()
            .map(|name| format!("(has(self.{name}) ? 1 : 0)"))
            .collect();
        let message = format!("only one of {} can be set", names.join(", "));
        self.rule(&format!("{} <= 1", set.join(" + ")), &message)
    }

    /// A rule in CEL that the value (`self`) must obey, and what to say when it does not.
    pub(super) fn rule(mut self, rule: &str, message: &str) -> Schema {
        let rules = self
            .node
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(json!({"rule": rule, "message": message}));
        }
        self
    }
}
