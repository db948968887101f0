//! One end of a pair: what its handles, its driver and the process watcher share.
//!
//! This folder holds every `impl End`. A file is about one thing that an end does: [`send`],
//! [`receive`], [`handle`], [`wait`], [`poll`], [`driver`], [`cancel`], [`close`] and so on. What
//! an end *is* lives in the folders below: calls in flight in `calls/`, the outbox in `send/`, the
//! inbox and the handlers in `recv/`, the lead in `drive/`.

use std::sync::{Arc, OnceLock};

use coprocess_ring::{Receiver, Region, Sender, Side, Spin, Watch};

use crate::calls::in_flight::InFlight;
use crate::calls::peer_calls::PeerCalls;
use crate::calls::timers::Timers;
use crate::drive::driver::Driver;
use crate::drive::lead::Lead;
use crate::drive::poll_bias::PollBias;
use crate::drive::ready_signal::ReadySlot;
use crate::end::handler_stack::HandlerStack;
use crate::end::state::EndState;
use crate::end::transit::Transit;
use crate::error::{Error, Step};
use crate::limits::TYPES_SPACE;
use crate::process::{Endings, Worker};
use crate::recv::handlers::Registry;
use crate::recv::inbox::Inbox;
use crate::send::gauges::Gauges;
use crate::send::outbox::Outbox;
use crate::send::pending_emits::PendingEmits;
use crate::settings::Settings;
use crate::stats::Counters;
use crate::sync::spin_mutex::{SpinGuard, SpinMutex};
use crate::time::deadline::Deadline;
use crate::time::host_clock::Clock;
use crate::types::peer_types::PeerTypes;
use crate::types::sent_types::SentTypes;

pub(crate) mod answer;
pub(crate) mod bytes;
pub(crate) mod cancel;
pub(crate) mod close;
pub(crate) mod crossing;
pub(crate) mod desk;
pub(crate) mod driver;
pub(crate) mod gauges;
pub(crate) mod handle;
pub(crate) mod handler_stack;
pub(crate) mod interrupt;
pub(crate) mod introduce;
pub(crate) mod leader;
pub(crate) mod look_ahead;
pub(crate) mod pending_emits;
pub(crate) mod poll;
pub(crate) mod poll_answer;
pub(crate) mod readiness;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod sleep;
pub(crate) mod space;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod timeouts;
pub(crate) mod transit;
pub(crate) mod unheard;
pub(crate) mod wait;

/// Holds one end of a pair.
#[derive(Debug)]
pub(crate) struct End {
    /// What both ends have agreed on.
    pub(crate) settings: Settings,
    /// Translates deadlines to and from the clock of the host.
    pub(crate) clock: Clock,
    /// How far this end has come, and which of its threads sleep.
    pub(crate) state: EndState,
    /// The process id of the peer.
    pub(crate) peer: u32,
    /// The doorbells and flags that both ends share.
    pub(crate) watch: Watch,
    /// What this end sends.
    pub(crate) outbox: Outbox,
    /// What this end has received. The leader holds the lock also while it spins for a message:
    /// take it by [`inbox`](Self::inbox).
    inbox: SpinMutex<Inbox>,
    /// Calls of this end whose results were not taken yet.
    pub(crate) in_flight: InFlight,
    /// Calls of the peer that are being served.
    pub(crate) peer_calls: PeerCalls,
    /// Deadlines that no thread waits for.
    pub(crate) timers: Timers,
    /// The handlers.
    pub(crate) registry: Registry<End>,
    /// What this end sends and what the peer sends, by name and type.
    pub(crate) types: Types,
    /// Events of which the latest value matters.
    pub(crate) gauges: Gauges,
    /// Events of tasks that wait for space.
    pub(crate) pending_emits: PendingEmits,
    /// The lead: the right of one thread to receive.
    pub(crate) lead: Lead,
    /// The driver: the library's thread that leads while no other thread waits.
    pub(crate) driver: Driver,
    /// Whether tasks should look for their answers themselves.
    pub(crate) poll_bias: PollBias,
    /// The descriptor for event loops.
    pub(crate) ready_slot: ReadySlot,
    /// Whether the leader has a message that is in no table.
    pub(crate) transit: Transit,
    /// The handlers that run, nested in each other.
    pub(crate) handler_stack: HandlerStack,
    /// How long to spin before a sleep.
    pub(crate) spins: Spins,
    pub(crate) counters: Counters,
    /// The worker process, on the parent's end.
    worker: OnceLock<Arc<Worker>>,
    /// What the program is told when the pair ends.
    pub(crate) endings: Endings,
}

/// Knows the values that cross the ring, by name and type.
#[derive(Debug, Default)]
pub(crate) struct Types {
    /// What this end has sent.
    pub(crate) sent: SentTypes,
    /// What the numbers of the peer stand for.
    pub(crate) peer: PeerTypes,
}

/// Learns how long the threads of an end spin before they sleep, from how that went.
#[derive(Debug)]
pub(crate) struct Spins {
    /// For a message to come.
    pub(crate) data: Spin,
    /// For space in the ring.
    pub(crate) space: Spin,
}

impl End {
    /// Creates an end in `region`. `peer` is the process id of the peer.
    pub(crate) fn new(region: &Region, side: Side, peer: u32, settings: Settings) -> Arc<End> {
        let (in_flight, claimer) = InFlight::new(settings.max_calls_in_flight);
        let most = settings.max_message.saturating_add(TYPES_SPACE);
        Arc::new(End {
            settings,
            clock: Clock::new(),
            state: EndState::new(),
            peer,
            watch: Watch::new(region, side),
            outbox: Outbox::new(Sender::new(region, side), claimer),
            inbox: SpinMutex::new(Inbox::new(Receiver::new(region, side, most))),
            in_flight,
            peer_calls: PeerCalls::default(),
            timers: Timers::new(),
            registry: Registry::default(),
            types: Types::default(),
            gauges: Gauges::default(),
            pending_emits: PendingEmits::default(),
            lead: Lead::new(Spin::new(settings.strategy, std::process::id())),
            driver: Driver::default(),
            poll_bias: PollBias::default(),
            ready_slot: ReadySlot::default(),
            transit: Transit::default(),
            handler_stack: HandlerStack::default(),
            spins: Spins {
                data: Spin::new(settings.strategy, peer),
                space: Spin::new(settings.strategy, peer),
            },
            counters: Counters::default(),
            worker: OnceLock::new(),
            endings: Endings::default(),
        })
    }

    /// Tells the parent's end which process is its peer.
    pub(crate) fn set_worker(&self, worker: Arc<Worker>) {
        let first = self.worker.set(worker);
        debug_assert!(first.is_ok(), "an end has one worker");
    }

    /// Returns the worker process, or `None` on the worker's end.
    pub(crate) fn worker(&self) -> Option<&Arc<Worker>> {
        self.worker.get()
    }

    /// Returns `true` if this process is a fork of the process that the end belongs to. A fork may
    /// ask the end for nothing else.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        self.state.is_foreign()
    }

    /// Fails if this process is a fork of the process that the end belongs to.
    #[inline]
    pub(crate) fn check_own(&self) -> Step<()> {
        if self.is_foreign() { Err(forked()) } else { Ok(()) }
    }

    /// Locks the inbox. A thread that spins with the inbox lets go of it at once.
    #[inline]
    pub(crate) fn inbox(&self) -> SpinGuard<'_, Inbox> {
        self.inbox.lock()
    }

    /// Returns `true` if a thread that spins with the inbox should let go of it.
    #[inline]
    pub(crate) fn inbox_is_wanted(&self) -> bool {
        self.inbox.is_contended()
    }

    /// Waits, as the leader, until no other thread wants the inbox.
    pub(crate) fn let_others_have_the_inbox(&self) {
        self.inbox.yield_to_waiters();
    }

    /// Returns `true` if there is a message for a thread of this depth of nesting.
    pub(crate) fn has_something(&self) -> bool {
        self.inbox().has_something(&self.watch, self.handler_stack.is_at_bound())
    }

    /// Returns the deadline of a call that has no timeout of its own.
    #[inline]
    pub(crate) fn default_deadline(&self) -> Deadline {
        Deadline::of_a_call(self.settings.call_timeout)
    }
}

#[cold]
fn forked() -> Box<Error> {
    Box::new(Error::Forked)
}
