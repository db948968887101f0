//! Which calls have run out of time, and what becomes of them.

use std::time::Duration;

use super::{Journal, Rig};
use crate::{Error, current_deadline};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than what the two ends may differ in their reading of the clock of the host.
const TICK: Duration = Duration::from_secs(1);

#[test]
fn a_call_is_served_until_its_deadline_and_skipped_from_then_on() {
    for (waited, served) in [(TIMEOUT - TICK, 1), (TIMEOUT + TICK, 0)] {
        let (rig, journal) = (Rig::with(|s| s.call_timeout = Some(TIMEOUT)), Journal::default());
        journal.serve(&rig.worker, "call");
        rig.settle();
        let pending = rig.parent.start::<u32>("call", 7_u32).unwrap();
        rig.clock.advance(waited);
        assert!(Rig::step(&rig.worker));
        assert_eq!(journal.take().len(), served, "after {waited:?}");
        assert_eq!(rig.worker.stats().calls_skipped, 1 - served as u64, "after {waited:?}");
        drop(pending);
    }
}

#[test]
fn a_callback_is_told_once_that_its_time_is_over() {
    let (rig, journal) = (Rig::with(|s| s.call_timeout = Some(TIMEOUT)), Journal::default());
    journal.serve(&rig.worker, "call");
    rig.settle();
    journal.call(&rig.parent, "call", 7);
    assert!(Rig::step(&rig.worker), "in time");
    assert_eq!(journal.take(), ["call 7"]);
    rig.clock.advance(TIMEOUT - TICK);
    rig.parent.end().expire();
    assert_eq!(journal.take(), Vec::<String>::new());
    rig.clock.advance(TICK);
    rig.parent.end().expire();
    assert_eq!(journal.take(), [format!("call fails: {}", Error::Timeout)]);
    // The answer comes too late for the callback.
    assert!(Rig::step(&rig.parent));
    assert_eq!(journal.take(), Vec::<String>::new());
    assert_eq!(rig.parent.stats().answers_dropped, 1);
}

#[test]
fn an_answer_that_has_arrived_is_in_time_although_the_caller_looks_late() {
    let (rig, journal) = (Rig::with(|s| s.call_timeout = Some(TIMEOUT)), Journal::default());
    journal.serve(&rig.worker, "call");
    rig.settle();
    journal.call(&rig.parent, "call", 7);
    assert!(Rig::step(&rig.worker));
    rig.clock.advance(TIMEOUT + TICK);
    assert!(Rig::step(&rig.parent));
    assert_eq!(journal.take(), ["call 7", "call gives 7"]);
}

#[test]
fn a_handler_inherits_the_deadline_of_its_call_and_not_that_of_another() {
    let rig = Rig::with(|s| s.call_timeout = Some(TIMEOUT));
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (of_call, of_event) = (seen.clone(), seen.clone());
    rig.worker.serve("call", move |(): ()| of_call.lock().unwrap().push(current_deadline()));
    rig.worker.listen("event", move |(): ()| of_event.lock().unwrap().push(current_deadline()));
    rig.settle();
    let due = crate::time::now() + TIMEOUT;
    let pending = rig.parent.start::<()>("call", ()).unwrap();
    rig.clock.advance(TICK * 2);
    rig.parent.emit("event", ()).unwrap();
    rig.settle();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let &[Some(of_call), None] = &seen[..] else { panic!("{seen:?}") };
    let error = of_call.max(due) - of_call.min(due);
    assert!(error < TICK, "the moment travels, not the time that was left: {error:?}");
    pending.wait().unwrap();
    assert_eq!(current_deadline(), None);
}
