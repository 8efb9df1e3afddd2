//! A pod's annotations: every one that is read is checked, and a bad value is an error that names it.

mod doubtful;

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::InjectError;

pub use doubtful::warnings;

/// What the injector leaves behind.
pub(crate) const STATUS: &str = "sidecar.istio.io/status";
/// Overrides of ProxyConfig.
pub(crate) const PROXY_CONFIG: &str = "proxy.istio.io/config";

/// Annotations of Istio's that ask for what is not there yet: an error is better than a pod that
/// is not what its author meant.
const NOT_IMPLEMENTED: [(&str, &str); 4] = [
    ("sidecar.istio.io/bootstrapOverride", "remove it"),
    (
        "sidecar.istio.io/proxyImageType",
        "name the image with sidecar.istio.io/proxyImage",
    ),
    (
        "sidecar.istio.io/discoveryAddress",
        "set discoveryAddress in proxy.istio.io/config",
    ),
    (
        "prometheus.istio.io/scrape-targets",
        "use prometheus.io/port and prometheus.io/path",
    ),
];

/// A pod's annotations.
#[derive(Debug, Clone)]
pub(crate) struct Annotations(BTreeMap<String, String>);

impl Annotations {
    /// # Errors
    /// One of them is not implemented.
    pub(crate) fn new(annotations: BTreeMap<String, String>) -> Result<Self, InjectError> {
        for (name, remedy) in NOT_IMPLEMENTED {
            if annotations.contains_key(name) {
                let name = name.to_owned();
                return Err(InjectError::NotImplemented { name, remedy });
            }
        }
        Ok(Annotations(annotations))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn error(name: &str, value: &str, problem: impl Into<String>) -> InjectError {
        InjectError::Annotation {
            name: name.to_owned(),
            value: value.to_owned(),
            problem: problem.into(),
        }
    }

    /// The value through `read`, which gives the problem if there is one.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, InjectError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Ok(found) => Ok(Some(found)),
            Err(problem) => Err(Annotations::error(name, value, problem)),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, InjectError> {
        self.read(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("write \"true\" or \"false\"".to_owned()),
        })
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, InjectError> {
        self.read(name, |text| {
            text.trim()
                .parse()
                .map_err(|_| "write a whole number".to_owned())
        })
    }

    /// A port.
    pub(crate) fn port(&self, name: &str) -> Result<Option<u16>, InjectError> {
        self.read(name, port)
    }

    /// A list of network interfaces, normalized; empty if it names none.
    pub(crate) fn interfaces(&self, name: &str) -> Result<Option<String>, InjectError> {
        self.read(name, interfaces)
    }

    /// A list of ports, normalized; empty if it names none.
    pub(crate) fn ports(&self, name: &str) -> Result<Option<String>, InjectError> {
        self.read(name, ports)
    }

    /// `*`, or a list of ports.
    pub(crate) fn ports_or_all(&self, name: &str) -> Result<Option<String>, InjectError> {
        self.read(name, ports_or_all)
    }

    /// A list of IP ranges.
    pub(crate) fn ranges(&self, name: &str) -> Result<Option<String>, InjectError> {
        self.read(name, ranges)
    }

    /// `*`, or a list of IP ranges.
    pub(crate) fn ranges_or_all(&self, name: &str) -> Result<Option<String>, InjectError> {
        self.read(name, ranges_or_all)
    }

    /// A Kubernetes quantity.
    pub(crate) fn quantity(&self, name: &str) -> Result<Option<String>, InjectError> {
        self.read(name, quantity)
    }
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.trim().parse().ok().filter(|port| *port > 0);
    number.ok_or_else(|| format!("{:?} is not a port from 1 to 65535", text.trim()))
}

fn all_or(text: &str, read: fn(&str) -> Result<String, String>) -> Result<String, String> {
    match text.trim() {
        "*" => Ok("*".to_owned()),
        other => {
            read(other).map_err(|problem| format!("{problem} (\"*\" stands alone and means all)"))
        }
    }
}

/// A list of ports, normalized.
pub(crate) fn ports(text: &str) -> Result<String, String> {
    let items = items(text);
    let read: Result<Vec<String>, String> = items.map(|item| Ok(port(item)?.to_string())).collect();
    Ok(read?.join(","))
}

/// `*`, or a list of ports, normalized.
pub(crate) fn ports_or_all(text: &str) -> Result<String, String> {
    all_or(text, ports)
}

/// A list of IP ranges, normalized.
pub(crate) fn ranges(text: &str) -> Result<String, String> {
    let range = |item: &str| match item.parse::<IpNet>() {
        Ok(net) => Ok(net.to_string()),
        Err(_) => Err(format!(
            "{item:?} is not an IP range: write for example 10.0.0.0/8 or 10.1.2.3/32"
        )),
    };
    let read: Result<Vec<String>, String> = items(text).map(range).collect();
    Ok(read?.join(","))
}

/// `*`, or a list of IP ranges, normalized.
pub(crate) fn ranges_or_all(text: &str) -> Result<String, String> {
    all_or(text, ranges)
}

/// A name has at most 15 bytes and neither spaces nor slashes (Linux, `dev_valid_name`).
fn interfaces(text: &str) -> Result<String, String> {
    let valid = |name: &str| {
        (1..=15).contains(&name.len()) && !name.contains(|c: char| c == '/' || c.is_whitespace())
    };
    let items: Vec<&str> = items(text).collect();
    match items.iter().find(|name| !valid(name)) {
        None => Ok(items.join(",")),
        Some(name) => Err(format!("{name:?} is not the name of a network interface")),
    }
}

/// A Kubernetes quantity, as it is.
pub(crate) fn quantity(text: &str) -> Result<String, String> {
    match is_quantity(text) {
        true => Ok(text.to_owned()),
        false => Err("write a quantity, for example 100m or 128Mi".to_owned()),
    }
}

/// Envoy's level of a log, in our words.
pub(crate) fn log_level(text: &str) -> Result<&'static str, String> {
    match text {
        "trace" => Ok("trace"),
        "debug" => Ok("debug"),
        "info" => Ok("info"),
        "warn" | "warning" => Ok("warn"),
        "error" | "critical" => Ok("error"),
        "off" => Ok("off"),
        _ => Err("use one of trace, debug, info, warning, error, critical, off".to_owned()),
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    let items = text.split(',').map(str::trim);
    items.filter(move |_| !text.is_empty())
}

/// Source: Kubernetes `resource.Quantity`: a number with an optional exponent or suffix.
fn is_quantity(text: &str) -> bool {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    const SUFFIXES: [&str; 16] = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let exponent = || {
        let digits = suffix.strip_prefix(['e', 'E']).unwrap_or("");
        digits.trim_start_matches(['+', '-']).parse::<u8>().is_ok()
    };
    number.parse::<f64>().is_ok() && (SUFFIXES.contains(&suffix) || exponent())
}

#[cfg(test)]
mod tests {
    use super::is_quantity;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for text in ["1", "0.5", "100m", "128Mi", "2G", "1e3", "1E-2", "5Ei"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", "m", "lots", "1 Gi", "1mi", "-1", "1..2", "1e", "1\n"] {
            assert!(!is_quantity(text), "{text}");
        }
    }
}
