//! What cannot be trusted: hostile peers, hostile values, and memory that was not sent.
//!
//! A hostile worker can do nothing to its parent but return errors and burn its own processor time.
//! A hostile parent can do no more to its worker.
//!
//! `kit` is what hostile programs are made of. They take the socket from the environment, receive
//! the segment and map it themselves, without this library. `attacks` has the programs, and a test
//! for each. `parent` has the honest parent that the programs attack: threads that call with
//! deadlines and without, emit, handle, run and close. Every operation must end in time, with a
//! result that the documentation names. No panic, descriptor, mapping, child or thread is left
//! over, and memory is bounded. `parents` has hostile parents, which attack an honest worker.
//!
//! What is random prints its seed: `COPROCESS_SEED` repeats it, `COPROCESS_ROUNDS` says for how
//! long.

#[path = "../common/mod.rs"]
mod common;

mod secrets;
mod values;

// There is no remedy against what is done to a file without seals, and to what the C library keeps
// in it: see "The second backend" in docs/safety.md.
#[cfg(not(coprocess_second_backend))]
mod attacks;
#[cfg(not(coprocess_second_backend))]
mod kit;
#[cfg(not(coprocess_second_backend))]
mod parent;
#[cfg(not(coprocess_second_backend))]
mod parents;

coprocess::init_in_tests!();

/// This test binary as a hostile program, or as the honest worker of a hostile parent.
#[cfg(not(coprocess_second_backend))]
fn program(role: &str) -> std::process::Command {
    common::program!(role)
}

#[cfg(not(coprocess_second_backend))]
#[test]
fn worker_program() {
    use attacks::{afterlife, bells, file, floods, handshake, messages, words};

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
