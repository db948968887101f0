//! Events of which only the latest value matters: at most one is on the way, and the next one waits on this side, encoded.
//!
//! The ring cannot tell when a value was taken: the position of its reader is published now and then, and what was taken may wait in the
//! reader's process. So a gauge numbers its events, and the other end sends that number back, as a receipt, once such an event was handled, or
//! dropped. The thread that receives the receipt sends the latest value, if there is a later one.

use std::fmt;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::sync::lock;
use crate::wire::header::{Header, Subject};
use crate::wire::message::{KEEP_WORDS, Message};

/// The gauges of an end.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_name: FxHashMap<Arc<str>, Arc<Gauge>>,
    /// The gauge with the number n is at n - 1.
    by_number: Vec<Arc<Gauge>>,
    closing: bool,
}

/// One event, of which the latest value is kept.
pub(crate) struct Gauge {
    name: Arc<str>,
    /// Not zero: that stands in events that want no receipt.
    number: u32,
    state: Mutex<GaugeState>,
}

#[derive(Default)]
struct GaugeState {
    flow: Flow,
    /// The latest value, while a former one is on the way: how many bytes there are of it in the first buffer.
    held: Option<usize>,
    /// Reused: values come and go by the thousand.
    buffers: [Vec<u64>; 2],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing is on the way.
    #[default]
    Idle,
    /// Who has made it so is about to send a value. What is held comes after it.
    Sending,
    /// A value is, and its receipt is awaited.
    Awaiting,
    /// This end closes: receipts are not awaited any more.
    Closing,
}

/// What becomes of a new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The caller sends it, and then says that it is [sent](Gauge::sent).
    Send,
    /// It is kept until the former value was handled.
    Held { has_replaced: bool },
    /// It is to be kept, and a thread must dispatch first.
    NeedsDispatcher,
}

/// A receipt came that no value waits for: no honest peer sends it.
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
    /// The gauge of an event: one for each name.
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

    pub(crate) fn by_number(&self, number: u32) -> Option<Arc<Gauge>> {
        lock(&self.table).by_number.get(number.checked_sub(1)? as usize).cloned()
    }

    /// From now on values are sent at once. Returns the gauges, unless that was so before.
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
    pub(crate) fn header<'m>(&self, subject: Subject<'m>) -> Header<'m> {
        Header::Gauge(self.number, subject)
    }

    /// Decides what becomes of a new value. `may_hold`: whether a thread dispatches at this end, which
    /// receives the receipt that a held value waits for.
    pub(crate) fn offer(&self, message: &Message<'_>, may_hold: bool) -> Offered {
        let mut state = lock(&self.state);
        match state.flow {
            Flow::Sending | Flow::Awaiting if may_hold => {
                Offered::Held { has_replaced: state.hold(message) }
            }
            Flow::Sending | Flow::Awaiting => Offered::NeedsDispatcher,
            Flow::Idle => {
                state.flow = Flow::Sending;
                Offered::Send
            }
            Flow::Closing => Offered::Send,
        }
    }

    /// Notes that a value was sent. Returns a held value that is to be sent behind it.
    pub(crate) fn sent(&self) -> Option<Message<'static>> {
        let mut state = lock(&self.state);
        match state.flow {
            // Unless the receipt was there already.
            Flow::Sending => {
                state.flow = Flow::Awaiting;
                None
            }
            // This end has begun to close meanwhile, and has left the held value to this thread.
            Flow::Closing => state.take(),
            Flow::Idle | Flow::Awaiting => None,
        }
    }

    /// Notes that the value on the way was handled. Returns the held value, which is to be sent now.
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

    /// Stops waiting for receipts. Returns the held value, which is to be sent now.
    pub(crate) fn close(&self) -> Option<Message<'static>> {
        let mut state = lock(&self.state);
        // A thread that is about to send a value sends the held one behind it.
        let is_ours = std::mem::replace(&mut state.flow, Flow::Closing) != Flow::Sending;
        if is_ours { state.take() } else { None }
    }

    /// Takes the buffer of a held value that was sent, for the next one.
    pub(crate) fn reuse(&self, mut message: Message<'static>) {
        let words = std::mem::take(&mut message.spilled);
        if words.capacity() <= KEEP_WORDS {
            let [_, spare] = &mut lock(&self.state).buffers;
            *spare = words;
        }
    }
}

impl GaugeState {
    /// Keeps a copy of a message. Returns whether it has replaced another.
    fn hold(&mut self, message: &Message<'_>) -> bool {
        let [held, _] = &mut self.buffers;
        message.copy_to(held);
        self.held.replace(message.bytes()).is_some()
    }

    /// The message that is held.
    fn take(&mut self) -> Option<Message<'static>> {
        let bytes = self.held.take()?;
        let [held, spare] = &mut self.buffers;
        if held.capacity() <= KEEP_WORDS {
            // Now, the first time, rather than in the midst of a steady stream.
            spare.clear();
            spare.reserve_exact(held.len());
        }
        let spilled = std::mem::replace(held, std::mem::take(spare));
        Some(Message { spilled, bytes, ..Message::new() })
    }
}
