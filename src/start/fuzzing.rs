//! Opens what a peer can reach to the fuzz targets, without a process behind the peer.
//!
//! Compiled under `--cfg fuzzing` only.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coprocess_ring::{Region, Side, WaitStrategy};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::coprocess::Coprocess;
use crate::end::End;
use crate::settings::Settings;
use crate::settings::TypeCheck;
use crate::types::beside::Beside;
use crate::types::looked_at::Kinds;
use crate::types::payload::Payload;
use crate::{process, start};

/// Returns one end of a pair over `region`, with neither a process watcher nor a driver.
pub fn end(region: &Region, side: Side, max_message: usize) -> Coprocess {
    let settings = Settings {
        max_message,
        strategy: WaitStrategy::Block,
        call_timeout: None,
        close_timeout: Duration::ZERO,
        max_calls_in_flight: u32::MAX,
        max_calls_served: u32::MAX,
        check_types: TypeCheck::FirstUse,
    };
    alone(End::new(region, side, std::process::id(), settings))
}

/// Receives the hello of a parent and attaches, as a worker does.
///
/// # Errors
///
/// What the parent is told.
pub fn attach(lifeline: OwnedFd) -> Result<Coprocess, String> {
    start::attach_unwatched(lifeline).map(alone)
}

/// Reads the verdict of a worker as its parent does: whether the worker has attached, or why not.
/// Returns `None` if the worker closed the socket.
///
/// # Errors
///
/// What the system says of the socket.
pub fn verdict(lifeline: BorrowedFd<'_>) -> io::Result<Option<Result<(), String>>> {
    process::read_verdict(lifeline)
}

/// Decodes a value beside the kinds that the peer has told, or without any.
///
/// # Errors
///
/// Whether the two are said to differ; and the text of the error.
pub fn read<T: DeserializeOwned>(bytes: &[u8], kinds: Option<&[u8]>) -> Result<T, (bool, String)> {
    let beside = kinds.map(Beside::new);
    Payload { bytes, beside: beside.as_ref() }
        .read()
        .map_err(|error| (error.mismatch().is_some(), error.to_string()))
}

/// Returns the kinds of a value, if it can be serialized.
pub fn kinds_of<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    Kinds::of_result(value).map(|kinds| kinds.to_vec())
}

fn alone(end: Arc<End>) -> Coprocess {
    // As if the driver's thread were there.
    end.driver.started.store(true, Ordering::Relaxed);
    Coprocess::new(end)
}
