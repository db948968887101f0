//! Defines the worker function of `fork`, and the codec of its arguments.
//!
//! The parent sends the distance of the function from the start of the executable. For a function
//! with arguments, the parent also sends the distance of a shim: the function that decodes
//! arguments of that type, and binds the worker function to them.

use std::ffi::c_void;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::coprocess::Coprocess;
use crate::error::{Error, Result};
use crate::process::identity::function::address;
use crate::wire::deserializer::decode;
use crate::wire::header::as_bytes;
use crate::wire::message::Message;
use crate::wire::writer::Writer;

/// Is a worker function, bound to its arguments.
pub(super) type WorkerFunction = Box<dyn FnOnce(Coprocess)>;
/// Binds the worker function at an address to encoded arguments.
pub(super) type Shim = fn(usize, &[u8]) -> std::result::Result<WorkerFunction, String>;

/// Encodes arguments, as those of a call, into at most `max` bytes.
pub(super) fn encode_arguments(args: &impl Serialize, max: usize) -> Result<Vec<u8>> {
    let mut message = Message::new();
    let mut writer = Writer::new(&mut message, max);
    let outcome = args.serialize(&mut writer);
    writer.finish();
    outcome
        .map_err(|error| Error::Encode { what: "fork_with".to_owned(), source: Box::new(error) })?;
    message.check_size(max)?;
    Ok(as_bytes(message.words(), message.bytes()).to_vec())
}

/// Is the [`Shim`] of all worker functions that take an `A`.
pub(super) fn shim<A: DeserializeOwned>(
    worker: usize,
    bytes: &[u8],
) -> std::result::Result<WorkerFunction, String> {
    let args: A = decode(bytes)
        .map_err(|error| format!("the arguments of the worker function do not decode: {error}"))?;
    let pointer = std::ptr::with_exposed_provenance::<c_void>(worker);
    // SAFETY: the parent sent the distance of this instance of the shim together with the distance
    // of a `fn(Coprocess, A)` with the same `A`.
    let worker = unsafe { std::mem::transmute::<*const c_void, fn(Coprocess, A)>(pointer) };
    let bound: Box<dyn FnOnce(Coprocess) + '_> = Box::new(move |co| worker(co, args));
    // SAFETY: a lifetime in `A` is one of the parent's source. A value that was decoded here, as an
    // owned one, refers to nothing.
    Ok(unsafe { std::mem::transmute::<Box<dyn FnOnce(Coprocess) + '_>, WorkerFunction>(bound) })
}

/// Returns the worker function without arguments at a distance.
pub(super) fn at(distance: u64) -> Option<fn(Coprocess)> {
    let pointer = address(distance)?;
    // SAFETY: the parent took the distance from a `fn(Coprocess)` in the file that it executed, and
    // the mark says that this process runs that file. At the same distance is the same function.
    Some(unsafe { std::mem::transmute::<*const c_void, fn(Coprocess)>(pointer) })
}

/// Returns the shim at a distance.
pub(super) fn shim_at(distance: u64) -> Option<Shim> {
    let pointer = address(distance)?;
    // SAFETY: as in `at`; the parent took the distance from a `Shim`.
    Some(unsafe { std::mem::transmute::<*const c_void, Shim>(pointer) })
}
