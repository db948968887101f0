//! Checks waits that cross: the threads on a cycle learn of the cycle, whichever thread completes
//! it.

use super::{DEADLOCK, caught, check};
use crate::drive::lead::{Lead, LeadWait};
use crate::end::End;
use crate::end::crossing::Crossing;
use crate::sync::parker::Parker;
use crate::sync::{Spin, next_execution};
use crate::time::deadline::Deadline;
use coprocess_ring::{Region, Side, Watch};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    AsItIs,
    /// A thread sleeps without entering the list.
    NotInTheList,
    /// A thread that enters the list, or leaves the list, notifies no other thread.
    Untold,
}

struct World {
    ends: Vec<Arc<End>>,
    parkers: Vec<Arc<Parker>>,
    answered: Vec<AtomicBool>,
}

impl World {
    fn new(ends: usize) -> Arc<World> {
        next_execution();
        let end = |_| {
            let region = Region::heap(8);
            Arc::new(End { lead: Lead::new(Spin), watch: Watch::new(&region, Side::Parent) })
        };
        Arc::new(World {
            ends: (0..ends).map(end).collect(),
            parkers: (0..ends).map(|_| Parker::new()).collect(),
            answered: (0..ends).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    fn answer(&self, caller: usize) {
        self.answered[caller].store(true, Ordering::SeqCst);
        self.parkers[caller].notify();
    }

    /// Waits in the end after the end of `me`, as the leader of the end of `me`. On a cycle, the
    /// thread calls `acts`.
    fn wait(&self, me: usize, variant: Variant, acts: impl Fn()) {
        let end = &self.ends[(me + 1) % self.ends.len()];
        let parker = &self.parkers[me];
        let answered = || self.answered[me].load(Ordering::SeqCst);
        // No thread waits with this parker, so a notification to it is lost.
        let nowhere = Parker::new();
        let crossing =
            Crossing::new(end, if variant == Variant::Untold { &nowhere } else { parker });
        loop {
            let done = || answered() || crossing.led().is_some();
            let on_a_cycle = || {
                if variant != Variant::NotInTheList {
                    crossing.enter();
                }
                crossing.led().is_some()
            };
            if end.lead.wait_turn_unless(&end.watch, parker, Deadline::NEVER, done, on_a_cycle)
                == LeadWait::Lead
            {
                crossing.leave();
                end.lead.leave(&end.watch, || false);
                return;
            }
            if answered() {
                return;
            }
            acts();
            // Waits for the answer, or for the end of the cycle.
            while !answered() && crossing.led().is_some() {
                parker.wait(None);
            }
        }
    }
}

/// Runs two threads, each in a handler of an end that the other thread waits in.
///
/// The answer of the first thread takes a nested handler of the second thread. The second thread is
/// answered when the first thread is done.
fn crossed(variant: Variant) {
    let world = World::new(2);
    // The other thread may have the lead for a moment.
    let lead = |world: &World, me: usize| {
        let end = &world.ends[me];
        assert_eq!(
            end.lead.wait_turn(&end.watch, &world.parkers[me], Deadline::NEVER, || false),
            LeadWait::Lead
        );
    };
    let leave =
        |world: &World, me: usize| world.ends[me].lead.leave(&world.ends[me].watch, || false);
    let second = {
        let world = world.clone();
        thread::spawn(move || {
            lead(&world, 1);
            world.wait(1, variant, || world.answer(0));
            leave(&world, 1);
        })
    };
    lead(&world, 0);
    world.wait(0, variant, || ());
    world.answer(1);
    leave(&world, 0);
    second.join().unwrap();
}

#[test]
fn both_learn_that_their_waits_cross() {
    check(|| crossed(Variant::AsItIs));
}

/// The model fails as it must: a thread that does not enter the list is not found.
#[test]
fn sleeping_without_entering_is_caught() {
    caught("models::crossing::sleeping_without_entering_is_caught", DEADLOCK, || {
        crossed(Variant::NotInTheList)
    });
}

/// The model fails as it must: a sleeping thread does not notice a cycle that another thread
/// completes.
#[test]
fn telling_no_other_thread_is_caught() {
    caught("models::crossing::telling_no_other_thread_is_caught", DEADLOCK, || {
        crossed(Variant::Untold)
    });
}
