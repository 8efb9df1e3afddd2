use super::*;

#[test]
fn an_empty_selector_selects_everything() {
    assert!(selects(&Labels::new(), &Labels::new()));
}
