//! Messages that are kept until there is room for them, in the line of those that send: what they are, and how much memory they take.

use rustc_hash::FxHashSet;

use crate::envelope::{CallId, Message};
use crate::line::{Line, Next};

/// A message that is sent once there is room, in its turn.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message<'static>,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a task. It need not be sent if it is not waited for any more.
    Call(CallId),
    Answer,
    /// What this end has a bound for by itself.
    Own,
}

/// Bytes of kept calls before it is looked for those that were given up.
const CLEAR_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Kept {
    /// These messages, and threads that wait for their turn.
    pub(crate) line: Line<Queued>,
    /// The calls among them that were not given up.
    calls: FxHashSet<CallId>,
    /// Bytes of memory for calls, those that were given up since they were last cleared out included, and when to do that again.
    call_bytes: usize,
    clear_at: usize,
    /// Messages of [`Kind::Own`], the one that is being sent included.
    own: usize,
}

impl Kept {
    pub(crate) fn new() -> Kept {
        Kept { line: Line::new(), calls: FxHashSet::default(), call_bytes: 0, clear_at: CLEAR_BYTES, own: 0 }
    }

    /// Puts a message at the end of the line.
    pub(crate) fn push(&mut self, message: Message<'static>, kind: Kind) {
        match kind {
            Kind::Call(id) => {
                self.call_bytes = self.call_bytes.saturating_add(message.cost());
                self.calls.insert(id);
            }
            Kind::Own => self.own = self.own.saturating_add(1),
            Kind::Answer => {}
        }
        self.line.push(Queued { message, kind });
        // Calls that were given up leave their messages behind; cleared out when they may be the most part.
        if self.call_bytes >= self.clear_at {
            self.clear_out();
        }
    }

    #[cold]
    fn clear_out(&mut self) {
        let Kept { line, calls, .. } = self;
        line.retain_messages(|queued| !matches!(queued.kind, Kind::Call(id) if !calls.contains(&id)));
        let of_calls = line.messages().filter(|queued| matches!(queued.kind, Kind::Call(_)));
        self.call_bytes = of_calls.fold(0, |bytes: usize, queued| bytes.saturating_add(queued.message.cost()));
        self.clear_at = CLEAR_BYTES.max(self.call_bytes.saturating_mul(2));
    }

    /// Takes the first out of the line that is still to be sent.
    pub(crate) fn next(&mut self) -> Next<Queued> {
        loop {
            let next = self.line.next();
            if let Next::Message(Queued { message, kind: Kind::Call(id) }) = &next {
                self.call_bytes = self.call_bytes.saturating_sub(message.cost());
                if !self.calls.remove(id) {
                    continue;
                }
            }
            return next;
        }
    }

    /// A message of [`Kind::Own`] was sent.
    pub(crate) fn sent_own(&mut self) {
        self.own = self.own.saturating_sub(1);
    }

    pub(crate) fn has_own(&self) -> bool {
        self.own > 0
    }

    /// Gives up the call of a task. Returns whether it was there. Its message stays until its turn comes, or they are cleared out.
    pub(crate) fn give_up(&mut self, id: CallId) -> bool {
        self.calls.remove(&id)
    }

    /// Forgets all, and lets the threads try.
    pub(crate) fn clear(&mut self) {
        self.line.clear();
        self.calls.clear();
        self.call_bytes = 0;
        self.own = 0;
    }
}
