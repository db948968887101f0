//! Messages that are kept until there is room for them, in the line of those that send: what they are, and how much memory they take.

use rustc_hash::FxHashSet;

use crate::calls::ids::EmissionId;
use crate::send::line::{Line, Next};
use crate::wire::header::CallId;
use crate::wire::message::Message;

/// A message that is sent once there is room, in its turn.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message<'static>,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Of a task. It need not be sent if it is not waited for any more.
    Call(CallId),
    /// Of a task, too.
    Event(EmissionId),
    Answer,
    /// What this end has a bound for by itself.
    Own,
}

impl Kind {
    /// Whether its task may give it up.
    fn is_of_task(self) -> bool {
        match self {
            Kind::Call(_) | Kind::Event(_) => true,
            Kind::Answer | Kind::Own => false,
        }
    }
}

/// Bytes of what tasks have kept before it is looked for what was given up.
const CLEAR_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Kept {
    /// These messages, and threads that wait for their turn.
    pub(crate) line: Line<Queued>,
    /// Those of tasks that were not given up.
    wanted: FxHashSet<Kind>,
    /// Bytes of memory for those of tasks, what was given up since it was last cleared out included, and when to do that again.
    task_bytes: usize,
    clear_at: usize,
    /// Messages of [`Kind::Own`], the one that is being sent included.
    own: usize,
}

impl Kept {
    pub(crate) fn new() -> Kept {
        Kept { line: Line::new(), wanted: FxHashSet::default(), task_bytes: 0, clear_at: CLEAR_BYTES, own: 0 }
    }

    /// Puts a message at the end of the line.
    pub(crate) fn push(&mut self, message: Message<'static>, kind: Kind) {
        match kind {
            Kind::Call(_) | Kind::Event(_) => {
                self.task_bytes = self.task_bytes.saturating_add(message.cost());
                self.wanted.insert(kind);
            }
            Kind::Own => self.own = self.own.saturating_add(1),
            Kind::Answer => {}
        }
        self.line.push(Queued { message, kind });
        // What was given up leaves its message behind; cleared out when that may be the most part.
        if self.task_bytes >= self.clear_at {
            self.clear_out();
        }
    }

    #[cold]
    fn clear_out(&mut self) {
        let Kept { line, wanted, .. } = self;
        line.retain_messages(|queued| !queued.kind.is_of_task() || wanted.contains(&queued.kind));
        let of_tasks = line.messages().filter(|queued| queued.kind.is_of_task());
        self.task_bytes = of_tasks.fold(0, |bytes: usize, queued| bytes.saturating_add(queued.message.cost()));
        self.clear_at = CLEAR_BYTES.max(self.task_bytes.saturating_mul(2));
    }

    /// Takes the first out of the line that is still to be sent.
    pub(crate) fn next(&mut self) -> Next<Queued> {
        loop {
            let next = self.line.next();
            if let Next::Message(Queued { message, kind }) = &next
                && kind.is_of_task()
            {
                self.task_bytes = self.task_bytes.saturating_sub(message.cost());
                if !self.wanted.remove(kind) {
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

    /// Gives up what is a task's. Returns whether it was there. Its message stays until its turn comes, or they are cleared out.
    pub(crate) fn give_up(&mut self, kind: Kind) -> bool {
        self.wanted.remove(&kind)
    }

    /// Forgets all, and lets the threads try.
    pub(crate) fn clear(&mut self) {
        self.line.clear();
        self.wanted.clear();
        self.task_bytes = 0;
        self.own = 0;
    }
}
