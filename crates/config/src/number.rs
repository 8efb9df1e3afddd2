//! Ports and percentages.

use std::fmt;
use std::num::NonZeroU16;

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortNumber(NonZeroU16);

impl PortNumber {
    /// A port; `None` for 0.
    pub fn new(port: u16) -> Option<Self> {
        NonZeroU16::new(port).map(PortNumber)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share from 0 to 100 percent, exact to a ten-thousandth of a percent (the resolution that
/// Envoy's `FractionalPercent` over a million has).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percent {
    parts_per_million: u32,
}

impl Percent {
    /// 100 %.
    pub const HUNDRED: Percent = Percent {
        parts_per_million: 1_000_000,
    };

    /// A percentage; `None` if it is not within 0 to 100 (or not a number). Rounded down to the
    /// resolution, as Istio does.
    pub fn new(percent: f64) -> Option<Self> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        // Half of a millionth absorbs the error of the binary fraction: 0.07 * 10000 is 700.0000000000001,
        // 0.29 * 10000 is 2899.9999999999995.
        let parts = percent * 10_000.0 + 1e-6;
        Some(Percent {
            parts_per_million: parts as u32,
        })
    }

    /// The share in millionths, 0 to 1,000,000.
    pub fn parts_per_million(self) -> u32 {
        self.parts_per_million
    }

    /// The share in percent.
    pub fn as_f64(self) -> f64 {
        f64::from(self.parts_per_million) / 10_000.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.as_f64())
    }
}
