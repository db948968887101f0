//! What is handled, and what fails, once an end is closed.

use super::{Journal, Rig};
use crate::{Error, Reason};

#[test]
fn what_was_sent_before_the_close_is_handled_before_the_end() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.worker, "event");
    let ended = journal.clone();
    rig.worker.on_end(move |reason| ended.note(format!("ended: {reason:?}")));
    rig.settle();
    for value in 1..=3_u32 {
        rig.parent.emit("event", value).unwrap();
    }
    rig.parent.close().unwrap();
    assert!(Rig::step(&rig.worker));
    assert_eq!(journal.take(), ["event 1"], "the close does not overtake the events");
    while Rig::step(&rig.worker) {}
    let journal = journal.take();
    assert_eq!(journal.get(..2).unwrap(), ["event 2", "event 3"]);
    assert!(matches!(rig.worker.emit("event", 1_u32), Err(Error::Disconnected(Reason::Closed))));
}

#[test]
fn calls_in_flight_fail_once_each_when_their_end_is_closed() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.serve(&rig.worker, "call");
    rig.settle();
    journal.call(&rig.parent, "call", 1);
    journal.call(&rig.parent, "call", 2);
    rig.parent.close().unwrap();
    assert_eq!(journal.take(), vec![format!("call fails: {}", Error::Closed); 2]);
    while Rig::step(&rig.worker) {}
    assert!(journal.take().len() <= 2, "the calls may be served, for no caller");
    assert!(matches!(rig.parent.emit("event", 1_u32), Err(Error::Closed)));
}

#[test]
fn a_call_whose_answer_was_sent_before_the_close_succeeds() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.serve(&rig.worker, "call");
    rig.settle();
    journal.call(&rig.parent, "call", 1);
    journal.call(&rig.parent, "call", 2);
    assert!(Rig::step(&rig.worker));
    rig.worker.close().unwrap();
    rig.settle_parent();
    let journal = journal.take();
    assert_eq!(journal.get(..2).unwrap(), ["call 1", "call gives 1"]);
    assert_eq!(
        journal.get(2..).unwrap(),
        [format!("call fails: {}", Error::Disconnected(Reason::Closed))]
    );
}
