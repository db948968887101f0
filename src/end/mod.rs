//! One end of a pair: what its handles, its background thread and the process watcher share, and how it comes to its end.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use coprocess_ring::{
    ChannelError, Misbehaved, Receiver, Region, Sender, Side, Sleeper, Spin, Watch,
};

use crate::calls::cancels::Cancels;
use crate::calls::in_flight::{InFlight, Outcome};
use crate::calls::served_later::ServedLater;
use crate::calls::timers::Timers;
use crate::drive::driver_slot::DriverSlot;
use crate::drive::lead::Lead;
use crate::drive::poll_bias::PollBias;
use crate::drive::ready_signal::ReadySlot;
use crate::end::handler_stack::HandlerStack;
use crate::end::transit::Transit;
use crate::error::{Error, Reason, Result, Step};
use crate::limits::TYPES_ROOM;
use crate::process::Endings;
use crate::process::Worker;
use crate::recv::handlers::Registry;
use crate::recv::inbox::Inbox;
use crate::send::gauges::Gauges;
use crate::send::outbox::Outbox;
use crate::send::pending_emits::PendingEmits;
use crate::settings::Settings;
use crate::stats::{Counters, Stats};
use crate::sync::Backoff;
use crate::sync::forked::Generation;
use crate::sync::spin_mutex::{SpinGuard, SpinMutex};
use crate::time::deadline::Deadline;
use crate::time::host_clock::Clock;
use crate::types::peer_types::PeerTypes;
use crate::types::sent_types::SentTypes;

pub(crate) mod answer;
pub(crate) mod bytes;
pub(crate) mod cancel;
pub(crate) mod crossing;
pub(crate) mod desk;
pub(crate) mod driver;
pub(crate) mod gauges;
pub(crate) mod handle;
pub(crate) mod handler_stack;
pub(crate) mod introduce;
pub(crate) mod leader;
pub(crate) mod look_ahead;
pub(crate) mod pending_emits;
pub(crate) mod poll;
pub(crate) mod poll_answer;
pub(crate) mod readiness;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod space;
pub(crate) mod timeouts;
pub(crate) mod transit;
pub(crate) mod unheard;
pub(crate) mod wait;

/// How an end came to its end.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Closed,
    Gone(Reason),
    Misbehaved(Misbehaved),
    Os(i32),
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) settings: Settings,
    pub(crate) cancels: Cancels,
    /// What moments are by the clock of the host.
    pub(crate) clock: Clock,
    /// The process that this end belongs to.
    generation: Generation,
    pub(crate) peer: u32,
    pub(crate) watch: Watch,
    pub(crate) outbox: Outbox,
    /// Locked by the thread that leads also while it spins for a message: take it by [`inbox`](Self::inbox).
    inbox: SpinMutex<Inbox>,
    pub(crate) in_flight: InFlight,
    pub(crate) registry: Registry<End>,
    /// What this end sends, by name and type.
    pub(crate) sent_types: SentTypes,
    /// What the numbers of the other end stand for.
    pub(crate) peer_types: PeerTypes,
    pub(crate) gauges: Gauges,
    /// The events of tasks that are kept.
    pub(crate) pending_emits: PendingEmits,
    pub(crate) lead: Lead,
    pub(crate) driver_slot: DriverSlot,
    pub(crate) timers: Timers,
    /// Whether tasks should look for their answers themselves.
    pub(crate) poll_bias: PollBias,
    /// For event loops.
    pub(crate) ready_slot: ReadySlot,
    /// Calls of the other end that are answered later.
    pub(crate) served_later: ServedLater,
    pub(crate) counters: Counters,
    pub(crate) spin_for_data: Spin,
    pub(crate) spin_for_space: Spin,
    /// Threads, other than the driver, that are asleep until a message comes, or about to be.
    waiting_for_data: AtomicU32,
    /// Threads that are asleep until there is room, or about to be.
    waiting_for_space: AtomicU32,
    pub(crate) transit: Transit,
    pub(crate) handlers_running: HandlerStack,
    /// Whoever waits for messages should look at the timers again.
    attention: AtomicBool,
    /// Calls whose replies were not sent yet, if there is a limit.
    pub(crate) served: AtomicU32,
    /// The other side is gone; what it has sent may still be received.
    gone: OnceLock<Reason>,
    /// This end is over.
    ended: OnceLock<Ending>,
    /// Whether handlers alone are a reason for a background thread: not while the function of a forked worker has not returned.
    pub(crate) handlers_want_driver: AtomicBool,
    /// Whether the background thread was started.
    pub(crate) driver_started: AtomicBool,
    /// Whether there is a reason for it besides tasks that wait for answers.
    pub(crate) driver_stays: AtomicBool,
    /// The worker process, on the parent's end.
    worker: OnceLock<Arc<Worker>>,
    /// What is to be told of the end.
    pub(crate) endings: Endings,
}

impl End {
    pub(crate) fn new(region: &Region, side: Side, peer: u32, settings: Settings) -> Arc<End> {
        let (in_flight, claimer) = InFlight::new(settings.max_calls_in_flight);
        Arc::new(End {
            settings,
            cancels: Cancels::default(),
            clock: Clock::new(),
            generation: Generation::watched(),
            peer,
            watch: Watch::new(region, side),
            outbox: Outbox::new(Sender::new(region, side), claimer),
            inbox: SpinMutex::new(Inbox::new(Receiver::new(
                region,
                side,
                settings.max_message.saturating_add(TYPES_ROOM),
            ))),
            in_flight,
            registry: Registry::default(),
            sent_types: SentTypes::default(),
            peer_types: PeerTypes::default(),
            gauges: Gauges::default(),
            pending_emits: PendingEmits::default(),
            lead: Lead::new(Spin::new(settings.strategy, std::process::id())),
            driver_slot: DriverSlot::default(),
            timers: Timers::new(),
            poll_bias: PollBias::default(),
            ready_slot: ReadySlot::default(),
            served_later: ServedLater::default(),
            counters: Counters::default(),
            spin_for_data: Spin::new(settings.strategy, peer),
            spin_for_space: Spin::new(settings.strategy, peer),
            waiting_for_data: AtomicU32::new(0),
            waiting_for_space: AtomicU32::new(0),
            transit: Transit::default(),
            handlers_running: HandlerStack::default(),
            attention: AtomicBool::new(false),
            served: AtomicU32::new(0),
            gone: OnceLock::new(),
            ended: OnceLock::new(),
            handlers_want_driver: AtomicBool::new(true),
            driver_started: AtomicBool::new(false),
            driver_stays: AtomicBool::new(false),
            worker: OnceLock::new(),
            endings: Endings::default(),
        })
    }

    /// Says which process is at the other end, on the parent's side.
    pub(crate) fn set_worker(&self, worker: Arc<Worker>) {
        let first = self.worker.set(worker);
        debug_assert!(first.is_ok(), "an end has one worker");
    }

    pub(crate) fn worker(&self) -> Option<&Arc<Worker>> {
        self.worker.get()
    }

    // ---- state -------------------------------------------------------------------------------------------------------------------

    /// Whether this process is a fork of the one that the end belongs to: then nothing but this may be asked of it.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        self.generation.is_foreign()
    }

    /// Fails if this process is a fork of the one that the end belongs to.
    #[inline]
    pub(crate) fn check_own(&self) -> Step<()> {
        if self.is_foreign() { Err(forked()) } else { Ok(()) }
    }

    /// Whether this end is over: closed, or the other side is gone and everything it had sent was received.
    pub(crate) fn is_over(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Whether nothing more will come from the other side than what is there.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get().is_some() || self.watch.is_closed()
    }

    /// Sees to it that a side which is gone, or says so, does not keep anybody by what goes on arriving.
    #[inline]
    pub(crate) fn expect_end_if_gone(&self) {
        if self.is_gone() {
            self.inbox().expect_end();
        }
    }

    /// Why nothing can be sent or awaited any more.
    #[cold]
    pub(crate) fn terminal_error(&self) -> Error {
        match self.ended.get() {
            Some(Ending::Closed) => Error::Closed,
            Some(Ending::Gone(reason)) => Error::Disconnected(*reason),
            Some(Ending::Misbehaved(how)) => Error::Misbehaved(*how),
            Some(Ending::Os(errno)) => Error::Os {
                action: "wait for the other side, or wake it",
                source: std::io::Error::from_raw_os_error(*errno),
            },
            None => Error::Disconnected(self.reason()),
        }
    }

    /// How the pair ended, on the worker's end.
    pub(crate) fn how_it_went(&self) -> Reason {
        match self.ended.get() {
            Some(Ending::Closed) => Reason::Closed,
            Some(Ending::Gone(reason)) => *reason,
            Some(Ending::Misbehaved(_) | Ending::Os(_)) => Reason::Unknown,
            None => self.reason(),
        }
    }

    #[cold]
    fn reason(&self) -> Reason {
        // The other end's orderly close, unless the kernel has told more before.
        self.gone.get().copied().unwrap_or_else(|| {
            // A worker whose lifeline this process has closed closes its end in turn, perhaps before the watcher has found out.
            if self.worker().is_some_and(|worker| worker.has_lost_descriptors()) {
                Reason::DescriptorsClosed
            } else {
                Reason::Closed
            }
        })
    }

    /// Fails if there is nobody to send to.
    #[inline]
    pub(crate) fn check_open(&self) -> Step<()> {
        if self.ended.get().is_some() || self.is_gone() {
            Err(self.terminal_error().into())
        } else {
            Ok(())
        }
    }

    /// How `run` returns once the end is over.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.terminal_error() {
            Error::Closed | Error::Disconnected(Reason::Closed) => Ok(()),
            error => Err(error),
        }
    }

    // ---- endings -----------------------------------------------------------------------------------------------------------------

    /// The other side is gone: whoever waits takes what is left and then fails.
    pub(crate) fn peer_gone(&self, reason: Reason) {
        // The first reason stands.
        if self.gone.set(if self.watch.is_closed() { self.reason() } else { reason }).is_ok() {
            self.wake_all();
        }
    }

    /// The other side is gone and everything it had sent was received.
    pub(crate) fn drained(&self) {
        self.finish(Ending::Gone(self.reason()));
    }

    /// This end was closed by its user.
    pub(crate) fn close(&self) {
        self.finish(Ending::Closed);
        // Also if it was over before.
        if let Some(worker) = self.worker() {
            worker.begin_close();
        }
    }

    /// The channel failed. Returns the error for the one who found out.
    #[cold]
    pub(crate) fn channel_failed(&self, error: ChannelError) -> Error {
        self.finish(match error {
            ChannelError::Misbehaved(how) => Ending::Misbehaved(how),
            ChannelError::Wakeup(error) => Ending::Os(error.raw_os_error().unwrap_or(0)),
            _ => Ending::Misbehaved(Misbehaved::Envelope),
        });
        self.terminal_error()
    }

    /// A message was not of any form that an honest end sends.
    #[cold]
    pub(crate) fn protocol_violation(&self) -> Error {
        self.channel_failed(ChannelError::Misbehaved(Misbehaved::Envelope))
    }

    fn finish(&self, ending: Ending) {
        if self.ended.set(ending).is_err() {
            return;
        }
        // A worker that has closed its own descriptors exits, and the parent learns that: nothing of it is in good order.
        let exits =
            self.worker().is_none() && matches!(ending, Ending::Gone(Reason::DescriptorsClosed));
        if !exits {
            // The other side: nothing will follow, and nothing will be received. A wake-up that fails leaves it to the watcher of
            // the other side's process to notice.
            let told = self.outbox.close().and_then(|()| self.inbox().close());
            debug_assert!(told.is_ok(), "waking cannot fail: {told:?}");
        }
        self.watch.retire();
        // A worker that has closed its end in good order may go on with what it has to do; every other must end.
        let stays = matches!(ending, Ending::Gone(Reason::Closed));
        if let (Some(worker), false) = (self.worker(), stays) {
            worker.begin_close();
        }
        self.wake_all();
        self.conclude_last();
        self.in_flight.abandon(
            |completion| self.conclude(completion),
            || Outcome::Failed(self.terminal_error()),
        );
        self.abandon_pending_emits();
        self.abandon_served_later();
        self.registry.close();
        // The parent's end has one more thing to tell: how the worker ended.
        if self.worker().is_none() {
            self.endings.tell(self.how_it_went());
        }
    }

    /// Tells of the calls that were completed and of which nobody was told yet: the end is over.
    pub(crate) fn conclude_last(&self) {
        let completions = std::mem::take(&mut self.inbox().completions);
        completions.into_iter().for_each(|completion| self.conclude(completion));
    }

    // ---- waking ------------------------------------------------------------------------------------------------------------------

    /// Makes every thread of this process that waits in this end look at its state. Call after changing it.
    fn wake_all(&self) {
        // The state was changed; pairs with the fence in `SleepGuard::new`.
        fence(Ordering::SeqCst);
        self.outbox.notify();
        self.driver_slot.notify_all();
        self.notify_readiness();
        self.lead.wake_driver(&self.watch);
        // Also against a hostile other side that rewrites the bells: until nobody is on the way to sleep any more. Nobody starts anew, since
        // everybody looks at the state before.
        let mut backoff = Backoff::default();
        while self.waiting_for_data.load(Ordering::Relaxed) > 0
            || self.waiting_for_space.load(Ordering::Relaxed) > 0
        {
            let woken = self
                .watch
                .wake_local(Sleeper::Waiter)
                .and_then(|_| self.watch.wake_local_for_space());
            if woken.is_err() {
                break;
            }
            backoff.pause();
        }
        self.lead.notify_all();
    }

    /// Makes whoever watches the ring look at the timers again. Not for the thread that leads.
    pub(crate) fn interrupt(&self) {
        // Release: pairs with the Acquire in `take_interrupt`.
        self.attention.store(true, Ordering::Release);
        // Pairs with the fence in `SleepGuard::new`.
        fence(Ordering::SeqCst);
        self.lead.wake_driver(&self.watch);
        self.outbox.notify();
        let mut backoff = Backoff::default();
        while self.attention.load(Ordering::Relaxed)
            && self.waiting_for_data.load(Ordering::Relaxed) > 0
        {
            if self.watch.wake_local(Sleeper::Waiter).is_err() {
                break;
            }
            backoff.pause();
        }
    }

    /// Whether a thread that is about to sleep must look at the state of the end instead.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_over() || self.is_gone() || self.attention.load(Ordering::Relaxed)
    }

    /// Takes note of a disturbance.
    pub(crate) fn take_interrupt(&self) {
        // Acquire: what is to be attended to; pairs with the Release in `interrupt`.
        if self.attention.load(Ordering::Relaxed) {
            self.attention.swap(false, Ordering::Acquire);
        }
    }

    /// Announces that this thread may go to sleep until a message comes, until the guard is dropped. Look at the state after this.
    pub(crate) fn sleeping_for_data(&self) -> SleepGuard<'_> {
        SleepGuard::new(&self.waiting_for_data)
    }

    /// As [`sleeping_for_data`](Self::sleeping_for_data), until there is room.
    pub(crate) fn sleeping_for_space(&self) -> SleepGuard<'_> {
        SleepGuard::new(&self.waiting_for_space)
    }

    /// The inbox. A thread that spins with it lets go of it at once.
    #[inline]
    pub(crate) fn inbox(&self) -> SpinGuard<'_, Inbox> {
        self.inbox.lock()
    }

    /// Whether a thread that spins with the inbox should let go of it.
    #[inline]
    pub(crate) fn inbox_is_wanted(&self) -> bool {
        self.inbox.is_contended()
    }

    /// Waits, as the thread that leads, until nobody else wants the inbox.
    pub(crate) fn let_others_have_the_inbox(&self) {
        self.inbox.yield_to_waiters();
    }

    /// Whether there is something to receive for a thread of this depth of nesting.
    pub(crate) fn has_something(&self) -> bool {
        self.inbox().has_something(&self.watch, self.handlers_running.is_at_bound())
    }

    /// By when a call that says nothing of its own is to be answered.
    #[inline]
    pub(crate) fn default_deadline(&self) -> Deadline {
        Deadline::of_a_call(self.settings.call_timeout)
    }

    /// Counts an event that was not sent, if that was for want of room.
    #[cold]
    pub(crate) fn count_refused(&self, error: &Error) {
        if matches!(error, Error::Full) {
            Counters::add(&self.counters.events_refused);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let sent = self.outbox.counters();
        let (messages_received, bytes_received, wakeups) = {
            let inbox = self.inbox();
            let (messages, bytes) = inbox.counters();
            (messages, bytes, inbox.wakeups())
        };
        let peer = self.watch.peer_report();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            messages_sent: sent.messages,
            bytes_sent: sent.bytes,
            messages_received,
            bytes_received,
            waits_for_room: sent.waits_for_space,
            sleeps: get(&self.counters.sleeps),
            wakeups_sent: sent.wakeups.wrapping_add(wakeups),
            events_unheard: get(&self.counters.events_unheard),
            events_undecodable: get(&self.counters.events_undecodable),
            events_mistyped: get(&self.counters.events_mistyped),
            events_mistyped_by_peer: peer.mistyped,
            events_unheard_by_peer: peer.unheard,
            events_undecodable_by_peer: peer.undecodable,
            event_panics: get(&self.counters.event_panics),
            answers_dropped: get(&self.counters.answers_dropped),
            calls_refused: get(&self.counters.calls_refused),
            events_refused: get(&self.counters.events_refused),
            events_dropped: get(&self.counters.events_dropped),
            events_replaced: get(&self.counters.events_replaced),
            cancels_sent: get(&self.served_later.counters.sent),
            cancels_received: get(&self.served_later.counters.received),
            cancels_ignored: get(&self.served_later.counters.ignored),
            calls_skipped: get(&self.counters.calls_skipped),
        }
    }
}

#[cold]
fn forked() -> Box<Error> {
    Box::new(Error::Forked)
}

/// See [`End::sleeping_for_data`].
pub(crate) struct SleepGuard<'a>(&'a AtomicU32);

impl<'a> SleepGuard<'a> {
    fn new(sleepers: &'a AtomicU32) -> SleepGuard<'a> {
        // Whoever changes the state looks here afterwards: one of the two sees the other. The fence pairs with those in `wake_all`
        // and `interrupt`.
        sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        SleepGuard(sleepers)
    }
}

impl Drop for SleepGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
