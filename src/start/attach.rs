//! Attaches this process, a worker, to its parent's segment.

#[cfg(fuzzing)]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use coprocess_ring::{SegmentError, Side};

use crate::end::End;
use crate::error::ForkError;
#[cfg(fuzzing)]
use crate::process::handshake::Nonce;
use crate::process::handshake::{self, Hello, Lifeline, arguments, send_secure, send_verdict};
use crate::process::identity::privileges;
use crate::process::out_of_memory;
use crate::start::watch_peer;

/// Attaches to the parent's segment, and answers the parent.
///
/// `ready` gets the hello and the encoded arguments. It returns what the parent wants to be run, or
/// why this process cannot run that.
pub(super) fn attach<T>(
    lifeline: Lifeline,
    ready: impl FnOnce(&Hello, &[u8]) -> Result<T, String>,
) -> Result<(Arc<End>, T), ForkError> {
    // First: only the worker may speak through the socket. Another process says nothing.
    take_claim(&lifeline)?;
    if privileges::is_secure() {
        // If the parent is gone, the caller alone gets the error.
        let _ = send_secure(lifeline.socket.as_fd());
        return Err(ForkError::SecureExecution);
    }
    if !lifeline.is_trusted() {
        let why = "the process that started this one belongs to another user, who is not root";
        let _ = send_verdict(lifeline.socket.as_fd(), Err(why));
        return Err(ForkError::Handshake(why.to_owned()));
    }
    let parent = lifeline.parent();
    match prepare(&lifeline, parent.as_ref().map(AsFd::as_fd), ready) {
        Ok((end, what, limits_memory)) => {
            let socket = Arc::new(lifeline.socket);
            // Before the parent learns that the worker has attached: starting the watcher can fail,
            // for want of a thread or of descriptors.
            if let Err(source) =
                watch_peer::watch_parent(&end, socket.clone(), parent, lifeline.child_of)
            {
                let _ = send_verdict(
                    socket.as_fd(),
                    Err(&format!("the worker cannot start its process watcher: {source}")),
                );
                return Err(ForkError::setup("start the process watcher")(source));
            }
            if limits_memory && let Err(source) = out_of_memory::report_through(socket.as_fd()) {
                let _ = send_verdict(
                    socket.as_fd(),
                    Err(&format!("the worker cannot handle SIGABRT: {source}")),
                );
                return Err(ForkError::setup("handle SIGABRT")(source));
            }
            let told = send_verdict(socket.as_fd(), Ok(()));
            told.map_err(ForkError::setup("answer the parent"))?;
            Ok((end, what))
        }
        Err(why) => {
            // If the parent is gone, the caller alone gets the error.
            let _ = send_verdict(lifeline.socket.as_fd(), Err(&why));
            Err(ForkError::Handshake(why))
        }
    }
}

/// Receives the hello and the arguments, and makes the end. Also returns whether the worker has a
/// limit on memory.
fn prepare<T>(
    lifeline: &Lifeline,
    parent: Option<BorrowedFd<'_>>,
    ready: impl FnOnce(&Hello, &[u8]) -> Result<T, String>,
) -> Result<(Arc<End>, T, bool), String> {
    let hello = Hello::receive(lifeline, parent)
        .map_err(|e| format!("cannot read the parent's hello: {e}"))?;
    let (hello, segment) = hello.map_err(|unacceptable| unacceptable.to_string())?;
    // Received before all steps that can fail: the socket may not have space for the verdict until
    // the arguments are read.
    let arguments = match usize::try_from(hello.arguments) {
        Ok(0) => Vec::new(),
        Ok(length) if hello.arguments <= hello.max_message() => {
            arguments::receive(lifeline, parent, length)
                .map_err(|e| format!("cannot read the arguments of the worker function: {e}"))?
                .ok_or("the arguments of the worker function do not come")?
        }
        _ => return Err("the parent's hello makes no sense".to_owned()),
    };
    let region = segment.attach(hello.capacity).map_err(|error| match error {
        SegmentError::FeatureMissing(feature) => {
            format!("the worker was built without the feature `{feature}` of coprocess")
        }
        other => other.to_string(),
    })?;
    region
        .set_peer_liveness(parent, lifeline.socket.as_fd())
        .map_err(|e| format!("cannot copy a descriptor: {e}"))?;
    let what = ready(&hello, &arguments)?;
    hello.terminal_signals().apply();
    let end = End::new(&region, Side::Worker, hello.parent, hello.settings());
    Ok((end, what, hello.limits_memory()))
}

/// Takes the claim, which makes this process the worker.
fn take_claim(lifeline: &Lifeline) -> Result<(), ForkError> {
    let taken = handshake::take_claim(lifeline.socket.as_fd(), lifeline.nonce);
    let taken =
        taken.map_err(|e| ForkError::Handshake(format!("cannot read the parent's claim: {e}")))?;
    taken.map_err(|unacceptable| ForkError::Handshake(unacceptable.to_string()))
}

/// Attaches as [`attach`] does, but sends no answer, and does not watch the parent.
#[cfg(fuzzing)]
pub(crate) fn attach_unwatched(socket: OwnedFd) -> Result<Arc<End>, String> {
    let lifeline = Lifeline { socket, nonce: Nonce::from_bytes([0; 8]), child_of: None };
    take_claim(&lifeline).map_err(|refused| refused.to_string())?;
    prepare(&lifeline, None, |_, _| Ok(())).map(|(end, (), _)| end)
}
