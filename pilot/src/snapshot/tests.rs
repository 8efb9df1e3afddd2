use super::*;

#[test]
fn nothing_changed_means_nothing_to_push() {
    let before = Snapshot::build(Inputs::default());
    let after = Snapshot::build(Inputs::default());
    assert!(after.change_since(&before).is_empty());
}
