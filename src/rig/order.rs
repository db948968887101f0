//! The order in which messages are handled.

use super::{Journal, Rig};

#[test]
fn events_and_calls_are_handled_in_the_order_in_which_they_were_sent() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.worker, "a");
    journal.listen(&rig.worker, "b");
    journal.serve(&rig.worker, "call");
    rig.settle();
    rig.parent.emit("a", 1_u32).unwrap();
    let pending = rig.parent.start::<u32>("call", 2_u32).unwrap();
    rig.parent.emit("b", 3_u32).unwrap();
    rig.parent.emit("a", 4_u32).unwrap();
    assert_eq!(journal.take(), Vec::<String>::new(), "nothing is received by itself");
    while Rig::step(&rig.worker) {}
    assert_eq!(journal.take(), ["a 1", "call 2", "b 3", "a 4"]);
    rig.settle();
    assert_eq!(pending.wait().unwrap(), 2);
}

#[test]
fn callbacks_run_in_the_order_of_the_answers() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.serve(&rig.worker, "first");
    journal.serve(&rig.worker, "second");
    rig.settle();
    journal.call(&rig.parent, "second", 2);
    journal.call(&rig.parent, "first", 1);
    while Rig::step(&rig.worker) {}
    assert_eq!(journal.take(), ["second 2", "first 1"]);
    while Rig::step(&rig.parent) {}
    assert_eq!(journal.take(), ["second gives 2", "first gives 1"]);
}

#[test]
fn a_call_served_later_does_not_hold_up_the_next() {
    let (rig, journal) = (Rig::new(), Journal::default());
    let replies = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = replies.clone();
    rig.worker.serve_deferred("later", move |value: u32, reply: crate::Reply<u32>| {
        kept.lock().unwrap().push((value, reply));
    });
    journal.serve(&rig.worker, "now");
    rig.settle();
    journal.call(&rig.parent, "later", 1);
    journal.call(&rig.parent, "now", 2);
    rig.settle();
    assert_eq!(journal.take(), ["now 2", "now gives 2"]);
    let (value, reply) = replies.lock().unwrap().pop().expect("a reply");
    reply.send(value * 10).unwrap();
    rig.settle();
    assert_eq!(journal.take(), ["later gives 10"]);
}

#[test]
fn each_end_handles_its_own_direction_in_order() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.listen(&rig.parent, "up");
    journal.listen(&rig.worker, "down");
    rig.settle();
    for value in 0..3_u32 {
        rig.parent.emit("down", value).unwrap();
        rig.worker.emit("up", value + 10).unwrap();
    }
    while Rig::step(&rig.parent) {}
    assert_eq!(journal.take(), ["up 10", "up 11", "up 12"]);
    while Rig::step(&rig.worker) {}
    assert_eq!(journal.take(), ["down 0", "down 1", "down 2"]);
}
