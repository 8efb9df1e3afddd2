use super::*;
use proptest::prelude::*;

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

#[test]
fn parses_a_service_account_id() {
    let parsed = id("spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
    assert_eq!(parsed.trust_domain_str(), "cluster.local");
    assert_eq!(parsed.namespace(), Some("default"));
    assert_eq!(parsed.service_account_name(), Some("bookinfo-reviews"));
    assert_eq!(
        parsed.principal(),
        "cluster.local/ns/default/sa/bookinfo-reviews"
    );
}

#[test]
fn accepts_other_paths_and_the_domain_itself() {
    assert_eq!(
        id("spiffe://example.org/billing/payments").namespace(),
        None
    );
    assert_eq!(id("spiffe://example.org").path(), "");
    assert_eq!(
        id("spiffe://example.org/ns/a/sa/b/extra").service_account_name(),
        None
    );
}

#[test]
fn compares_scheme_and_domain_without_case_and_paths_with_it() {
    assert_eq!(id("SPIFFE://Example.ORG/a"), id("spiffe://example.org/a"));
    assert_ne!(id("spiffe://example.org/A"), id("spiffe://example.org/a"));
}

#[test]
fn refuses_what_the_specification_forbids() {
    for bad in [
        "",
        "https://cluster.local/ns/a/sa/b",
        "spiffe://",
        "spiffe:///ns/a/sa/b",
        "spiffe://cluster.local/",
        "spiffe://cluster.local/ns//sa/b",
        "spiffe://cluster.local/ns/../sa/b",
        "spiffe://cluster.local/ns/./b",
        "spiffe://cluster.local:8080/ns/a",
        "spiffe://user@cluster.local/a",
        "spiffe://cluster.local/a?b=c",
        "spiffe://cluster.local/a#f",
        "spiffe://cluster.local/a%20b",
        "spiffe://clüster.local/a",
    ] {
        assert!(bad.parse::<SpiffeId>().is_err(), "{bad} must be refused");
    }
    let long = format!("spiffe://a/{}", "x".repeat(MAX_ID_BYTES));
    assert!(matches!(
        long.parse::<SpiffeId>(),
        Err(SpiffeIdError::TooLong { .. })
    ));
}

#[test]
fn refuses_a_slash_in_a_name_of_a_service_account() {
    let domain = TrustDomain::default();
    assert!(SpiffeId::service_account(&domain, "a/sa/x", "b").is_err());
    assert!(SpiffeId::service_account(&domain, "a", "").is_err());
}

#[test]
fn set_is_sorted_and_without_duplicates() {
    let set: SpiffeIdSet = ["spiffe://a/z", "spiffe://a/b", "spiffe://a/z"]
        .into_iter()
        .map(id)
        .collect();
    assert_eq!(set.len(), 2);
    assert!(set.contains(&id("spiffe://a/b")));
    assert!(!set.contains(&id("spiffe://a/c")));
    assert_eq!(set.to_string(), "[spiffe://a/b, spiffe://a/z]");
}

proptest! {
    #[test]
    fn display_parses_back(namespace in "[a-z0-9-]{1,20}", account in "[a-z0-9.-]{3,20}") {
        prop_assume!(account != ".." && account != "...");
        let made = SpiffeId::service_account(&TrustDomain::default(), &namespace, &account).unwrap();
        prop_assert_eq!(id(&made.to_string()), made);
    }

    #[test]
    fn never_panics(text in "\\PC{0,80}") {
        let _ = text.parse::<SpiffeId>();
        let _ = format!("spiffe://{text}").parse::<SpiffeId>();
    }
}
