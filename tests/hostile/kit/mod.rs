//! How a hostile program gets the segment, and talks to the other side: without the library, by a
//! description of the layout of its own.

pub(crate) mod lifeline;
pub(crate) mod memory;
pub(crate) mod random;
pub(crate) mod wire;

use std::time::{Duration, Instant};

use lifeline::Lifeline;
use memory::Memory;
use wire::{CALL, EVENT, Message, Reader, Writer};

/// A worker that has attached.
#[derive(Debug)]
pub(crate) struct Captive {
    pub(crate) lifeline: Lifeline,
    pub(crate) memory: Memory,
    /// Towards the parent.
    pub(crate) writer: Writer,
    /// From the parent.
    pub(crate) reader: Reader,
}

impl Captive {
    pub(crate) fn attached() -> Captive {
        let lifeline = Lifeline::from_environment();
        let memory = lifeline.attach();
        Captive { lifeline, memory, writer: Writer::new(memory, 1), reader: Reader::new(memory, 0) }
    }

    /// Answers each call with its arguments, and each event that wants one with a receipt, as an
    /// honest worker with one method would. Goes on for as long as told.
    pub(crate) fn be_honest(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Some(message) = self.reader.wait(deadline) {
            let Some(message) = Message::decode(&message) else { continue };
            match (message.kind, message.entry) {
                (CALL, _) => self.writer.message(&Message::answer(&message).encode()),
                (EVENT, 1..) => self.writer.message(&Message::receipt(message.entry).encode()),
                _ => continue,
            };
        }
    }

    /// Waits for the next call of the parent.
    pub(crate) fn call(&mut self) -> Message {
        loop {
            let message =
                self.reader.wait(Instant::now() + crate::common::LIMIT).expect("the parent calls");
            if let Some(call) = Message::decode(&message).filter(|message| message.kind == CALL) {
                return call;
            }
        }
    }
}

/// Waits until the parent ends this process.
pub(crate) fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
