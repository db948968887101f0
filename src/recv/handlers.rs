//! Defines handlers, and how they are registered. `E` is the end that a handler answers through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::recv::registry;
use crate::types::payload::Payload;
use crate::wire::deserializer::DecodeError;
use crate::wire::header::CallId;

/// Holds all handlers of an end, at one moment.
pub(crate) type Handlers<E> = registry::Handlers<Listener, Server<E>>;
/// Holds the registered handlers.
pub(crate) type Registry<E> = registry::Registry<Listener, Server<E>>;
/// Holds the handlers as a dispatching thread last saw them.
pub(crate) type Snapshot<E> = registry::Snapshot<Listener, Server<E>>;

/// Describes a call of the peer.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) id: CallId,
    pub(crate) method: &'a str,
    pub(crate) args: Payload<'a>,
    /// `true` if the answer is to tell the kinds of its result.
    pub(crate) asks: bool,
}

/// Reads the value of an event and handles the event.
pub(crate) type Listen = dyn Fn(Payload<'_>) -> Result<(), DecodeError> + Send + Sync;

/// Reads the arguments of a call, handles the call and sends the answer, now or later.
///
/// If the arguments cannot be read, nothing else happens.
pub(crate) type Serve<E> = dyn Fn(&Arc<E>, &Incoming<'_>) -> Result<(), DecodeError> + Send + Sync;

/// Handles an event.
#[derive(Clone)]
pub(crate) struct Listener {
    /// A number that no other handler of this process has.
    pub(crate) id: u64,
    pub(crate) listen: Arc<Listen>,
}

/// Serves a method.
pub(crate) struct Server<E> {
    /// A number that no other handler of this process has.
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) serve: Arc<Serve<E>>,
}

/// Returns a number for a new handler. Zero stands for no handler.
fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Relaxed: a number.
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
}

impl<E> Clone for Server<E> {
    fn clone(&self) -> Server<E> {
        Server { id: self.id, name: self.name.clone(), serve: self.serve.clone() }
    }
}

impl<E> Handlers<E> {
    /// Adds or replaces the handler of an event.
    pub(crate) fn listen(
        &mut self,
        event: &str,
        listen: impl Fn(Payload<'_>) -> Result<(), DecodeError> + Send + Sync + 'static,
    ) {
        self.events.insert(event, Listener { id: next_id(), listen: Arc::new(listen) });
    }

    /// Adds or replaces the handler of a method.
    pub(crate) fn serve(
        &mut self,
        method: &str,
        serve: impl Fn(&Arc<E>, &Incoming<'_>) -> Result<(), DecodeError> + Send + Sync + 'static,
    ) {
        self.methods
            .insert(method, Server { id: next_id(), name: method.into(), serve: Arc::new(serve) });
    }

    /// Adds or replaces all handlers of another table.
    #[cfg(feature = "interface")]
    pub(crate) fn extend(&mut self, others: &Handlers<E>) {
        self.events.extend(&others.events);
        self.methods.extend(&others.methods);
    }
}
