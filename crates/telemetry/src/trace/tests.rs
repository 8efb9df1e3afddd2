use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[test]
fn child_of_a_traceparent_stays_in_the_trace() {
    let mut map = headers(&[
        ("traceparent", &format!("00-{TRACE}-{SPAN}-01")),
        ("tracestate", "a=b"),
    ]);
    let context = Context::from_headers(&map).unwrap();
    let child = context.child(&mut SmallRng::seed_from_u64(1));
    child.write(&mut map);
    let written = map["traceparent"].to_str().unwrap();
    assert!(
        written.starts_with(&format!("00-{TRACE}-")) && written.ends_with("-01"),
        "{written}"
    );
    assert!(!written.contains(SPAN));
    assert_eq!(map["tracestate"], "a=b");
    assert!(
        !map.contains_key("x-b3-traceid"),
        "only formats that were there are written"
    );
}

#[test]
fn reads_and_writes_b3_multiple() {
    let mut map = headers(&[
        ("x-b3-traceid", "a3ce929d0e0e4736"),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "0"),
    ]);
    let context = Context::from_headers(&map).unwrap();
    assert_eq!(context.sampling, Sampling::Deny);
    context
        .child(&mut SmallRng::seed_from_u64(1))
        .write(&mut map);
    assert_eq!(map["x-b3-traceid"], "0000000000000000a3ce929d0e0e4736");
    assert_eq!(map["x-b3-parentspanid"], SPAN);
    assert_eq!(map["x-b3-sampled"], "0");
}

#[test]
fn reads_and_writes_b3_single() {
    let mut map = headers(&[("b3", &format!("{TRACE}-{SPAN}-d"))]);
    let context = Context::from_headers(&map).unwrap();
    assert_eq!(context.sampling, Sampling::Debug);
    context
        .child(&mut SmallRng::seed_from_u64(1))
        .write(&mut map);
    let written = map["b3"].to_str().unwrap();
    assert!(
        written.starts_with(TRACE) && written.ends_with(&format!("-d-{SPAN}")),
        "{written}"
    );
}

#[test]
fn ignores_damaged_headers() {
    for (name, value) in [
        (
            "traceparent",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ),
        (
            "traceparent",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (
            "traceparent",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ),
        (
            "traceparent",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ),
        ("traceparent", ""),
        ("b3", "0"),
        ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-x"),
        ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        assert_eq!(
            Context::from_headers(&headers(&[(name, value)])),
            None,
            "{name}: {value}"
        );
    }
}

#[test]
fn new_trace_is_written_in_both_formats() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut map = HeaderMap::new();
    let root = Context::root(&mut rng, Sampling::Accept);
    root.write(&mut map);
    let read = Context::from_headers(&map).unwrap();
    assert_eq!((read.trace_id, read.span_id), (root.trace_id, root.span_id));
    assert!(map.contains_key("traceparent") && map.contains_key("x-b3-sampled"));
}

#[test]
fn sampler_keeps_its_share() {
    let mut rng = SmallRng::seed_from_u64(3);
    let count = |percent: f64, rng: &mut SmallRng| {
        (0..10_000)
            .filter(|_| Sampler::percent(percent).sample(rng).is_sampled())
            .count()
    };
    assert_eq!(count(0.0, &mut rng), 0);
    assert_eq!(count(100.0, &mut rng), 10_000);
    assert!((800..1200).contains(&count(10.0, &mut rng)));
}

#[test]
fn request_id_is_a_version_4_uuid() {
    let id = new_request_id(&mut SmallRng::seed_from_u64(1));
    let text = id.to_str().unwrap();
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    assert_eq!(text.as_bytes()[14], b'4');
    assert!(b"89ab".contains(&text.as_bytes()[19]));
}
