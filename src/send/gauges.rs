//! Keeps events of which only the latest value matters. At most one value is on the way. The next
//! value waits at this end, encoded.
//!
//! The ring cannot tell when the peer took a value. The peer publishes the position of its reader
//! now and then only, and a value that was taken may wait in the peer's process. So a gauge has a
//! number, which its events carry. Once the peer has handled or dropped such an event, it sends the
//! number back, as a receipt. The thread that receives the receipt sends the latest value, if there
//! is a later one.
//!
//! # What a change here must keep
//!
//! - A gauge decides under its own lock, and sends nothing. The caller sends the message that it
//!   gets, after the lock is free.
//! - In [`Flow::Idle`], one thread gets its value to send. While a value is on the way, further
//!   values are held.
//! - A held value is replaced by a later one, or is returned once: by [`Gauge::receipt`],
//!   [`Gauge::sent`] or [`Gauge::close`].

use std::fmt;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::sync::lock;
use crate::wire::header::{Header, Subject};
use crate::wire::message::{KEEP_WORDS, Message};

/// Holds the gauges of an end.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_name: FxHashMap<Arc<str>, Arc<Gauge>>,
    /// The gauge with the number n is at n - 1.
    by_number: Vec<Arc<Gauge>>,
    /// `true` once this end closes: new gauges hold no values.
    closing: bool,
}

/// Keeps the latest value of one event.
pub(crate) struct Gauge {
    name: Arc<str>,
    /// Not zero. Zero stands in events that want no receipt.
    number: u32,
    state: Mutex<GaugeState>,
}

#[derive(Default)]
struct GaugeState {
    flow: Flow,
    /// The bytes of the held value in the first buffer. `None` if no value is held. The held value
    /// is the latest one, while a former value is on the way.
    held: Option<usize>,
    /// The buffer of the held value, and a spare one. Reused: values come and go by the thousand.
    buffers: [Vec<u64>; 2],
}

/// Says what is on the way to the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// No value is on the way.
    #[default]
    Idle,
    /// The thread that set this state is about to send a value. The held value comes after that
    /// value.
    Sending,
    /// A value is on the way, and its receipt is awaited.
    Awaiting,
    /// This end closes. Receipts are not awaited any more.
    Closing,
}

/// Says what becomes of a new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The caller sends the value, and then says that the value is [sent](Gauge::sent).
    Send,
    /// The value is held until the former value was handled. `has_replaced` is `true` if it has
    /// replaced a value that was held.
    Held { has_replaced: bool },
    /// The value should be held, and a thread must dispatch at this end first.
    NeedsDriver,
}

/// Reports a receipt that no value waits for. No honest peer sends such a receipt.
#[derive(Debug)]
pub(crate) struct NotAwaited;

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("name", &self.name)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Gauges {
    /// Returns the gauge of an event. Each name has one gauge.
    pub(crate) fn get(&self, name: &Arc<str>) -> Arc<Gauge> {
        let mut table = lock(&self.table);
        if let Some(gauge) = table.by_name.get(name) {
            return gauge.clone();
        }
        let flow = if table.closing { Flow::Closing } else { Flow::Idle };
        // More than four thousand million names do not fit into memory.
        let number = u32::try_from(table.by_number.len()).unwrap_or(u32::MAX).saturating_add(1);
        let gauge = Arc::new(Gauge {
            name: name.clone(),
            number,
            state: Mutex::new(GaugeState { flow, ..GaugeState::default() }),
        });
        table.by_number.push(gauge.clone());
        table.by_name.insert(name.clone(), gauge.clone());
        gauge
    }

    /// Returns the gauge with this number, which the peer may have made up.
    pub(crate) fn by_number(&self, number: u32) -> Option<Arc<Gauge>> {
        lock(&self.table).by_number.get(number.checked_sub(1)? as usize).cloned()
    }

    /// Makes new gauges send their values at once. Returns the gauges that exist, for the caller to
    /// close. Returns none if this was called before.
    pub(crate) fn close(&self) -> Vec<Arc<Gauge>> {
        let mut table = lock(&self.table);
        if std::mem::replace(&mut table.closing, true) {
            Vec::new()
        } else {
            table.by_number.clone()
        }
    }
}

impl Gauge {
    /// Returns the header of an event that asks for a receipt.
    pub(crate) fn header<'m>(&self, subject: Subject<'m>) -> Header<'m> {
        Header::Gauge(self.number, subject)
    }

    /// Decides what becomes of a new value, and keeps a copy if the value is held.
    ///
    /// `may_hold` is `true` if a thread dispatches at this end. That thread receives the receipt
    /// that a held value waits for.
    pub(crate) fn offer(&self, message: &Message<'_>, may_hold: bool) -> Offered {
        let mut state = lock(&self.state);
        match state.flow {
            Flow::Sending | Flow::Awaiting if may_hold => {
                Offered::Held { has_replaced: state.hold(message) }
            }
            Flow::Sending | Flow::Awaiting => Offered::NeedsDriver,
            Flow::Idle => {
                state.flow = Flow::Sending;
                Offered::Send
            }
            Flow::Closing => Offered::Send,
        }
    }

    /// Notes that a value was sent. Returns a held value that the caller sends behind the sent
    /// value.
    pub(crate) fn sent(&self) -> Option<Message<'static>> {
        let mut state = lock(&self.state);
        match state.flow {
            // The receipt has not come yet.
            Flow::Sending => {
                state.flow = Flow::Awaiting;
                None
            }
            // This end has begun to close meanwhile. The closing thread has left the held value to
            // this thread.
            Flow::Closing => state.take(),
            // The receipt has come already.
            Flow::Idle | Flow::Awaiting => None,
        }
    }

    /// Notes that the value on the way was handled. Returns the held value, which the caller sends
    /// now.
    ///
    /// # Errors
    ///
    /// [`NotAwaited`] if no value was on the way.
    pub(crate) fn receipt(&self) -> Result<Option<Message<'static>>, NotAwaited> {
        let mut state = lock(&self.state);
        match state.flow {
            Flow::Idle => return Err(NotAwaited),
            Flow::Closing => return Ok(None),
            Flow::Sending | Flow::Awaiting => {}
        }
        let held = state.take();
        state.flow = if held.is_some() { Flow::Awaiting } else { Flow::Idle };
        Ok(held)
    }

    /// Stops the wait for receipts. Returns the held value, which the caller sends now.
    pub(crate) fn close(&self) -> Option<Message<'static>> {
        let mut state = lock(&self.state);
        // A thread that is about to send a value sends the held one behind it.
        let is_ours = std::mem::replace(&mut state.flow, Flow::Closing) != Flow::Sending;
        if is_ours { state.take() } else { None }
    }

    /// Takes back the buffer of a held value that was sent, for the next value.
    pub(crate) fn reuse(&self, mut message: Message<'static>) {
        let words = std::mem::take(&mut message.spilled);
        if words.capacity() <= KEEP_WORDS {
            let [_, spare] = &mut lock(&self.state).buffers;
            *spare = words;
        }
    }
}

impl GaugeState {
    /// Holds a copy of a message. Returns `true` if the copy has replaced another value.
    fn hold(&mut self, message: &Message<'_>) -> bool {
        let [held, _] = &mut self.buffers;
        message.copy_to(held);
        self.held.replace(message.bytes()).is_some()
    }

    /// Takes the held value.
    fn take(&mut self) -> Option<Message<'static>> {
        let bytes = self.held.take()?;
        let [held, spare] = &mut self.buffers;
        if held.capacity() <= KEEP_WORDS {
            // The spare buffer gets its memory now, the first time, rather than in the midst of a
            // steady stream.
            spare.clear();
            spare.reserve_exact(held.len());
        }
        let spilled = std::mem::replace(held, std::mem::take(spare));
        Some(Message { spilled, bytes, ..Message::new() })
    }
}
