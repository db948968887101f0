//! The sending side of an end: one message at a time, in the order of the senders, with a deadline for each.

#[cfg(feature = "tokio")]
use std::sync::atomic::fence;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tokio")]
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use coprocess_ring::{ChannelError, Misbehaved, Progress, Sender, Space};

use crate::emissions::EmissionId;
use crate::end::End;
use crate::envelope::{CallId, Message};
use crate::error::{Error, Step};
use crate::inbox::BACKLOG_BYTES;
use crate::kept::{Kept, Kind, Queued};
use crate::line::{Next, Ticket};
use crate::pending::{Claimer, Forgotten, Outcome};
use crate::sync::lock;
use crate::unheard::Standstill;
use crate::waiting::{earlier, has_passed};

/// How long a sender is prepared to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until this moment, or for ever.
    Until(Option<Instant>),
    /// Not at all, and it must be sent nevertheless: the answer of a thread that dispatches. It is kept until there is room.
    Answer,
    /// The same, for the answer of a task, which has waited until not too many were kept, as others may have with it: it counts, and is no reason to
    /// end the pair.
    #[cfg(feature = "tokio")]
    TaskAnswer,
    /// The same, for what this end has a bound for by itself, whatever the other one does: values of gauges, of which each keeps one, and cancels, of which
    /// there are no more than calls that were sent.
    Own,
    /// Not at all: the call of a task. It is kept as an answer is, for as long as the task waits for it.
    Task,
}

impl Patience {
    fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Until(deadline) => deadline,
            _ => None,
        }
    }

    /// As what the message is kept where there is no room, if it is not waited for that.
    fn keeps(self, message: &Message<'_>) -> Option<Kind> {
        match self {
            Patience::None | Patience::Until(_) => None,
            Patience::Answer => Some(Kind::Answer),
            #[cfg(feature = "tokio")]
            Patience::TaskAnswer => Some(Kind::Answer),
            Patience::Own => Some(Kind::Own),
            Patience::Task => message.call().map(Kind::Call),
        }
    }
}

#[derive(Debug)]
struct Out {
    sender: Sender,
    /// The right to claim entries for calls.
    claimer: Claimer,
    /// A sender waits for room without holding the lock, perhaps in the midst of its message: nobody else may send.
    busy: bool,
    /// What found no room, and threads that wait for their turn. While a message is in it, `busy` is true, and it is somebody's to go on with it.
    kept: Kept,
    /// For how long the other end has taken nothing.
    standstill: Standstill,
    /// The thread that goes on with it waits while a thread in the line has its turn.
    resting: bool,
    messages: u64,
    bytes: u64,
    /// Of these, what is about types, the part that is not sent yet included.
    uncounted: u64,
    uncounted_bytes: u64,
    waits_for_room: u64,
}

impl Out {
    #[inline]
    fn count(&mut self, message: &Message<'_>) {
        self.messages = self.messages.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(message.bytes() as u64);
    }
}

/// A message that may not wait, and has no room even in an empty ring: that is not a matter of time.
fn check_at_once(out: &Out, message: &Message<'_>) -> Step<()> {
    let (size, max) = (message.bytes(), out.sender.most_at_once());
    if size > max { Err(Error::TooLarge { size, max }.into()) } else { Ok(()) }
}

/// Bytes of memory for answers that may be kept until the other end has room for them, before no more calls are taken from it.
pub(crate) const CROWDED_BYTES: usize = BACKLOG_BYTES;

/// Bytes of answers beyond which the other end is not waited for any more. Between the two bounds calls are taken only to make room in a full
/// backlog: two ends that flood each other must not stop both.
const UNREAD_BYTES: usize = 2 * CROWDED_BYTES;

#[derive(Debug)]
pub(crate) struct Outbox {
    out: Mutex<Out>,
    /// `busy` has become false, or the end has ended, or the backlog is full, or an answer less is kept.
    turn: Condvar,
    /// Bytes of memory of the answers that are kept.
    unread: AtomicUsize,
    /// Tasks that have an answer to send once fewer are kept.
    #[cfg(feature = "tokio")]
    crowd: Mutex<Vec<Waker>>,
}

/// Why a call was not sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) error: Box<Error>,
    /// Whether the call was still in flight, or never was. Else somebody was told already how it ended.
    pub(crate) was_known: bool,
}

/// Counters of the sending side.
pub(crate) struct Sent {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) waits_for_room: u64,
    pub(crate) wakeups: u64,
}

impl Outbox {
    pub(crate) fn new(sender: Sender, claimer: Claimer) -> Outbox {
        Outbox {
            out: Mutex::new(Out {
                sender,
                claimer,
                busy: false,
                kept: Kept::new(),
                standstill: Standstill::default(),
                resting: false,
                messages: 0,
                bytes: 0,
                uncounted: 0,
                uncounted_bytes: 0,
                waits_for_room: 0,
            }),
            turn: Condvar::new(),
            unread: AtomicUsize::new(0),
            #[cfg(feature = "tokio")]
            crowd: Mutex::default(),
        }
    }

    /// Ready once fewer answers are kept than are too many.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_uncrowded(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_crowded() {
            lock(&self.crowd).push(context.waker().clone());
            // Fence: who lets one go looks at the crowd afterwards; one of the two sees the other. Pairs with the one in `disperse`.
            fence(Ordering::SeqCst);
            if self.is_crowded() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Lets the tasks that wait for it look whether answers are still too many.
    #[cfg(feature = "tokio")]
    fn disperse(&self, end: &End) {
        // Pairs with the one in `poll_uncrowded`.
        fence(Ordering::SeqCst);
        if !self.is_crowded() {
            for waker in std::mem::take(&mut *lock(&self.crowd)) {
                end.contain(|| waker.wake());
            }
        }
    }

    /// Publishes a message, waiting for room as long as `patience` allows. Takes it away only if it is kept.
    ///
    /// # Errors
    ///
    /// Nothing was sent in the sense that the receiver will ever see it.
    #[inline]
    pub(crate) fn send(&self, end: &Arc<End>, message: &mut Message<'_>, patience: Patience) -> Step<()> {
        self.send_prepared(end, message, patience, |_, _| Ok(()))
    }

    /// As [`send`](Self::send), for a call: claims an entry for it. `prepare` sees the number of the call before anybody else does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the entry is free again, if it still was the call's.
    #[inline]
    pub(crate) fn send_call(
        &self,
        end: &Arc<End>,
        message: &mut Message<'_>,
        patience: Patience,
        prepare: impl FnOnce(CallId),
    ) -> std::result::Result<CallId, Unsent> {
        let mut id = CallId::NONE;
        // Kept here: what it has captured must not be dropped under the lock.
        let mut prepare = Some(prepare);
        let sent = self.send_prepared(end, message, patience, |claimer, message| {
            id = end.pending.claim(claimer)?;
            message.address(id);
            if let Some(prepare) = prepare.take() {
                prepare(id);
            }
            Ok(())
        });
        match sent {
            Ok(()) => Ok(id),
            Err(error) => Err(Unsent { was_known: id == CallId::NONE || end.pending.forget(id) != Forgotten::Unknown, error }),
        }
    }

    /// Sends a message, once `prepare` has seen to it when its turn has come.
    #[inline]
    fn send_prepared(
        &self,
        end: &Arc<End>,
        message: &mut Message<'_>,
        patience: Patience,
        prepare: impl FnOnce(&mut Claimer, &mut Message<'_>) -> Step<()>,
    ) -> Step<()> {
        let mut out = lock(&self.out);
        if out.busy {
            if patience == Patience::None {
                check_at_once(&out, message)?;
            }
            if matches!(patience, Patience::None | Patience::Until(_)) {
                out = self.wait_in_line(end, out, message, patience)?;
            }
            let prepared = end.check_open().and_then(|()| prepare(&mut out.claimer, message));
            return self.send_in_line(end, out, message, patience, prepared);
        }
        end.check_open()?;
        prepare(&mut out.claimer, message)?;
        match message.publish(&mut out.sender) {
            Ok(Progress::Sent) => {
                out.count(message);
                Ok(())
            }
            Ok(Progress::NoSpace(room)) => self.send_without_room(end, out, message, patience, room),
            Err(error) => {
                drop(out);
                Err(end.channel_failed(error).into())
            }
        }
    }

    /// Sends the event of a task. Returns whether it is kept, and the task has to wait until it is sent: `id` says then how that went.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub(crate) fn send_event(&self, end: &Arc<End>, message: &mut Message<'_>, id: EmissionId) -> Step<bool> {
        match self.send(end, message, Patience::None) {
            // What is too large to be sent at once is sent in parts.
            Err(error) if matches!(*error, Error::Full | Error::TooLarge { .. }) => {}
            sent => return sent.map(|()| false),
        }
        let mut out = lock(&self.out);
        end.check_open()?;
        self.keep(end, &mut out, message.take(), Kind::Event(id));
        if !out.busy {
            out.busy = true;
            self.send_queued_in_background(end, out);
        }
        Ok(true)
    }

    /// A message that was sent, or kept, is not to be counted: it is about types.
    pub(crate) fn discount(&self, bytes: usize) {
        let mut out = lock(&self.out);
        out.uncounted = out.uncounted.wrapping_add(1);
        out.uncounted_bytes = out.uncounted_bytes.wrapping_add(bytes as u64);
    }

    /// Has the other end look ahead for what was sent last. For what is kept, this is done again when it is sent.
    pub(crate) fn urge(&self) {
        lock(&self.out).sender.urge();
    }

    /// Whether so many answers are kept that no more calls should be taken.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        // Relaxed: a bound that need not be exact.
        self.unread.load(Ordering::Relaxed) >= CROWDED_BYTES
    }

    /// Waits until less than `bytes` of memory are taken by answers that are kept, until `deadline`, or until `over`.
    pub(crate) fn wait_until_kept(&self, bytes: usize, deadline: Option<Instant>, over: impl Fn() -> bool) {
        let mut out = lock(&self.out);
        // Relaxed: changed under the lock, or about to be.
        while self.unread.load(Ordering::Relaxed) >= bytes && !over() && !has_passed(deadline) {
            out = self.wait_for_turn(out, deadline);
        }
    }

    /// Waits until all that was kept is sent, until `deadline`, or until `over`.
    pub(crate) fn wait_until_none_is_kept(&self, deadline: Option<Instant>, over: impl Fn() -> bool) {
        let mut out = lock(&self.out);
        // Relaxed: changed under the lock, or about to be.
        while (out.kept.has_own() || self.unread.load(Ordering::Relaxed) > 0) && !over() && !has_passed(deadline) {
            out = self.wait_for_turn(out, deadline);
        }
    }

    /// Takes back what is a task's, and not sent yet. Returns whether it was there.
    pub(crate) fn take_back(&self, kind: Kind) -> bool {
        lock(&self.out).kept.give_up(kind)
    }

    /// Sends a message whose turn has come, or keeps it until it comes.
    #[cold]
    fn send_in_line<'a>(
        &'a self,
        end: &Arc<End>,
        mut out: MutexGuard<'a, Out>,
        message: &mut Message<'_>,
        patience: Patience,
        prepared: Step<()>,
    ) -> Step<()> {
        if let Some(kind) = patience.keeps(message) {
            prepared?;
            self.keep(end, &mut out, message.take(), kind);
            return if patience == Patience::Answer { self.check_kept(end, out) } else { Ok(()) };
        }
        let (out, sent) = match prepared {
            Ok(()) => {
                out.waits_for_room = out.waits_for_room.wrapping_add(1);
                self.send_in_turns(end, out, message, false, patience.deadline(), None)
            }
            Err(error) => (out, Err(error)),
        };
        self.pass_on(end, out);
        sent
    }

    /// Waits for the turn to send. It is to be [passed on](Self::pass_on).
    #[cold]
    fn wait_in_line<'a>(
        &'a self,
        end: &Arc<End>,
        mut out: MutexGuard<'a, Out>,
        message: &Message<'_>,
        patience: Patience,
    ) -> Step<MutexGuard<'a, Out>> {
        let is_event = message.is_event();
        let mut ticket = None::<Ticket>;
        loop {
            if ticket.is_some_and(|ticket| out.kept.line.come(ticket)) {
                return Ok(out);
            }
            if !out.busy {
                out.busy = true;
                return Ok(out);
            }
            let in_vain_at = if is_event { out.standstill.ends_at(&end.watch) } else { None };
            let must_go = match end.check_open() {
                Err(error) => Some(*error),
                Ok(()) if patience == Patience::None || end.must_not_wait_here() => Some(Error::Full),
                Ok(()) if has_passed(patience.deadline()) => Some(Error::Timeout),
                Ok(()) if has_passed(in_vain_at) => Some(*message.unheard(&end.pairs)),
                Ok(()) => None,
            };
            let held = ticket.filter(|ticket| out.kept.line.knows(*ticket));
            if let Some(error) = must_go {
                held.into_iter().for_each(|ticket| out.kept.line.leave(ticket));
                return Err(error.into());
            }
            ticket = Some(held.unwrap_or_else(|| out.kept.line.enter()));
            out = self.wait_for_turn(out, earlier(patience.deadline(), in_vain_at));
        }
    }

    /// Ends a turn: it is whose it is by the line.
    fn pass_on(&self, end: &Arc<End>, mut out: MutexGuard<'_, Out>) {
        if end.is_over() {
            self.forget_answers(&mut out);
        }
        if out.kept.line.is_message_next() {
            if !out.resting {
                return self.send_queued_in_background(end, out);
            }
            out.resting = false;
        } else if !matches!(out.kept.line.next(), Next::Thread) {
            if out.resting {
                // It finds that there is nothing left to go on with.
                out.resting = false;
            } else {
                out.busy = false;
            }
        }
        drop(out);
        self.turn.notify_all();
    }

    fn wait_for_turn<'a>(&self, out: MutexGuard<'a, Out>, deadline: Option<Instant>) -> MutexGuard<'a, Out> {
        match deadline {
            None => self.turn.wait(out).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                self.turn.wait_timeout(out, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    #[cold]
    fn send_without_room<'a>(
        &'a self,
        end: &Arc<End>,
        mut out: MutexGuard<'a, Out>,
        message: &mut Message<'_>,
        patience: Patience,
        room: Space,
    ) -> Step<()> {
        out.waits_for_room = out.waits_for_room.wrapping_add(1);
        if let Some(kind) = patience.keeps(message) {
            // What is published of it is abandoned: it starts anew when its turn comes.
            out.sender.abandon();
            out.busy = true;
            self.keep(end, &mut out, message.take(), kind);
            self.send_queued_in_background(end, out);
            return Ok(());
        }
        let Patience::Until(deadline) = patience else {
            out.sender.abandon();
            check_at_once(&out, message)?;
            return Err(Error::Full.into());
        };
        out.busy = true;
        let (out, sent) = self.send_in_turns(end, out, message, false, deadline, Some(room));
        self.pass_on(end, out);
        sent
    }

    fn keep(&self, end: &End, out: &mut Out, message: Message<'static>, kind: Kind) {
        match kind {
            Kind::Answer => {
                self.unread.fetch_add(message.cost(), Ordering::Relaxed);
            }
            // Under the lock: nobody has sent it yet.
            Kind::Event(id) => end.emissions.keep(id),
            Kind::Call(_) | Kind::Own => {}
        }
        out.kept.push(message, kind);
    }

    /// Ends the pair if the other end leaves too many answers unread.
    #[inline]
    fn check_kept(&self, end: &Arc<End>, out: MutexGuard<'_, Out>) -> Step<()> {
        drop(out);
        // Relaxed: a bound that need not be exact.
        if self.unread.load(Ordering::Relaxed) < UNREAD_BYTES {
            return Ok(());
        }
        Err(end.channel_failed(ChannelError::Misbehaved(Misbehaved::Unread)).into())
    }

    /// Nobody will read them.
    fn forget_answers(&self, out: &mut Out) {
        out.kept.clear();
        self.unread.store(0, Ordering::Relaxed);
    }

    /// Hands what is queued to a thread of its own: the one that dispatches, or runs tasks, must go on.
    fn send_queued_in_background(&self, end: &Arc<End>, out: MutexGuard<'_, Out>) {
        drop(out);
        let thread_end = end.clone();
        let started =
            std::thread::Builder::new().name("coprocess-send".to_owned()).spawn(move || thread_end.outbox.send_queued(&thread_end, true));
        if started.is_err() {
            // Without a thread: here, although this one then does nothing else.
            self.send_queued(end, false);
        }
    }

    /// Sends what is next in the line; up to a thread that waits, unless it is for this one to stay until all is sent. The turn is ours.
    fn send_queued(&self, end: &Arc<End>, stays: bool) {
        let mut out = lock(&self.out);
        while !end.is_over() {
            let Queued { message, kind } = match out.kept.next() {
                Next::Message(queued) => queued,
                Next::Anybody => break,
                Next::Thread => {
                    // The turn is its own now, and it passes it on.
                    self.turn.notify_all();
                    if !stays {
                        return;
                    }
                    // To start a thread again for the message after it would take longer than to send that.
                    out.resting = true;
                    while out.resting {
                        out = self.wait_for_turn(out, None);
                    }
                    continue;
                }
            };
            if matches!(kind, Kind::Call(id) if !end.pending.is_unanswered(id)) {
                continue;
            }
            let deadline = if let Kind::Event(id) = kind { end.emissions.deadline(id) } else { None };
            let sent;
            (out, sent) = self.send_in_turns(end, out, &message, kind == Kind::Own, deadline, None);
            if let Kind::Event(id) = kind {
                // Before anybody else has the lock: who finds that the pair is over asks under it whether this was sent.
                let waker = end.emissions.settle(id, sent);
                drop(out);
                if let Some(waker) = waker {
                    end.contain(|| waker.wake());
                }
                out = lock(&self.out);
                if end.check_open().is_err() {
                    break;
                }
                continue;
            }
            if let (Err(error), true) = (sent, end.check_open().is_ok()) {
                if let Kind::Call(id) = kind {
                    drop(out);
                    end.complete(id, Outcome::Failed(*error));
                    out = lock(&self.out);
                    continue;
                }
                // Only without a thread for this: the one that dispatches cannot wait, and an answer must not be lost.
                drop(out);
                let _ = end.channel_failed(ChannelError::Wakeup(std::io::ErrorKind::OutOfMemory.into()));
                out = lock(&self.out);
            }
            if kind == Kind::Own {
                if message.is_urgent() {
                    out.sender.urge();
                }
                out.kept.sent_own();
                self.turn.notify_all();
            }
            if kind == Kind::Answer {
                self.unread.fetch_sub(message.cost(), Ordering::Relaxed);
                self.turn.notify_all();
                #[cfg(feature = "tokio")]
                {
                    // Waking a task runs code of the program's.
                    drop(out);
                    self.disperse(end);
                    out = lock(&self.out);
                }
            }
            if end.check_open().is_err() {
                break;
            }
        }
        self.forget_answers(&mut out);
        out.busy = false;
        drop(out);
        self.turn.notify_all();
        if end.check_open().is_err() {
            end.abandon_emissions();
        }
        #[cfg(feature = "tokio")]
        self.disperse(end);
    }

    /// Sends a message, or what is left of it, waiting for room in between. `is_own`: this end keeps it of its own accord, so that it waits
    /// also for an end that hears nothing. `room`: what it was found to need. The turn is ours, and stays so.
    fn send_in_turns<'a>(
        &'a self,
        end: &Arc<End>,
        mut out: MutexGuard<'a, Out>,
        message: &Message<'_>,
        is_own: bool,
        deadline: Option<Instant>,
        mut room: Option<Space>,
    ) -> (MutexGuard<'a, Out>, Step<()>) {
        loop {
            let waited = match room {
                None => Ok(()),
                Some(room) => {
                    let may_be_unheard = message.is_event() && !is_own;
                    let in_vain_at = if may_be_unheard { out.standstill.ends_at(&end.watch) } else { None };
                    drop(out);
                    let waited = end.wait_for_room(room, earlier(deadline, in_vain_at), || self.stir());
                    out = lock(&self.out);
                    match waited {
                        Err(Error::Timeout) if may_be_unheard && !has_passed(deadline) => {
                            // It may have taken something meanwhile, or registered a handler.
                            if !has_passed(in_vain_at.and(out.standstill.ends_at(&end.watch))) {
                                continue;
                            }
                            Err(message.unheard(&end.pairs))
                        }
                        waited => waited.map_err(Box::new),
                    }
                }
            };
            let sent = match waited.and_then(|()| end.check_open()) {
                Err(error) => Err(error),
                Ok(()) => match message.publish(&mut out.sender) {
                    Ok(Progress::Sent) => {
                        out.count(message);
                        Ok(())
                    }
                    Ok(Progress::NoSpace(more)) => {
                        room = Some(more);
                        continue;
                    }
                    Err(error) => {
                        drop(out);
                        let failed = end.channel_failed(error);
                        out = lock(&self.out);
                        Err(failed.into())
                    }
                },
            };
            if sent.is_err() {
                // The receiver drops what it has of it.
                out.sender.abandon();
            }
            return (out, sent);
        }
    }

    /// Says that nothing follows. A message that is under way is not waited for.
    pub(crate) fn close(&self) -> std::result::Result<(), ChannelError> {
        lock(&self.out).sender.close()
    }

    /// Lets everybody who waits for a turn look again.
    pub(crate) fn stir(&self) {
        // The lock makes sure that nobody is between looking and waiting.
        drop(lock(&self.out));
        self.turn.notify_all();
    }

    pub(crate) fn counters(&self) -> Sent {
        let out = lock(&self.out);
        let (messages, bytes) = (out.messages.saturating_sub(out.uncounted), out.bytes.saturating_sub(out.uncounted_bytes));
        Sent { messages, bytes, waits_for_room: out.waits_for_room, wakeups: out.sender.wakeups() }
    }
}
