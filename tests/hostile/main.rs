//! A worker can do nothing to its parent but return errors and burn its own processor time; and the same the other way round.
//!
//! `kit` is what hostile programs are made of: they take the socket from the environment, receive the segment and map it themselves, without
//! this library. `attacks` has the programs, and a test for each. `parent` is who is attacked: threads that call with deadlines and without,
//! emit, handle, run and close. Every operation must end in time, with a result that the documentation names; no panic, no descriptor,
//! mapping, child or thread left over, and a bound on memory. `parents` has hostile parents against an honest worker.
//!
//! What is random prints its seed: `COPROCESS_SEED` repeats it, `COPROCESS_ROUNDS` says for how long.

// Against what is done to a file without seals, and to what the C library keeps in it, there is no remedy: see "The second backend" in docs/safety.md.
#![cfg(not(coprocess_second_backend))]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod kit;
mod parent;
mod parents;

use attacks::{afterlife, bells, file, floods, handshake, messages, words};

coprocess::init_in_tests!();

#[test]
fn worker_program() {
    let Some(role) = common::role() else { return };
    let (role, what) = role.split_once('/').unwrap_or((&role, ""));
    match role {
        "sabotage" => {
            let (kind, seed) = what.split_once('/').expect("a kind and a seed");
            words::saboteur(words::kind(kind), seed.parse().expect("a number"))
        }
        "word" => words::one_word(what),
        "rings for ever" => bells::rings_for_ever(),
        "silences" => bells::silences(),
        "confuses" => bells::confuses(),
        "sits still" => bells::sits_still(),
        "flood" => floods::floods(what),
        "answers" => messages::answers(what),
        "announces" => messages::announces(),
        "malformed" => messages::malformed(what),
        "handshake" => handshake::answers(what),
        "afterwards" => handshake::afterwards(what),
        "heir" => afterlife::leaves_an_heir(what),
        "closes" => afterlife::goes_on(true, what),
        "goes on" => afterlife::goes_on(false, what),
        "tries everything" => file::tries_everything(),
        "seals first" => file::seals_first(),
        "punches for ever" => file::punches_for_ever(),
        "honest" => parents::honest_worker(),
        other => unreachable!("{other}"),
    }
}
