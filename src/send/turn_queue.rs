//! Keeps queued messages and waiting threads in the order in which they came, while not all senders
//! can send.
//!
//! While no message is queued, there is no order to keep. All waiting threads may try, beside any
//! thread that comes. If the turn were handed from thread to thread, each message would cost a
//! switch of threads.
//!
//! The lock of the outbox protects the queue. A thread that the queue has called is no entry any
//! more: its ticket is in `called` until the thread takes its turn.

use std::collections::VecDeque;

/// Identifies a waiting thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Waits for its turn.
#[derive(Debug)]
enum Entry<M> {
    Message(M),
    Thread(Ticket),
}

/// Says what the queue has next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<M> {
    /// A queued message, which the caller sends.
    Message(M),
    /// A waiting thread. The queue has called the thread, which finds that out by its ticket.
    Thread,
    /// Nothing in particular: no message is queued, and each waiting thread may try.
    Anything,
}

/// Holds queued messages and waiting threads, first come first served.
#[derive(Debug)]
pub(crate) struct TurnQueue<M> {
    entries: VecDeque<Entry<M>>,
    /// The number of entries that are messages.
    messages: usize,
    /// The number of tickets that were issued.
    issued: u64,
    /// Tickets below this number are not in the queue any more.
    valid_from: u64,
    /// The thread whose turn it is, until the thread has noticed.
    called: Option<Ticket>,
}

impl<M> TurnQueue<M> {
    pub(crate) fn new() -> TurnQueue<M> {
        TurnQueue { entries: VecDeque::new(), messages: 0, issued: 0, valid_from: 0, called: None }
    }

    /// Adds a message at the end of the queue.
    pub(crate) fn push(&mut self, message: M) {
        self.entries.push_back(Entry::Message(message));
        self.messages = self.messages.saturating_add(1);
    }

    /// Adds a waiting thread at the end of the queue. Returns the ticket of the thread.
    pub(crate) fn enter(&mut self) -> Ticket {
        let ticket = Ticket(self.issued);
        self.issued = self.issued.wrapping_add(1);
        self.entries.push_back(Entry::Thread(ticket));
        ticket
    }

    /// Returns `true` if the thread with this ticket is in the queue, or was called.
    pub(crate) fn knows(&self, ticket: Ticket) -> bool {
        ticket.0 >= self.valid_from
    }

    /// Returns `true`, once, if the thread with this ticket was called: the thread has the turn.
    pub(crate) fn answer_call(&mut self, ticket: Ticket) -> bool {
        let is_called = self.called == Some(ticket);
        if is_called {
            self.called = None;
        }
        is_called
    }

    /// Removes a waiting thread, if it is in the queue.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.entries.retain(|entry| !matches!(entry, Entry::Thread(other) if *other == ticket));
    }

    /// Returns `true` if the first entry is a message.
    pub(crate) fn is_message_next(&self) -> bool {
        matches!(self.entries.front(), Some(Entry::Message(_)))
    }

    /// Takes the first entry out of the queue. If no message is queued, takes all entries out.
    pub(crate) fn next(&mut self) -> Next<M> {
        if self.messages == 0 {
            self.clear();
            return Next::Anything;
        }
        match self.entries.pop_front() {
            Some(Entry::Message(message)) => {
                self.messages = self.messages.saturating_sub(1);
                Next::Message(message)
            }
            Some(Entry::Thread(ticket)) => {
                self.called = Some(ticket);
                Next::Thread
            }
            None => Next::Anything,
        }
    }

    /// Returns the queued messages, in order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &M> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Message(message) => Some(message),
            Entry::Thread(_) => None,
        })
    }

    /// Removes the messages for which `keep` returns `false`. Waiting threads stay.
    pub(crate) fn retain_messages(&mut self, keep: impl Fn(&M) -> bool) {
        self.entries.retain(|entry| !matches!(entry, Entry::Message(message) if !keep(message)));
        self.messages = self.messages().count();
    }

    /// Removes all entries. Each waiting thread may try.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.messages = 0;
        self.valid_from = self.issued;
        self.called = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served() {
        let mut queue = TurnQueue::new();
        queue.push('a');
        let one = queue.enter();
        queue.push('b');
        let two = queue.enter();
        queue.push('c');
        assert!(queue.is_message_next());
        assert_eq!(queue.next(), Next::Message('a'));
        assert!(!queue.is_message_next());
        assert_eq!(queue.next(), Next::Thread);
        assert!(
            queue.knows(one)
                && !queue.answer_call(two)
                && queue.answer_call(one)
                && !queue.answer_call(one),
            "it is called once"
        );
        assert_eq!(queue.next(), Next::Message('b'));
        queue.leave(two);
        assert_eq!((queue.next(), queue.next()), (Next::Message('c'), Next::Anything));
    }

    #[test]
    fn threads_alone_need_no_order() {
        let mut queue = TurnQueue::<u8>::new();
        let (one, two) = (queue.enter(), queue.enter());
        assert!(queue.knows(one) && queue.knows(two));
        assert_eq!(queue.next(), Next::Anything);
        assert!(
            !queue.knows(one) && !queue.knows(two),
            "they take new places if they must wait again"
        );
        let again = queue.enter();
        queue.push(7);
        assert!(queue.knows(again));
        assert_eq!(queue.next(), Next::Thread);
        assert!(queue.answer_call(again));
        // The thread is not in the queue any more.
        queue.leave(one);
        assert_eq!((queue.next(), queue.next()), (Next::Message(7), Next::Anything));
    }

    #[test]
    fn messages_go_and_threads_stay() {
        let mut queue = TurnQueue::new();
        for message in 0..10 {
            queue.push(message);
        }
        let ticket = queue.enter();
        queue.retain_messages(|message| message % 4 == 0);
        assert_eq!(queue.messages().copied().collect::<Vec<_>>(), [0, 4, 8]);
        queue.retain_messages(|_| false);
        assert_eq!(queue.next(), Next::Anything);
        assert!(!queue.knows(ticket));
    }
}
