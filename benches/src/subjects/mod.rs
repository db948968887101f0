//! What is measured: one mechanism a file.

mod batch;
pub(crate) mod bulk_pair;
pub(crate) mod bulk_socket;
pub(crate) mod calls_in_flight;
mod close;
pub mod eventfd;
pub mod exchange;
pub(crate) mod first_sign;
pub(crate) mod floats;
pub mod floor;
pub mod futex;
pub(crate) mod household;
pub(crate) mod many_handlers;
pub(crate) mod memcpy;
mod memory;
pub mod pair;
pub mod pipe;
pub mod socket;
pub(crate) mod steady;
pub(crate) mod together;
pub(crate) mod waits;
mod work;
pub(crate) mod working_pair;
pub(crate) mod working_pipe;

use crate::peer::Serve;

/// Lists the second processes of all mechanisms.
pub(crate) const PEERS: &[(&str, Serve)] = &[
    (floor::PEER, floor::serve),
    (exchange::PEER, exchange::serve),
    (eventfd::PEER, eventfd::serve),
    (futex::PEER, futex::serve),
    (bulk_socket::PEER, bulk_socket::serve),
    (first_sign::PEER, first_sign::serve),
    (household::PEER, household::serve),
    (steady::PEER, steady::serve),
    (working_pipe::PEER, working_pipe::serve),
];
