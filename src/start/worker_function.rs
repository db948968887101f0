//! The worker function of `fork`, and its arguments: encoded by the parent, decoded by the worker.

use std::ffi::c_void;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::coprocess::Coprocess;
use crate::decode::decode;
use crate::encode::Gather;
use crate::envelope::{Message, as_bytes};
use crate::error::{Error, Result};
use crate::process::identity::function::address;

/// The worker function, with its arguments.
pub(crate) type Start = Box<dyn FnOnce(Coprocess)>;
/// Makes a start of the address of a worker function and of encoded arguments.
pub(crate) type Shim = fn(usize, &[u8]) -> std::result::Result<Start, String>;

/// Encodes arguments, as those of a call.
pub(crate) fn encode_arguments(args: &impl Serialize, max: usize) -> Result<Vec<u8>> {
    let mut message = Message::new();
    let mut gather = Gather::new(&mut message, max);
    let outcome = args.serialize(&mut gather);
    gather.finish();
    outcome.map_err(|error| Error::Encode { what: "fork_with".to_owned(), source: Box::new(error) })?;
    message.check_size(max)?;
    Ok(as_bytes(message.words(), message.bytes()).to_vec())
}

/// The [`Shim`] of all worker functions that take an `A`.
pub(crate) fn shim<A: DeserializeOwned>(worker: usize, bytes: &[u8]) -> std::result::Result<Start, String> {
    let args: A = decode(bytes).map_err(|error| format!("the arguments of the worker function do not decode: {error}"))?;
    let pointer = std::ptr::with_exposed_provenance::<c_void>(worker);
    // SAFETY: the parent sent the distance of this instance of the shim beside that of a `fn(Coprocess, A)` with the same `A`.
    let worker = unsafe { std::mem::transmute::<*const c_void, fn(Coprocess, A)>(pointer) };
    let start: Box<dyn FnOnce(Coprocess) + '_> = Box::new(move |co| worker(co, args));
    // SAFETY: a lifetime in `A` is one of the parent's source. What was decoded here as an owned value refers to nothing.
    Ok(unsafe { std::mem::transmute::<Box<dyn FnOnce(Coprocess) + '_>, Start>(start) })
}

/// The worker function at a distance.
pub(crate) fn at(distance: u64) -> Option<fn(Coprocess)> {
    let pointer = address(distance)?;
    // SAFETY: the parent took the distance from a `fn(Coprocess)` in the file that it executed, and
    // this process runs that file: its mark says so. At the same distance there is the same function.
    Some(unsafe { std::mem::transmute::<*const c_void, fn(Coprocess)>(pointer) })
}

/// What makes a start of a worker function and its arguments, at a distance.
pub(crate) fn shim_at(distance: u64) -> Option<Shim> {
    let pointer = address(distance)?;
    // SAFETY: as above: the parent took it from a `Shim`.
    Some(unsafe { std::mem::transmute::<*const c_void, Shim>(pointer) })
}
