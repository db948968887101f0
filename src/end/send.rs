//! Sends: publishes a message, waits for space, or hands the message to the queue.
//!
//! A thread that must not wait, since it dispatches or runs tasks, queues its message. A thread of
//! the library sends the queued messages, for as long as there are some.
//!
//! - A message is published under the lock of the outbox. A sender that waits for space lets go of
//!   the lock and keeps the [`Turn`]. So no other message comes between the parts of its own.
//! - Each way out of a function that has the turn passes the turn on, or hands it to the thread
//!   that sends the queue. Otherwise no thread sends any more.
//! - What ends the pair takes the lock of the outbox, so this lock is released before.
//! - No code of the program runs under the lock: wakers and requests for notice are used and
//!   dropped outside. But a waker may run while its thread has the turn. So a waker that waits for
//!   this pair waits for itself.

use std::sync::{Arc, MutexGuard};
#[cfg(feature = "tokio")]
use std::task::Waker;

use coprocess_ring::{ChannelError, Misbehaved, Progress, Space};

use crate::calls::ids::PendingEmitId;
use crate::calls::in_flight::{Claimer, Forgotten, Notify, Outcome};
use crate::end::End;
use crate::error::{Error, Step};
use crate::send::outbox::{Out, Turn, WhenFull};
use crate::send::send_queue::{Queued, Quota, TaskKey};
use crate::send::turn_queue::Next;
use crate::time::deadline::Deadline;
use crate::wire::header::CallId;
use crate::wire::message::Message;

/// Says why a call was not sent.
#[derive(Debug)]
pub(crate) struct SendFailed {
    pub(crate) error: Box<Error>,
    /// `true` if the call was still in flight, or never was. Otherwise its callback was told
    /// already how the call ended.
    pub(crate) was_known: bool,
}

/// Describes a call that is about to be sent.
struct Claim<'c> {
    /// Receives the number of the call, once its entry is claimed.
    id: &'c mut CallId,
    /// A request for notice of the outcome, until the request is taken. The caller keeps the
    /// request: it is code of the program, which must not be dropped under a lock.
    notify: Option<&'c mut Option<Notify>>,
}

impl End {
    /// Publishes a message. Takes the message away only if it is queued.
    ///
    /// # Blocking
    ///
    /// With [`WhenFull::Wait`]:
    ///
    /// - Until it is this thread's turn, and there is space.
    /// - Until the deadline passes.
    /// - Until the pair is over.
    /// - If the message is an event: until the peer, which has no handler, has taken nothing for
    ///   too long.
    ///
    /// # Errors
    ///
    /// If this fails, the receiver never sees the message.
    #[inline]
    pub(crate) fn send(
        self: &Arc<Self>,
        message: &mut Message<'_>,
        when_full: WhenFull,
    ) -> Step<()> {
        self.send_prepared(message, when_full, None)
    }

    /// As [`send`](Self::send), for a call: claims an entry for it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the entry is free again, if it still was the call's.
    #[inline]
    pub(crate) fn send_call(
        self: &Arc<Self>,
        message: &mut Message<'_>,
        when_full: WhenFull,
    ) -> Result<CallId, SendFailed> {
        let mut id = CallId::NONE;
        self.send_claiming(message, when_full, Claim { id: &mut id, notify: None })
    }

    /// As [`send_call`](Self::send_call). Asks for notice of the outcome before the call is sent,
    /// so that the answer finds the request. Hands `notify` back if the outcome was there before:
    /// only a hostile peer answers a call that it cannot know of.
    ///
    /// # Errors
    ///
    /// As [`send_call`](Self::send_call).
    pub(crate) fn send_call_with(
        self: &Arc<Self>,
        message: &mut Message<'_>,
        when_full: WhenFull,
        notify: Notify,
    ) -> Result<(CallId, Option<Notify>), SendFailed> {
        let (mut id, mut notify) = (CallId::NONE, Some(notify));
        let claim = Claim { id: &mut id, notify: Some(&mut notify) };
        let id = self.send_claiming(message, when_full, claim)?;
        Ok((id, notify))
    }

    #[inline]
    fn send_claiming(
        self: &Arc<Self>,
        message: &mut Message<'_>,
        when_full: WhenFull,
        Claim { id, notify }: Claim<'_>,
    ) -> Result<CallId, SendFailed> {
        match self.send_prepared(message, when_full, Some(Claim { id: &mut *id, notify })) {
            Ok(()) => Ok(*id),
            Err(error) => Err(SendFailed {
                was_known: *id == CallId::NONE || self.in_flight.forget(*id) != Forgotten::Unknown,
                error,
            }),
        }
    }

    /// Sends a message. If it is a call, claims an entry for the call once its turn has come.
    #[inline]
    fn send_prepared(
        self: &Arc<Self>,
        message: &mut Message<'_>,
        when_full: WhenFull,
        claim: Option<Claim<'_>>,
    ) -> Step<()> {
        let mut out = self.outbox.lock();
        if !out.is_free() {
            return self.send_behind_others(out, message, when_full, claim);
        }
        self.check_open()?;
        self.prepare(&mut out.claimer, message, claim)?;
        match out.publish(message) {
            Ok(Progress::Sent) => Ok(()),
            Ok(Progress::NoSpace(space)) => self.send_without_space(out, message, when_full, space),
            Err(error) => {
                drop(out);
                Err(self.channel_failed(error).into())
            }
        }
    }

    /// Claims an entry for the call that `message` is, before any other thread sees the message.
    #[inline]
    fn prepare(
        &self,
        claimer: &mut Claimer,
        message: &mut Message<'_>,
        claim: Option<Claim<'_>>,
    ) -> Step<()> {
        let Some(claim) = claim else { return Ok(()) };
        let id = self.in_flight.claim(claimer)?;
        *claim.id = id;
        message.address(id);
        if let Some(notify) = claim.notify {
            *notify = notify.take().and_then(|notify| self.in_flight.notify(id, notify).err());
        }
        Ok(())
    }

    /// Sends a message while another thread has the turn.
    #[cold]
    fn send_behind_others(
        self: &Arc<Self>,
        mut out: MutexGuard<'_, Out>,
        message: &mut Message<'_>,
        when_full: WhenFull,
        claim: Option<Claim<'_>>,
    ) -> Step<()> {
        match when_full {
            WhenFull::Fail => {
                out.check_at_once(message)?;
                self.check_open()?;
                if message.is_event() {
                    // Starts the time that a later event waits for a peer without handlers.
                    let _ = out.unheard_at(&self.watch);
                }
                Err(Error::Full.into())
            }
            WhenFull::Queue(quota) => {
                self.check_open()?;
                self.prepare(&mut out.claimer, message, claim)?;
                let key = message.call().filter(|_| quota == Quota::Tasks).map(TaskKey::Call);
                self.outbox.queue(&mut out, message.take(), quota, key);
                drop(out);
                self.check_unread(quota)
            }
            WhenFull::Wait(deadline) => {
                let (mut out, turn) = self.wait_for_turn(out, message, deadline)?;
                let prepared =
                    self.check_open().and_then(|()| self.prepare(&mut out.claimer, message, claim));
                let (out, sent) = match prepared {
                    Ok(()) => {
                        out.count_wait();
                        self.send_in_turn(out, &turn, message, false, deadline, None)
                    }
                    Err(error) => (out, Err(error)),
                };
                self.pass_on(out, turn);
                sent
            }
        }
    }

    /// Sends the rest of a message that found no space for it.
    #[cold]
    fn send_without_space(
        self: &Arc<Self>,
        mut out: MutexGuard<'_, Out>,
        message: &mut Message<'_>,
        when_full: WhenFull,
        space: Space,
    ) -> Step<()> {
        out.count_wait();
        match when_full {
            WhenFull::Fail => {
                out.abandon();
                out.check_at_once(message)?;
                Err(Error::Full.into())
            }
            WhenFull::Queue(quota) => {
                // The part that is published is abandoned: the message starts anew when its turn
                // comes.
                out.abandon();
                let turn = out.take_turn();
                let key = message.call().filter(|_| quota == Quota::Tasks).map(TaskKey::Call);
                self.outbox.queue(&mut out, message.take(), quota, key);
                drop(out);
                self.send_queued_in_background(turn);
                Ok(())
            }
            WhenFull::Wait(deadline) => {
                let turn = out.take_turn();
                let (out, sent) =
                    self.send_in_turn(out, &turn, message, false, deadline, Some(space));
                self.pass_on(out, turn);
                sent
            }
        }
    }

    /// Sends the event of a task. Returns `true` if the event is queued, so that the task has to
    /// wait: `id` then says how the sending went.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub(crate) fn send_event(
        self: &Arc<Self>,
        message: &mut Message<'_>,
        id: PendingEmitId,
    ) -> Step<bool> {
        match self.send(message, WhenFull::Fail) {
            // A message that is too large to be sent at once is sent in parts.
            Err(error) if matches!(*error, Error::Full | Error::TooLarge { .. }) => {}
            sent => return sent.map(|()| false),
        }
        let mut out = self.outbox.lock();
        self.check_open()?;
        // Under the lock: no thread has sent the event yet.
        self.pending_emits.keep(id);
        self.outbox.queue(&mut out, message.take(), Quota::Tasks, Some(TaskKey::Event(id)));
        if out.is_free() {
            let turn = out.take_turn();
            drop(out);
            self.send_queued_in_background(turn);
        }
        Ok(true)
    }

    /// Ends the pair if the peer leaves too many answers unread.
    #[inline]
    fn check_unread(self: &Arc<Self>, quota: Quota) -> Step<()> {
        if quota != Quota::Answers || !self.outbox.has_too_much_unread() {
            return Ok(());
        }
        Err(self.channel_failed(ChannelError::Misbehaved(Misbehaved::Unread)).into())
    }

    /// Waits for the turn to send. The caller [passes the turn on](Self::pass_on).
    ///
    /// Returns the turn with the lock that the turn was taken under. The sender keeps the lock until
    /// it waits for space. Otherwise other threads would find the turn taken although there is space.
    #[cold]
    fn wait_for_turn<'o>(
        &'o self,
        mut out: MutexGuard<'o, Out>,
        message: &Message<'_>,
        deadline: Deadline,
    ) -> Step<(MutexGuard<'o, Out>, Turn)> {
        let is_event = message.is_event();
        let mut ticket = None;
        loop {
            if let Some(turn) = out.try_take_turn(ticket) {
                return Ok((out, turn));
            }
            let unheard_at = if is_event { out.unheard_at(&self.watch) } else { Deadline::NEVER };
            let ended = match self.check_open() {
                Err(error) => Some(error),
                Ok(()) if self.must_not_wait_here() => Some(Error::Full.into()),
                Ok(()) if deadline.has_passed() => Some(Error::Timeout.into()),
                Ok(()) if unheard_at.has_passed() => Some(message.unheard(&self.types.sent)),
                Ok(()) => None,
            };
            if let Some(error) = ended {
                out.leave_queue(ticket);
                return Err(error);
            }
            ticket = Some(out.queue_up(ticket));
            out = self.outbox.wait(out, deadline.earlier(unheard_at));
        }
    }

    /// Ends a turn: the queue says whose turn is next.
    fn pass_on(self: &Arc<Self>, mut out: MutexGuard<'_, Out>, turn: Turn) {
        if self.is_over() {
            self.outbox.forget_queued(&mut out);
        }
        let next = out.pass_on(turn);
        drop(out);
        match next {
            Some(turn) => self.send_queued_in_background(turn),
            None => self.outbox.notify_all(),
        }
    }

    /// Hands the queue to a thread of its own, since the caller, which dispatches or runs tasks,
    /// must go on.
    fn send_queued_in_background(self: &Arc<Self>, turn: Turn) {
        let (end, theirs) = (self.clone(), turn.for_thread());
        let started = std::thread::Builder::new()
            .name("coprocess-send".to_owned())
            .spawn(move || end.send_queued(theirs, true));
        if started.is_err() {
            // Without a thread, this thread sends the queue, although it then does nothing else.
            self.send_queued(turn, false);
        }
    }

    /// Sends the queued messages, up to a waiting thread. If `stays`, goes on until the queue is
    /// empty.
    fn send_queued(self: &Arc<Self>, turn: Turn, stays: bool) {
        let mut out = self.outbox.lock();
        while !self.is_over() {
            match out.next_queued() {
                Next::Message(queued) => {
                    out = self.send_one_queued(out, &turn, queued);
                    if self.check_open().is_err() {
                        break;
                    }
                }
                Next::Thread => {
                    // The turn now belongs to the thread that was called, which passes it on.
                    self.outbox.notify_all();
                    if !stays {
                        return;
                    }
                    // To start a thread again for the message behind the called thread would take
                    // longer than to send the message.
                    out.lend_turn();
                    while out.is_lent() {
                        out = self.outbox.wait(out, Deadline::NEVER);
                    }
                }
                Next::Anything => break,
            }
        }
        // Under the lock since the last look: no message was queued meanwhile, unless the pair is
        // over.
        self.outbox.forget_queued(&mut out);
        out.release_turn(turn);
        drop(out);
        self.outbox.notify_all();
        if self.check_open().is_err() {
            self.abandon_pending_emits();
        }
        #[cfg(feature = "tokio")]
        self.wake_below_watermark();
    }

    /// Sends a queued message, unless its task has given it up. Returns with the lock.
    fn send_one_queued<'o>(
        self: &'o Arc<Self>,
        out: MutexGuard<'o, Out>,
        turn: &Turn,
        queued: Queued,
    ) -> MutexGuard<'o, Out> {
        let Queued { message, quota, key } = queued;
        match key {
            Some(TaskKey::Call(id)) => {
                if !self.in_flight.is_unanswered(id) {
                    return out;
                }
                let (out, sent) =
                    self.send_in_turn(out, turn, &message, false, Deadline::NEVER, None);
                let Err(error) = sent else { return out };
                drop(out);
                if self.check_open().is_ok() {
                    self.complete(id, Outcome::Failed(*error));
                }
                self.outbox.lock()
            }
            Some(TaskKey::Event(id)) => {
                // Read under the lock: a task that gives the event up takes it back under the lock.
                let deadline = self.pending_emits.deadline(id);
                let (out, sent) = self.send_in_turn(out, turn, &message, false, deadline, None);
                // Completed under the lock, before any other thread has it: a task that finds the
                // pair over asks under the lock whether its event was sent.
                let Some(waker) = self.pending_emits.complete(id, sent) else { return out };
                drop(out);
                self.catch_user_panic(|| waker.wake());
                self.outbox.lock()
            }
            None => self.send_queued_of_end(out, turn, &message, quota),
        }
    }

    /// Sends a queued message that is not of a task: an answer, or a message of this end's own.
    fn send_queued_of_end<'o>(
        self: &'o Arc<Self>,
        out: MutexGuard<'o, Out>,
        turn: &Turn,
        message: &Message<'_>,
        quota: Quota,
    ) -> MutexGuard<'o, Out> {
        let is_own = quota == Quota::Own;
        let (mut out, sent) = self.send_in_turn(out, turn, message, is_own, Deadline::NEVER, None);
        if sent.is_err() && self.check_open().is_ok() {
            // Only where no thread could be started: the thread that dispatches cannot wait, and an
            // answer must not be lost.
            drop(out);
            let error = std::io::ErrorKind::OutOfMemory.into();
            let _ = self.channel_failed(ChannelError::Wakeup(error));
            out = self.outbox.lock();
        }
        if is_own {
            out.sent_own(message.is_urgent());
        }
        if quota.is_of_answers() {
            self.outbox.sent_answer(message.cost());
        }
        self.outbox.notify_all();
        #[cfg(feature = "tokio")]
        if quota.is_of_answers() {
            let wakers = self.outbox.watermark_wakers();
            if !wakers.is_empty() {
                drop(out);
                self.wake_tasks(wakers);
                out = self.outbox.lock();
            }
        }
        out
    }

    /// Wakes the tasks that have an answer to send, if fewer answers are queued now.
    #[cfg(feature = "tokio")]
    fn wake_below_watermark(&self) {
        self.wake_tasks(self.outbox.watermark_wakers());
    }

    #[cfg(feature = "tokio")]
    fn wake_tasks(&self, wakers: Vec<Waker>) {
        for waker in wakers {
            self.catch_user_panic(|| waker.wake());
        }
    }

    /// Sends a message, or what is left of it. Returns with the lock that the message was published
    /// under, so that what follows is done before another thread has the lock.
    ///
    /// If `is_own`, this end keeps the message of its own accord, and waits also for a peer without
    /// handlers. `space` is what the message was found to need.
    ///
    /// # Blocking
    ///
    /// As [`send`](Self::send) with [`WhenFull::Wait`]: without the lock.
    fn send_in_turn<'o>(
        self: &'o Arc<Self>,
        mut out: MutexGuard<'o, Out>,
        _turn: &Turn,
        message: &Message<'_>,
        is_own: bool,
        deadline: Deadline,
        mut space: Option<Space>,
    ) -> (MutexGuard<'o, Out>, Step<()>) {
        let may_be_unheard = message.is_event() && !is_own;
        loop {
            let mut waited = Ok(());
            if let Some(space) = space {
                let unheard_at =
                    if may_be_unheard { out.unheard_at(&self.watch) } else { Deadline::NEVER };
                drop(out);
                let until = deadline.earlier(unheard_at);
                waited = self.wait_for_space(space, until, || self.outbox.notify());
                out = self.outbox.lock();
                if matches!(waited, Err(Error::Timeout)) && may_be_unheard && !deadline.has_passed()
                {
                    // The peer may have taken something meanwhile, or registered a handler.
                    if !out.unheard_at(&self.watch).has_passed() {
                        continue;
                    }
                    waited = Err(*message.unheard(&self.types.sent));
                }
            }
            if let Err(error) = waited.map_err(Box::new).and_then(|()| self.check_open()) {
                out.abandon();
                return (out, Err(error));
            }
            match out.publish(message) {
                Ok(Progress::Sent) => return (out, Ok(())),
                Ok(Progress::NoSpace(more)) => space = Some(more),
                Err(error) => {
                    drop(out);
                    let failed = self.channel_failed(error);
                    let mut out = self.outbox.lock();
                    out.abandon();
                    return (out, Err(failed.into()));
                }
            }
        }
    }

    /// Waits until the queued answers take less than `bytes` of memory.
    ///
    /// # Blocking
    ///
    /// - Until the queued answers take less than `bytes`.
    /// - Until `over` returns `true`.
    /// - Until `deadline` passes.
    pub(crate) fn wait_until_unread_below(
        &self,
        bytes: usize,
        deadline: Deadline,
        over: impl Fn() -> bool,
    ) {
        let mut out = self.outbox.lock();
        while self.outbox.unread() >= bytes && !over() && !deadline.has_passed() {
            out = self.outbox.wait(out, deadline);
        }
    }

    /// Waits until all answers and own messages that were queued are sent.
    ///
    /// # Blocking
    ///
    /// - Until these messages are sent.
    /// - Until `over` returns `true`.
    /// - Until `deadline` passes.
    pub(crate) fn wait_until_none_is_queued(&self, deadline: Deadline, over: impl Fn() -> bool) {
        let mut out = self.outbox.lock();
        while (out.has_queued_own() || self.outbox.unread() > 0)
            && !over()
            && !deadline.has_passed()
        {
            out = self.outbox.wait(out, deadline);
        }
    }
}
