use super::*;

#[test]
fn sums_the_handles_of_a_series_and_keeps_what_dropped_ones_counted() {
    let registry = Registry::new();
    let family = registry.counter("istio_requests_total", "requests", &["code"]);
    let first = family.with(&["200"]);
    first.add(3);
    {
        let second = family.with(&["200"]);
        second.inc();
    }
    family.with(&["503"]).inc();
    assert_eq!(
        registry.render(),
        "# HELP istio_requests_total requests\n# TYPE istio_requests_total counter\n\
         istio_requests_total{code=\"200\"} 4\nistio_requests_total{code=\"503\"} 1\n"
    );
    assert_eq!(family.value(&["200"]), Some(4));
    assert_eq!(family.value(&["404"]), None);
}

#[test]
fn handles_made_and_dropped_do_not_pile_up() {
    let family = Registry::new().counter("x_total", "x", &[]);
    for _ in 0..1000 {
        family.with(&[]).inc();
    }
    assert_eq!(family.value(&[]), Some(1000));
}

#[test]
fn counts_from_many_threads() {
    let family = Registry::new().counter("x_total", "x", &[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let handle = family.with(&[]);
                (0..10_000).for_each(|_| handle.inc());
            });
        }
    });
    assert_eq!(family.value(&[]), Some(40_000));
}

#[test]
fn histogram_is_cumulative_and_its_bounds_are_inclusive() {
    let registry = Registry::new();
    let family = registry.histogram("d_milliseconds", "durations", &["r"], &[0.5, 1.0, 5.0]);
    let handle = family.with(&["a"]);
    for value in [0.5, 0.7, 5.0, 99.25, -1.0, f64::NAN] {
        handle.observe(value);
    }
    let text = registry.render();
    for line in [
        "d_milliseconds_bucket{r=\"a\",le=\"0.5\"} 3",
        "d_milliseconds_bucket{r=\"a\",le=\"1\"} 4",
        "d_milliseconds_bucket{r=\"a\",le=\"5\"} 5",
        "d_milliseconds_bucket{r=\"a\",le=\"+Inf\"} 6",
        "d_milliseconds_sum{r=\"a\"} 105.45",
        "d_milliseconds_count{r=\"a\"} 6",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert_eq!(family.count(&["a"]), Some(6));
}

#[test]
fn gauge_guard_survives_cancellation() {
    let family = Registry::new().gauge("open", "open", &[]);
    let gauge = family.with(&[]);
    let guard = gauge.hold();
    assert_eq!(family.value(&[]), Some(1));
    drop(guard);
    assert_eq!(family.value(&[]), Some(0));
}

#[test]
fn escapes_label_values() {
    let registry = Registry::new();
    registry.collector(|encoder| {
        encoder.family("up", "up\nand running", Kind::Gauge);
        encoder.sample("up", &[("path", "a\"b\\c\nd")], 1.0);
    });
    assert_eq!(
        registry.render(),
        "# HELP up up\\nand running\n# TYPE up gauge\nup{path=\"a\\\"b\\\\c\\nd\"} 1\n"
    );
}
