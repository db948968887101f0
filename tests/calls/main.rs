//! A call from end to end: arguments and answers, order, size, deadlines, cancellation, and how
//! many may be in flight.

#[path = "../common/mod.rs"]
mod common;

mod cancel;
mod deadlines;
mod declared_types;
mod in_flight;
mod order;
mod pending;
mod raw_bytes;
mod readme;
mod relays;
mod round_trips;
mod sizes;

coprocess::init_in_tests!();
