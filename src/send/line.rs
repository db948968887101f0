//! Who sends next where not all can at once: messages that are kept, and threads that wait, first come, first served.
//!
//! Once no messages are among them, there is no order to keep, and the threads may all try, beside any that comes: handing the turn from thread to thread would
//! cost a change of threads for each message.

use std::collections::VecDeque;

/// A thread's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
enum Place<M> {
    Message(M),
    Thread(Ticket),
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<M> {
    Message(M),
    /// A thread that waits, and will find that it is called.
    Thread,
    /// Nobody's: no message is kept, and the threads that wait may all try.
    Anybody,
}

#[derive(Debug)]
pub(crate) struct Line<M> {
    places: VecDeque<Place<M>>,
    /// How many of them are messages.
    messages: usize,
    issued: u64,
    /// Tickets below this are not in the line any more.
    valid_from: u64,
    called: Option<Ticket>,
}

impl<M> Line<M> {
    pub(crate) fn new() -> Line<M> {
        Line { places: VecDeque::new(), messages: 0, issued: 0, valid_from: 0, called: None }
    }

    pub(crate) fn push(&mut self, message: M) {
        self.places.push_back(Place::Message(message));
        self.messages = self.messages.saturating_add(1);
    }

    /// Takes a place for a thread.
    pub(crate) fn enter(&mut self) -> Ticket {
        let ticket = Ticket(self.issued);
        self.issued = self.issued.wrapping_add(1);
        self.places.push_back(Place::Thread(ticket));
        ticket
    }

    /// Whether a thread still has its place, or was called.
    pub(crate) fn knows(&self, ticket: Ticket) -> bool {
        ticket.0 >= self.valid_from
    }

    /// Whether it is this thread's turn; it was called, and has come.
    pub(crate) fn come(&mut self, ticket: Ticket) -> bool {
        let is_called = self.called == Some(ticket);
        if is_called {
            self.called = None;
        }
        is_called
    }

    /// Gives a thread's place up.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.places.retain(|place| !matches!(place, Place::Thread(other) if *other == ticket));
    }

    pub(crate) fn is_message_next(&self) -> bool {
        matches!(self.places.front(), Some(Place::Message(_)))
    }

    /// Takes the first out of the line.
    pub(crate) fn next(&mut self) -> Next<M> {
        if self.messages == 0 {
            self.clear();
            return Next::Anybody;
        }
        match self.places.pop_front() {
            Some(Place::Message(message)) => {
                self.messages = self.messages.saturating_sub(1);
                Next::Message(message)
            }
            Some(Place::Thread(ticket)) => {
                self.called = Some(ticket);
                Next::Thread
            }
            None => Next::Anybody,
        }
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &M> {
        self.places.iter().filter_map(|place| match place {
            Place::Message(message) => Some(message),
            Place::Thread(_) => None,
        })
    }

    pub(crate) fn retain_messages(&mut self, keep: impl Fn(&M) -> bool) {
        self.places.retain(|place| !matches!(place, Place::Message(message) if !keep(message)));
        self.messages = self.messages().count();
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
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
        let mut line = Line::new();
        line.push('a');
        let one = line.enter();
        line.push('b');
        let two = line.enter();
        line.push('c');
        assert!(line.is_message_next());
        assert_eq!(line.next(), Next::Message('a'));
        assert!(!line.is_message_next());
        assert_eq!(line.next(), Next::Thread);
        assert!(line.knows(one) && !line.come(two) && line.come(one) && !line.come(one), "it is called once");
        assert_eq!(line.next(), Next::Message('b'));
        line.leave(two);
        assert_eq!((line.next(), line.next()), (Next::Message('c'), Next::Anybody));
    }

    #[test]
    fn threads_alone_need_no_order() {
        let mut line = Line::<u8>::new();
        let (one, two) = (line.enter(), line.enter());
        assert!(line.knows(one) && line.knows(two));
        assert_eq!(line.next(), Next::Anybody);
        assert!(!line.knows(one) && !line.knows(two), "they take new places if they must wait again");
        let again = line.enter();
        line.push(7);
        assert!(line.knows(again));
        assert_eq!(line.next(), Next::Thread);
        assert!(line.come(again));
        // One that is not there any more.
        line.leave(one);
        assert_eq!((line.next(), line.next()), (Next::Message(7), Next::Anybody));
    }

    #[test]
    fn messages_go_and_threads_stay() {
        let mut line = Line::new();
        for message in 0..10 {
            line.push(message);
        }
        let ticket = line.enter();
        line.retain_messages(|message| message % 4 == 0);
        assert_eq!(line.messages().copied().collect::<Vec<_>>(), [0, 4, 8]);
        line.retain_messages(|_| false);
        assert_eq!(line.next(), Next::Anybody);
        assert!(!line.knows(ticket));
    }
}
