//! Typed interfaces: every form of a call, both directions, and ends that do not fit.

#[path = "../common/mod.rs"]
mod common;

mod both_ends;
mod by_name;
mod calculator;
mod calls;
mod clocks;
mod deferred;
mod kit;
mod misfit_types;
mod misfits;
mod names;
mod several;

use std::process::Command;

use calculator::{Calculator, Plain};
use clocks::{Clock, ClockClient, Watch, elsewhere};
use common::{role, serve_parent};

coprocess::init_in_tests!();

/// This test binary as the worker program of a role.
fn program(role: &str) -> Command {
    common::program!(role)
}

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("serves a clock") => serve_parent(|parent| Watch.serve(&parent)),
        Some("serves another clock") => {
            serve_parent(|parent| elsewhere::Clock::serve(elsewhere::Sundial, &parent))
        }
        Some("serves no clock") => serve_parent(|parent| Plain::default().serve(&parent)),
        Some("keeps values") => serve_parent(|parent| misfit_types::values::serve_theirs(&parent)),
        Some("looks for a clock") => serve_parent(|parent| {
            let end = parent.downgrade();
            parent.try_serve("look", move |()| ClockClient::new(&end.upgrade().unwrap())?.now());
        }),
        Some(other) => unreachable!("{other}"),
    }
}
