//! Sends the values of gauges, and the receipts for them.
//!
//! A gauge has at most one value on its way, until this end closes. The next value is held until
//! the peer has handled the former, which the receipt says. The [`Gauge`] decides what is held and
//! what is sent, under its own lock. This file does what the gauge decided, after that lock is
//! released.
//!
//! A value or receipt never waits for space: it is queued. [`take_receipt`](End::take_receipt) and
//! [`send_receipt`](End::send_receipt) are for the leader, which must go on.

use std::sync::Arc;

use crate::end::End;
use crate::error::Step;
use crate::send::gauges::{Gauge, Offered};
use crate::send::outbox::WhenFull;
use crate::send::send_queue::Quota;
use crate::stats::Counters;
use crate::wire::header::Header;
use crate::wire::message::Message;

impl End {
    /// Sends a value of a gauge, or holds it until the former value was handled. Does not wait.
    pub(crate) fn emit_gauge(
        self: &Arc<Self>,
        gauge: &Gauge,
        message: &mut Message<'_>,
    ) -> Step<()> {
        let mut has_driver = false;
        loop {
            self.check_open()?;
            match gauge.offer(message, has_driver) {
                Offered::Held { has_replaced } => {
                    if has_replaced {
                        Counters::add(&self.counters.events_replaced);
                    }
                    return Ok(());
                }
                Offered::NeedsDriver => {
                    // The receipt must be received even if no thread of the program waits in this
                    // end and this value is the last one.
                    self.ensure_driver()?;
                    has_driver = true;
                }
                Offered::Send => {
                    // If this fails, the pair is over.
                    let sent = self.send(message, WhenFull::Queue(Quota::Own));
                    self.send_held(gauge, gauge.sent());
                    return sent;
                }
            }
        }
    }

    /// Sends a value that a gauge has held.
    fn send_held(self: &Arc<Self>, gauge: &Gauge, held: Option<Message<'static>>) {
        let Some(mut message) = held else { return };
        // If this fails, the pair is over.
        let _ = self.send(&mut message, WhenFull::Queue(Quota::Own));
        gauge.reuse(message);
    }

    /// Receives the receipt for a value of a gauge.
    #[cold]
    pub(crate) fn take_receipt(self: &Arc<Self>, number: u32) -> Step<()> {
        let Some(gauge) = self.gauges.by_number(number) else {
            return Err(self.protocol_violation().into());
        };
        match gauge.receipt() {
            Ok(held) => {
                self.send_held(&gauge, held);
                Ok(())
            }
            Err(_) => Err(self.protocol_violation().into()),
        }
    }

    /// Sends the receipt for a value of a gauge, if the peer still waits for receipts.
    #[cold]
    pub(crate) fn send_receipt(self: &Arc<Self>, number: u32) -> Step<()> {
        let mut message = Message::new();
        message.encode(Header::Receipt(number), &(), usize::MAX, "")?;
        let sent = self.send(&mut message, WhenFull::Queue(Quota::Answers));
        debug_assert!(
            sent.is_ok() || self.check_open().is_err(),
            "a receipt fails only if the pair is over: {sent:?}"
        );
        Ok(())
    }

    /// Sends what the gauges hold, before this end closes.
    pub(crate) fn flush_gauges(self: &Arc<Self>) {
        for gauge in self.gauges.close() {
            let held = gauge.close();
            self.send_held(&gauge, held);
        }
    }
}
