//! When the sender of a wrong type learns of it.

use super::{Journal, Rig};
use crate::Error;

#[test]
fn the_sender_learns_of_a_wrong_type_once_the_refusal_has_come() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.worker, "event");
    rig.settle();
    rig.parent.emit("event", -1_i32).unwrap();
    rig.parent.emit("event", 1_u32).unwrap();
    rig.parent.emit("event", -2_i32).unwrap();
    while Rig::step(&rig.worker) {}
    assert_eq!(journal.take(), ["event 1"], "no value of the wrong type is handled");
    assert_eq!(rig.worker.stats().events_mistyped, 2);
    // The refusal lies in the ring of this end.
    while Rig::step(&rig.parent) {}
    let refused = rig.parent.emit("event", -3_i32);
    assert!(matches!(refused, Err(Error::Types { .. })), "{refused:?}");
    rig.parent.emit("event", 2_u32).unwrap();
    rig.settle();
    assert_eq!(journal.take(), ["event 2"]);
}

#[test]
fn another_handler_takes_the_refusal_back() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.worker, "event");
    rig.settle();
    rig.parent.emit("event", -1_i32).unwrap();
    rig.settle();
    assert!(rig.parent.emit("event", -2_i32).is_err());
    let values = journal.clone();
    rig.worker.listen("event", move |value: i32| values.note(format!("signed {value}")));
    rig.settle();
    rig.parent.emit("event", -3_i32).unwrap();
    rig.settle();
    assert_eq!(journal.take(), ["signed -3"]);
}
