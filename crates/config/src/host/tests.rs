use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> HostPattern {
    text.parse().unwrap()
}

#[test]
fn reads_hosts_and_patterns() {
    assert_eq!(pattern("*"), HostPattern::Any);
    assert_eq!(
        pattern("*.Example.com"),
        HostPattern::Suffix(".example.com".into())
    );
    assert_eq!(pattern("Reviews").to_string(), "reviews");
    assert_eq!(pattern("10.1.2.3").to_string(), "10.1.2.3");
    assert_eq!(pattern("2001:db8::1").to_string(), "2001:db8::1");
}

#[test]
fn refuses_what_is_not_a_host() {
    let message = |text: &str| text.parse::<HostPattern>().unwrap_err().to_string();
    assert_eq!(message(""), "a host must not be empty");
    assert!(message("a*.example.com").contains("not the whole first label"));
    assert!(message("*.*.com").contains("not the whole first label"));
    assert!(message("*com").contains("not the whole first label"));
    assert!(message("http://a.com").contains("no scheme, port or path"));
    assert!(message("a.com:80").contains("no scheme, port or path"));
    assert!(message("a..com").contains("is empty"));
    assert!(message("a.com.").contains("ends in a dot"));
    assert!(message("-a.com").contains("starts or ends with '-'"));
    let wildcard = "*.a.com".parse::<Host>().unwrap_err().to_string();
    assert_eq!(
        wildcard,
        "\"*.a.com\" has a wildcard, but a concrete host is needed here"
    );
}

#[test]
fn short_names_are_relative_to_the_rule() {
    let qualified = |text: &str| pattern(text).qualify("shop", "cluster.local").to_string();
    assert_eq!(qualified("reviews"), "reviews.shop.svc.cluster.local");
    assert_eq!(qualified("reviews.other"), "reviews.other");
    assert_eq!(qualified("10.0.0.1"), "10.0.0.1");
    assert_eq!(qualified("*"), "*");
}

#[test]
fn a_suffix_does_not_match_its_own_domain() {
    assert!(pattern("*.example.com").matches("a.b.EXAMPLE.com"));
    assert!(!pattern("*.example.com").matches("example.com"));
    assert!(!pattern("*.example.com").matches(".example.com"));
    assert!(!pattern("*.example.com").matches("a.badexample.com"));
}

#[test]
fn exact_beats_long_suffix_beats_short_suffix_beats_any() {
    let mut patterns: Vec<_> = ["*", "*.com", "b.com", "*.b.com", "a.b.com"]
        .map(pattern)
        .to_vec();
    patterns.sort();
    let order: Vec<_> = patterns.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["a.b.com", "b.com", "*.b.com", "*.com", "*"]);
    let candidates = patterns.iter().rev().map(|p| (p, p.to_string()));
    assert_eq!(
        most_specific("x.b.com", candidates).as_deref(),
        Some("*.b.com")
    );
}

#[test]
fn patterns_nest_or_are_disjoint() {
    assert!(pattern("*.com").covers(&pattern("*.a.com")));
    assert!(!pattern("*.a.com").covers(&pattern("*.com")));
    assert!(pattern("*.com").overlaps(&pattern("a.com")));
    assert!(!pattern("*.org").overlaps(&pattern("a.com")));
    assert_eq!(
        pattern("*").intersect(&pattern("*.a.com")),
        Some(&pattern("*.a.com"))
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
        if let Ok(read) = text.parse::<HostPattern>() {
            prop_assert_eq!(read.to_string().parse::<HostPattern>().unwrap(), read);
        }
    }

    #[test]
    fn covering_means_matching_all_that_the_other_matches(
        a in "(\\*|(\\*\\.)?[ab](\\.[ab]){0,3})",
        b in "(\\*|(\\*\\.)?[ab](\\.[ab]){0,3})",
        host in "[ab](\\.[ab]){0,4}",
    ) {
        let (a, b) = (pattern(&a), pattern(&b));
        if a.covers(&b) && b.matches(&host) {
            prop_assert!(a.matches(&host));
        }
        if !a.overlaps(&b) {
            prop_assert!(!(a.matches(&host) && b.matches(&host)));
        }
    }
}
