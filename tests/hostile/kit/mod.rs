//! How a hostile program gets hold of the segment, and talks to the other side: without the library, by a picture of its own.

pub(crate) mod lifeline;
pub(crate) mod memory;
pub(crate) mod random;
pub(crate) mod wire;

use std::time::{Duration, Instant};

use lifeline::Lifeline;
use memory::Memory;
use wire::{CALL, EVENT, Envelope, Reader, Writer};

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

    /// Answers each call with its arguments, and each event that wants it with a receipt, for so long, as an honest worker would that has one method.
    pub(crate) fn be_honest(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Some(message) = self.reader.wait(deadline) {
            let Some(envelope) = Envelope::decode(&message) else { continue };
            match (envelope.kind, envelope.entry) {
                (CALL, _) => self.writer.message(&Envelope::answer(&envelope).encode()),
                (EVENT, 1..) => self.writer.message(&Envelope::receipt(envelope.entry).encode()),
                _ => continue,
            };
        }
    }

    /// The next call of the parent.
    pub(crate) fn call(&mut self) -> Envelope {
        loop {
            let message =
                self.reader.wait(Instant::now() + crate::common::LIMIT).expect("the parent calls");
            if let Some(call) = Envelope::decode(&message).filter(|envelope| envelope.kind == CALL)
            {
                return call;
            }
        }
    }
}

/// Until the parent ends this process.
pub(crate) fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
