//! Time is an argument; nothing sleeps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::snapshot::Change;
use crate::store::Urgency;

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn configuration_waits_for_quiet_but_not_for_ever() {
    let start = Instant::now();
    let mut debouncer = Debouncer::new(Timing::default());
    assert_eq!(debouncer.due(), None);
    debouncer.note(Urgency::Config, start);
    assert_eq!(debouncer.due(), Some(start + 100 * MILLISECOND));
    for tick in 1..=19 {
        debouncer.note(Urgency::Config, start + tick * 50 * MILLISECOND);
    }
    assert_eq!(debouncer.due(), Some(start + 1000 * MILLISECOND));
    assert_eq!(debouncer.take(), Some(start));
    assert_eq!(debouncer.due(), None);
}

#[test]
fn endpoints_alone_are_faster_and_configuration_slows_them() {
    let start = Instant::now();
    let mut debouncer = Debouncer::new(Timing::default());
    debouncer.note(Urgency::Endpoints, start);
    assert_eq!(debouncer.due(), Some(start + 10 * MILLISECOND));
    debouncer.note(Urgency::Config, start + MILLISECOND);
    assert_eq!(debouncer.due(), Some(start + 101 * MILLISECOND));
}

fn push(host: &str, since: Instant) -> Push {
    let endpoints = BTreeSet::from([host.into()]);
    let change = Change {
        endpoints,
        ..Change::default()
    };
    Push::new(Arc::new(change), since)
}

#[tokio::test]
async fn a_mailbox_merges_what_its_client_has_not_read() {
    let start = Instant::now();
    let mailbox = Mailbox::default();
    mailbox.put(push("a", start + MILLISECOND));
    mailbox.put(push("b", start));
    let merged = mailbox.next().await;
    assert_eq!(merged.change.endpoints.len(), 2);
    assert_eq!(merged.since, start);
    let nothing = tokio::time::timeout(MILLISECOND, mailbox.next()).await;
    assert!(nothing.is_err());
    mailbox.put(push("c", start));
    assert_eq!(mailbox.next().await.change.endpoints.len(), 1);
}
