//! A pair of pipes: the simplest of what a program without shared memory would use.

use std::io;

use crate::Result;
use crate::subjects::exchange::Exchange;

/// Starts the second process.
///
/// # Errors
///
/// There are no pipes, or the process cannot be started.
pub fn start() -> Result<Exchange> {
    let (theirs, requests) = io::pipe()?;
    let (responses, back) = io::pipe()?;
    Exchange::start("pipe", requests.into(), responses.into(), theirs, back)
}
