//! What becomes of events for which the ring has no space.

use super::{Journal, Rig};
use crate::{Backpressure, Error};

#[test]
fn a_gauge_skips_the_values_that_a_later_one_replaces() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.worker, "gauge");
    rig.settle();
    let gauge = rig.parent.event("gauge").backpressure(Backpressure::KeepLatest);
    for value in 1..=5_u32 {
        gauge.emit(value).unwrap();
    }
    while Rig::step(&rig.worker) {}
    assert_eq!(journal.take(), ["gauge 1"], "one value is on the way at a time");
    rig.settle();
    assert_eq!(journal.take(), ["gauge 5"]);
    assert_eq!(rig.parent.stats().events_replaced, 3);
    gauge.emit(6_u32).unwrap();
    rig.settle();
    assert_eq!(journal.take(), ["gauge 6"]);
}

#[test]
fn the_newest_is_dropped_and_the_older_ones_are_handled() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.worker, "event");
    rig.settle();
    let event = rig.parent.event("event").backpressure(Backpressure::DropNewest);
    let mut sent = 0_u32;
    while rig.parent.stats().events_dropped == 0 {
        event.emit(sent).unwrap();
        sent += 1;
    }
    rig.settle();
    let handled = journal.take();
    let wanted: Vec<String> = (0..sent - 1).map(|value| format!("event {value}")).collect();
    assert_eq!(handled, wanted, "all but the last");
    event.emit(1000_u32).unwrap();
    rig.settle();
    assert_eq!(journal.take(), ["event 1000"], "there is space again");
    assert_eq!(rig.parent.stats().events_dropped, 1);
}

#[test]
fn a_full_ring_refuses_until_the_peer_has_taken_something() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.worker, "event");
    rig.settle();
    let mut sent = 0_u32;
    let error = loop {
        match rig.parent.try_emit("event", sent) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full), "{error:?}");
    assert_eq!(rig.parent.stats().events_refused, 1);
    while Rig::step(&rig.worker) {}
    assert_eq!(journal.take().len(), sent as usize);
    rig.parent.try_emit("event", sent).unwrap();
}
