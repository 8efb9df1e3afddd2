//! When a certificate is renewed.

use std::time::{Duration, SystemTime};

/// Share of the lifetime by which the renewal may be moved earlier: 10 %.
///
/// Spreads the renewals of workloads that started together. Source: Istio's
/// `SECRET_GRACE_PERIOD_RATIO_JITTER` (0.01) widened, since our half-life leaves room.
pub const JITTER_SHARE: f64 = 0.1;

/// The time at which a certificate that is valid from `not_before` to `not_after` is renewed:
/// half of its life, moved earlier by up to [`JITTER_SHARE`] of it.
///
/// `jitter`: a random number in 0..=1 (values outside are clamped). The result lies
/// between 40 % and 50 % of the life, so an outage of the authority shorter than half a life
/// is never felt. A certificate whose times are reversed is renewed at `not_before`.
pub fn refresh_at(not_before: SystemTime, not_after: SystemTime, jitter: f64) -> SystemTime {
    let life = not_after
        .duration_since(not_before)
        .unwrap_or(Duration::ZERO);
    let jitter = if jitter.is_finite() {
        jitter.clamp(0.0, 1.0)
    } else {
        0.0
    };
    not_before + life.mul_f64(0.5 - JITTER_SHARE * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn renews_between_two_fifths_and_half_of_the_life() {
        let start = SystemTime::UNIX_EPOCH;
        assert_eq!(refresh_at(start, start + 10 * HOUR, 0.0), start + 5 * HOUR);
        assert_eq!(refresh_at(start, start + 10 * HOUR, 1.0), start + 4 * HOUR);
        assert_eq!(refresh_at(start, start + 10 * HOUR, 7.0), start + 4 * HOUR);
        assert_eq!(
            refresh_at(start, start + 10 * HOUR, f64::NAN),
            start + 5 * HOUR
        );
    }

    #[test]
    fn renews_at_once_when_times_are_reversed() {
        let start = SystemTime::UNIX_EPOCH + HOUR;
        assert_eq!(refresh_at(start, SystemTime::UNIX_EPOCH, 0.5), start);
    }
}
