//! A chart for the README: processor time per request and proxy, as bars.
//!
//! Ours has a colour, the others are grey and say how many times ours they are. It draws its own
//! background, so that it can be read on any page, in the colours that the reader prefers.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::measure::Sample;
use crate::results::Results;
use crate::workload::{GRPC, HTTP1, HTTP1_1600, HTTP2, TCP};

const GROUPS: [(&str, &str); 5] = [
    (HTTP1, "HTTP/1.1, saturated"),
    (HTTP1_1600, "HTTP/1.1, 1,600/s"),
    (HTTP2, "HTTP/2, saturated"),
    (GRPC, "gRPC, saturated"),
    (TCP, "TCP, saturated"),
];

const BAR: u32 = 18;
const GAP: u32 = 16;
/// Where bars begin.
const LEFT: u32 = 168;
const WIDTH: u32 = 760;
/// For the words at the end of the longest bar.
const RIGHT: u32 = 170;
const TOP: u32 = 72;
const MARGIN: u32 = 20;

const STYLE: &str = "\
.page{fill:#fff;stroke:#d0d7de}.text{fill:#1f2328}.quiet{fill:#59636e}.ours{fill:#1a7f5a}.other{fill:#afb8c1}\
.strong{font-weight:600}\
@media(prefers-color-scheme:dark){.page{fill:#0d1117;stroke:#3d444d}.text{fill:#f0f6fc}.quiet{fill:#9198a1}\
.ours{fill:#3fb98a}.other{fill:#59636e}}";

/// A bar: who, and how many microseconds.
type Bar = (Contender, f64);

/// The chart as SVG.
pub(super) fn draw(results: &Results) -> String {
    let groups: Vec<(&str, Vec<Bar>)> = GROUPS
        .iter()
        .map(|(workload, title)| (*title, bars(results, workload)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let all = groups.iter().flat_map(|(_, bars)| bars);
    let most = all.map(|(_, micros)| *micros).fold(1.0, f64::max);
    let mut body = String::new();
    let mut y = TOP;
    for (title, bars) in &groups {
        y = group(&mut body, title, bars, most, y) + GAP;
    }
    let machine = &results.machine;
    let footer = format!(
        "{} processors ({}), {}; answers of 100 bytes, one worker a sidecar",
        machine.processors,
        escape(&machine.processor),
        machine.date.split(' ').next().unwrap_or_default(),
    );
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">
<title>Processor time per request of meshproxy, HAProxy and Envoy</title>
<style>{STYLE}</style>
<rect class="page" x="0.5" y="0.5" width="{page_width}" height="{page_height}" rx="8"/>
<text class="text strong" x="{MARGIN}" y="30" font-size="16">Processor time per request and sidecar, over mutual TLS</text>
<text class="quiet" x="{MARGIN}" y="50">shorter is cheaper; × is against meshproxy</text>
{body}<text class="quiet" x="{MARGIN}" y="{footer_y}" font-size="11">{footer}</text>
</svg>
"#,
        height = y + 28,
        page_width = WIDTH - 1,
        page_height = y + 27,
        footer_y = y + 12,
    )
}

/// Draws a group of bars from `y` on; returns where it ends.
fn group(out: &mut String, title: &str, bars: &[Bar], most: f64, mut y: u32) -> u32 {
    let ours = bars.iter().find(|(who, _)| *who == Contender::Mesh);
    let ours = ours.map(|(_, micros)| *micros);
    let middle = y + BAR * u32::try_from(bars.len()).unwrap_or_default() / 2 + 3;
    let _ = writeln!(
        out,
        r#"<text class="text" x="{}" y="{middle}" text-anchor="end">{title}</text>"#,
        LEFT - 12
    );
    for (contender, micros) in bars {
        let is_ours = *contender == Contender::Mesh;
        let length = f64::from(WIDTH - LEFT - RIGHT) * micros / most;
        let times = match ours.filter(|_| !is_ours) {
            Some(ours) => format!(" · {:.1}×", micros / ours),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            r#"<rect class="{}" x="{LEFT}" y="{y}" width="{length:.1}" height="{}" rx="2"/><text class="{}" x="{:.1}" y="{}">{} {micros:.1} µs{times}</text>"#,
            if is_ours { "ours" } else { "other" },
            BAR - 4,
            if is_ours { "text strong" } else { "quiet" },
            f64::from(LEFT) + length + 8.0,
            y + BAR - 6,
            contender.name(),
        );
        y += BAR;
    }
    y
}

fn bars(results: &Results, workload: &str) -> Vec<Bar> {
    [Contender::Mesh, Contender::Haproxy, Contender::Envoy]
        .into_iter()
        .filter_map(|contender| {
            let micros = results.median(workload, contender, Sample::microseconds)?;
            Some((contender, micros))
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Outcome;

    #[test]
    fn draws_a_bar_for_each_contender() {
        let mut results = Results::default();
        results.machine.processor = "A & B".to_owned();
        for (contender, seconds) in [(Contender::Mesh, 0.1), (Contender::Envoy, 0.5)] {
            let outcome = Outcome {
                requests: 10_000,
                failed: 0,
                unfinished: 0,
                failure: None,
                seconds: 1.0,
                latency: [0.0; 4],
            };
            let sample = Sample {
                round: 0,
                outcome,
                processor_seconds: vec![seconds, seconds],
                memory: Vec::new(),
            };
            results.add_sample(HTTP1, contender, sample);
        }
        let chart = draw(&results);
        assert!(chart.contains("meshproxy 10.0 µs</text>"), "{chart}");
        assert!(chart.contains("Envoy 50.0 µs · 5.0×</text>") && chart.contains("A &amp; B"));
        assert_eq!(chart.matches("<rect").count(), 3);
    }
}
