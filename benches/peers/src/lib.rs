//! Compares coprocess with what a program could use instead: other libraries, on equal work, in one
//! run.
//!
//! ```console
//! cargo bench --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Here, a peer is such a library. Each peer has a file of its own, and is used as its
//! documentation recommends for speed. The row of a peer says what the peer does not do. Its second
//! process is this executable again ([`SECONDS`]), which sleeps while another peer is measured.

mod awaited;
mod contender;
mod iceoryx2;
mod ipc_channel;
mod item;
mod look;
mod names;
mod raw_sync;
mod regime;
mod rtrb;
mod second;
mod shmem_ipc;
mod tarpc;

use coprocess_bench::peer::Serve;

pub use regime::REGIME;

/// Lists the second processes of the peers by name, for [`coprocess_bench::run_with`].
pub const SECONDS: &[(&str, Serve)] = &[
    (iceoryx2::ANSWER_CALLS, iceoryx2::answer_calls),
    (iceoryx2::ANSWER_SAMPLES, iceoryx2::answer_samples),
    (iceoryx2::SWALLOW, iceoryx2::swallow),
    (ipc_channel::ECHO, ipc_channel::echo),
    (ipc_channel::SWALLOW, ipc_channel::swallow),
    (raw_sync::ECHO, raw_sync::echo),
    (shmem_ipc::ECHO, shmem_ipc::echo),
    (shmem_ipc::SWALLOW, shmem_ipc::swallow),
    (tarpc::SERVE, tarpc::serve),
];
