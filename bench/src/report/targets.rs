//! The targets of the project, each with what this run measured.

use serde::Serialize;

use super::table::{Table, ratio};
use crate::contender::Contender::{self, Direct, Envoy, Haproxy, Mesh};
use crate::measure::Sample;
use crate::parts::{AUTHORIZATION, LOOKUP};
use crate::results::{Results, Situation};
use crate::run::{CONNECTIONS, SERVICES};
use crate::workload::{
    GRPC, HANDSHAKES, HTTP1, HTTP1_1000, HTTP1_1600, HTTP2, TCP, TCP_LARGE, TCP_PLAIN_LARGE,
};

/// A target and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// What is measured.
    what: String,
    /// The target in words.
    target: String,
    /// The figure must not be above this.
    limit: f64,
    /// A quick run fails above this: wide, since machines are noisy. `None`: nothing is too much.
    bound: Option<f64>,
    /// The figure; `None` if it was not measured.
    figure: Option<f64>,
    /// Least and most of the rounds, where there are rounds.
    spread: Option<[f64; 2]>,
    /// Its unit; empty for ratios.
    unit: &'static str,
}

impl Verdict {
    fn result(&self) -> &'static str {
        match self.figure {
            None => "not measured",
            Some(figure) if figure <= self.limit => "met",
            Some(_) => "missed",
        }
    }

    /// The bound that the figure breaks, in words.
    pub(super) fn broken_bound(&self) -> Option<String> {
        let (figure, bound) = (self.figure?, self.bound?);
        (figure > bound).then(|| {
            format!(
                "{} is {figure:.2}{}, more than {bound:.2}; the target is {}",
                self.what, self.unit, self.target
            )
        })
    }
}

/// The targets as a table.
pub(super) fn table(verdicts: &[Verdict]) -> Table {
    let rows = verdicts.iter().map(|verdict| {
        let figure = verdict.figure.map_or("-".to_owned(), |figure| {
            format!("{figure:.2}{}", verdict.unit)
        });
        let spread = verdict.spread.map_or("-".to_owned(), |[least, most]| {
            format!("{least:.2} to {most:.2}")
        });
        vec![
            verdict.what.clone(),
            verdict.target.clone(),
            figure,
            spread,
            verdict.result().to_owned(),
        ]
    });
    Table {
        head: vec!["what", "target", "measured", "spread", "result"],
        rows: rows.collect(),
    }
}

/// Every target.
pub(super) fn judge(results: &Results) -> Vec<Verdict> {
    let mut out = processor(results);
    out.extend(latency(results));
    out.extend(memory(results));
    out.extend(parts(results));
    out.extend(control_plane(results));
    out
}

fn of_ratio(
    what: &str,
    target: &str,
    limit: f64,
    bound: Option<f64>,
    measured: Option<[f64; 3]>,
) -> Verdict {
    Verdict {
        what: what.to_owned(),
        target: target.to_owned(),
        limit,
        bound,
        figure: measured.map(|[median, _, _]| median),
        spread: measured.map(|[_, least, most]| [least, most]),
        unit: "",
    }
}

/// What, target, limit, bound, workload, compared with whom.
type OfProcessor = (
    &'static str,
    &'static str,
    f64,
    Option<f64>,
    &'static str,
    Contender,
);

const SATURATED: &str = "HTTP/1.1 mTLS, saturated, CPU";
const AT_1600: &str = "HTTP/1.1 mTLS, 1,600/s, CPU";
const BELOW: &str = "below HAProxy's";
const QUARTER: &str = "at most 1/4 of Envoy's";
const FIFTH: &str = "at most 1/5 of Envoy's";
const THIRD: &str = "at most 1/3 of Envoy's";
const HALF: &str = "at most 1/2 of Envoy's";
const PARITY: &str = "at most Envoy's (at least as much per CPU second)";

#[rustfmt::skip]
const OF_PROCESSOR: [OfProcessor; 10] = [
    (SATURATED, QUARTER, 0.25, Some(0.75), HTTP1, Envoy),
    (SATURATED, BELOW, 1.0, None, HTTP1, Haproxy),
    (AT_1600, FIFTH, 0.2, Some(0.75), HTTP1_1600, Envoy),
    (AT_1600, BELOW, 1.0, None, HTTP1_1600, Haproxy),
    ("HTTP/2 mTLS, CPU", THIRD, 1.0 / 3.0, Some(1.0), HTTP2, Envoy),
    ("gRPC mTLS, CPU", THIRD, 1.0 / 3.0, Some(1.0), GRPC, Envoy),
    ("TCP mTLS, 100 B, CPU", "at most 3/4 of Envoy's", 0.75, Some(1.5), TCP, Envoy),
    ("TCP mTLS, 1 MiB, CPU", PARITY, 1.0, Some(2.0), TCP_LARGE, Envoy),
    ("TCP plaintext, 1 MiB, CPU", HALF, 0.5, Some(1.5), TCP_PLAIN_LARGE, Envoy),
    ("connection per request over mTLS, CPU", PARITY, 1.0, Some(2.0), HANDSHAKES, Envoy),
];

fn processor(results: &Results) -> Vec<Verdict> {
    OF_PROCESSOR
        .into_iter()
        .map(|(what, target, limit, bound, workload, other)| {
            let measured = ratio(results, workload, Mesh, other, Sample::microseconds);
            of_ratio(what, target, limit, bound, measured)
        })
        .collect()
}

/// Added latency: beyond that of no mesh in the same round.
fn latency(results: &Results) -> Vec<Verdict> {
    let added = |percentile: usize| -> Option<[f64; 3]> {
        let beyond = |contender| {
            let pairs = results.pairs(HTTP1_1000, contender, Direct);
            let latency = |sample: &Sample| sample.outcome.latency[percentile];
            pairs.map(move |(one, none)| (one.round, latency(one) - latency(none)))
        };
        let ratios: Vec<f64> = beyond(Mesh)
            .filter_map(|(round, ours)| {
                let (_, envoys) = beyond(Envoy).find(|(other, _)| *other == round)?;
                Some(ours / envoys)
            })
            .filter(|ratio| ratio.is_finite())
            .collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some([crate::results::median(ratios)?, least, most])
    };
    vec![
        of_ratio("added p50 at 1,000/s", HALF, 0.5, Some(1.5), added(0)),
        // The 99th percentile of a short run on a busy machine says nothing.
        of_ratio("added p99 at 1,000/s", HALF, 0.5, None, added(2)),
    ]
}

fn memory(results: &Results) -> Vec<Verdict> {
    let absolute = |what: &str, limit: f64, situation, anonymous: bool| {
        let found = results
            .memory(situation, Mesh)
            .and_then(|one| one.medians());
        let figure = found.map(|(resident, anon)| {
            let bytes = if anonymous { anon } else { resident };
            bytes / f64::from(1 << 20)
        });
        Verdict {
            what: what.to_owned(),
            target: format!("at most {limit:.0} MiB"),
            limit,
            bound: Some(limit * 3.0),
            figure,
            spread: None,
            unit: " MiB",
        }
    };
    let known = Situation::Services(SERVICES[0]);
    let count = results.connections().unwrap_or(CONNECTIONS);
    let open = Situation::Connections(count);
    let of = |contender| Some(results.memory(open, contender)?.medians()?.0);
    let ratio = of(Mesh).zip(of(Envoy)).map(|(ours, theirs)| ours / theirs);
    let busy = results
        .memory(known, Mesh)
        .and_then(|one| crate::results::median(one.idle_percent.clone()));
    vec![
        absolute("resident memory, idle", 14.0, Situation::Idle, false),
        absolute("anonymous memory, idle", 7.0, Situation::Idle, true),
        absolute("resident memory, 1,000 services", 24.0, known, false),
        absolute("anonymous memory, 1,000 services", 16.0, known, true),
        of_ratio(
            &format!("resident memory, {count} idle mTLS connections"),
            HALF,
            0.5,
            Some(1.0),
            ratio.map(|ratio| [ratio; 3]),
        ),
        Verdict {
            what: "idle CPU of a sidecar with 1,000 services".to_owned(),
            target: "at most 0.1 % of a processor".to_owned(),
            limit: 0.1,
            bound: Some(5.0),
            figure: busy,
            spread: None,
            unit: " %",
        },
    ]
}

fn parts(results: &Results) -> Vec<Verdict> {
    let part = |name: &str, limit: f64| {
        let found = results.parts.iter().find(|part| part.name == name);
        Verdict {
            what: name.to_owned(),
            target: format!("at most {limit:.0} us"),
            limit,
            bound: Some(limit * 20.0),
            figure: found.map(|part| part.nanoseconds / 1000.0),
            spread: None,
            unit: " us",
        }
    };
    vec![part(LOOKUP, 1.0), part(AUTHORIZATION, 2.0)]
}

fn control_plane(results: &Results) -> Vec<Verdict> {
    let found = results.control_plane.as_ref();
    let row = |what: &str, limit: f64, unit, figure: Option<f64>| Verdict {
        what: what.to_owned(),
        target: format!("at most {limit:.0}{unit}"),
        limit,
        bound: None,
        figure,
        spread: None,
        unit,
    };
    vec![
        row(
            "meshd: one endpoint change to the last of 1,000 proxies, p99",
            200.0,
            " ms",
            found.and_then(|found| found.change_to_last_ms(99.0)),
        ),
        row(
            "meshd: first full push, 1,000 services to 1,000 proxies",
            2.0,
            " s",
            found.map(|found| found.first_push_seconds),
        ),
        row(
            "meshd: resident memory after it",
            200.0,
            " MiB",
            found.map(|found| found.most_resident() / f64::from(1 << 20)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_when_nothing_was_measured() {
        let verdicts = judge(&Results::default());
        assert_eq!(verdicts.len(), 23);
        assert!(verdicts.iter().all(|one| one.result() == "not measured"));
        assert!(verdicts.iter().all(|one| one.broken_bound().is_none()));
    }

    #[test]
    fn a_figure_above_the_bound_is_told() {
        let verdict = of_ratio("x", "at most 1/4", 0.25, Some(0.75), Some([0.8, 0.7, 0.9]));
        assert_eq!(verdict.result(), "missed");
        assert_eq!(
            verdict.broken_bound().as_deref(),
            Some("x is 0.80, more than 0.75; the target is at most 1/4")
        );
        let verdict = of_ratio("x", "at most 1/4", 0.25, Some(0.75), Some([0.2, 0.2, 0.2]));
        assert_eq!((verdict.result(), verdict.broken_bound()), ("met", None));
    }
}
