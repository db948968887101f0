//! Waits that cross: the threads on a cycle learn of it, whichever completes it.

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
    /// A thread that enters the list, or leaves it, tells none of the others.
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

    fn answer(&self, whom: usize) {
        self.answered[whom].store(true, Ordering::SeqCst);
        self.parkers[whom].notify();
    }

    /// Waits in the end after that of `me`, as the leader of its own. `acts`: what it does on a cycle.
    fn wait(&self, me: usize, variant: Variant, acts: impl Fn()) {
        let end = &self.ends[(me + 1) % self.ends.len()];
        let parker = &self.parkers[me];
        let answered = || self.answered[me].load(Ordering::SeqCst);
        // One that nothing waits with: what is told is lost.
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
            // Its answer, or the end of the cycle.
            while !answered() && crossing.led().is_some() {
                parker.wait(None);
            }
        }
    }
}

/// Two threads, each in a handler of an end that the other waits in. The answer of the first takes
/// a nested handler of the second; the second is answered when the first is done.
fn crossed(variant: Variant) {
    let world = World::new(2);
    // The other thread may have it for a moment.
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

/// The model bites: a thread that does not enter the list is not found.
#[test]
fn sleeping_without_entering_is_caught() {
    caught("models::crossing::sleeping_without_entering_is_caught", DEADLOCK, || {
        crossed(Variant::NotInTheList)
    });
}

/// Nor does a thread find a cycle by itself that another one completes while it sleeps.
#[test]
fn telling_no_other_thread_is_caught() {
    caught("models::crossing::telling_no_other_thread_is_caught", DEADLOCK, || {
        crossed(Variant::Untold)
    });
}
