//! Events of which only the latest value matters: at most one is on the way, and the next one waits on this side, encoded.
//!
//! The ring cannot tell when a value was taken: the position of its reader is published now and then, and what was taken may wait in the
//! reader's process. So a gauge numbers its events, and the other end sends that number back, as a receipt, once such an event was handled, or
//! dropped. The thread that receives the receipt sends the latest value, if there is a later one.

use std::fmt;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::end::End;
use crate::envelope::{Head, KEEP_WORDS, Message, Subject};
use crate::error::Step;
use crate::outbox::Patience;
use crate::stats::Counters;
use crate::sync::lock;

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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    flow: Flow,
    /// The latest value, while a former one is on the way: how many bytes there are of it in the first buffer.
    held: Option<usize>,
    /// Reused: values come and go by the thousand.
    buffers: [Vec<u64>; 2],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Flow {
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

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").field("name", &self.name).field("number", &self.number).finish_non_exhaustive()
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
        let gauge = Arc::new(Gauge { name: name.clone(), number, state: Mutex::new(State { flow, ..State::default() }) });
        table.by_number.push(gauge.clone());
        table.by_name.insert(name.clone(), gauge.clone());
        gauge
    }

    fn by_number(&self, number: u32) -> Option<Arc<Gauge>> {
        lock(&self.table).by_number.get(number.checked_sub(1)? as usize).cloned()
    }

    /// From now on values are sent at once. Returns the gauges, unless that was so before.
    fn close(&self) -> Vec<Arc<Gauge>> {
        let mut table = lock(&self.table);
        if std::mem::replace(&mut table.closing, true) { Vec::new() } else { table.by_number.clone() }
    }
}

impl Gauge {
    pub(crate) fn head<'m>(&self, subject: Subject<'m>) -> Head<'m> {
        Head::Gauge(self.number, subject)
    }

    /// Sends a value, or keeps it until the former was handled. Does not wait.
    pub(crate) fn emit(&self, end: &Arc<End>, message: &mut Message<'_>) -> Step<()> {
        let mut somebody_dispatches = false;
        loop {
            end.check_open()?;
            let mut state = lock(&self.state);
            if matches!(state.flow, Flow::Sending | Flow::Awaiting) {
                if somebody_dispatches {
                    let replaced = state.hold(message);
                    drop(state);
                    if replaced {
                        Counters::add(&end.counters.events_replaced);
                    }
                    return Ok(());
                }
                drop(state);
                // Else the receipt is not received, if no thread of the program waits in this end and this value is the last one.
                end.need_background()?;
                somebody_dispatches = true;
                continue;
            }
            if state.flow == Flow::Idle {
                state.flow = Flow::Sending;
            }
            drop(state);
            // If this fails, the pair is over.
            let sent = end.outbox.send(end, message, Patience::Own);
            self.sent(end);
            return sent;
        }
    }

    /// The first value is on its way.
    fn sent(&self, end: &Arc<End>) {
        let held = {
            let mut state = lock(&self.state);
            match state.flow {
                // Unless the receipt was there already.
                Flow::Sending => {
                    state.flow = Flow::Awaiting;
                    None
                }
                // This end has begun to close meanwhile, and has left what is held to us.
                Flow::Closing => state.take(),
                Flow::Idle | Flow::Awaiting => None,
            }
        };
        if let Some(message) = held {
            self.send(end, message);
        }
    }

    /// The value that was on the way was handled. Returns whether there was one.
    fn receipt(&self, end: &Arc<End>) -> bool {
        let mut state = lock(&self.state);
        match state.flow {
            Flow::Idle => return false,
            Flow::Closing => return true,
            Flow::Sending | Flow::Awaiting => {}
        }
        match state.take() {
            None => state.flow = Flow::Idle,
            Some(message) => {
                state.flow = Flow::Awaiting;
                drop(state);
                self.send(end, message);
            }
        }
        true
    }

    /// Sends what was held.
    fn send(&self, end: &Arc<End>, mut message: Message<'static>) {
        // If this fails, the pair is over.
        let _ = end.outbox.send(end, &mut message, Patience::Own);
        let words = std::mem::take(&mut message.spilled);
        if words.capacity() <= KEEP_WORDS {
            let [_, spare] = &mut lock(&self.state).buffers;
            *spare = words;
        }
    }
}

impl State {
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

impl End {
    /// Receives the receipt for an event of a gauge.
    #[cold]
    pub(crate) fn take_receipt(self: &Arc<Self>, number: u32) -> Step<()> {
        match self.gauges.by_number(number) {
            Some(gauge) if gauge.receipt(self) => Ok(()),
            _ => Err(self.nonsense().into()),
        }
    }

    /// Sends the receipt for an event, if there is still somebody who awaits it.
    #[cold]
    pub(crate) fn send_receipt(self: &Arc<Self>, number: u32) -> Step<()> {
        let mut message = Message::new();
        message.encode(Head::Receipt(number), &(), usize::MAX, "")?;
        let sent = self.outbox.send(self, &mut message, Patience::Answer);
        debug_assert!(sent.is_ok() || self.check_open().is_err(), "a receipt fails only if the pair is over: {sent:?}");
        Ok(())
    }

    /// Sends what the gauges hold, before this end closes.
    pub(crate) fn flush_gauges(self: &Arc<Self>) {
        for gauge in self.gauges.close() {
            let held = {
                let mut state = lock(&gauge.state);
                // Whoever is about to send a value sends what is held after it.
                let is_ours = std::mem::replace(&mut state.flow, Flow::Closing) != Flow::Sending;
                if is_ours { state.take() } else { None }
            };
            if let Some(message) = held {
                gauge.send(self, message);
            }
        }
    }
}
