//! Tracks the calls in flight: which answer belongs to which waiter.
//!
//! The calls are in a table of entries. A call claims an entry under a serial number that the entry
//! never has again. So a late answer to a forgotten call finds another serial, or none. Entries are
//! reused. The table grows to the largest number of calls that were ever in flight at once. A call
//! that waits for its own answer takes no lock.

use std::task::Waker;

use crate::error::{Error, Step};
use crate::sync::parker::Parker;
use crate::sync::{Arc, AtomicU32, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, lock};
use crate::wire::header::{CallId, Failure};

/// Says how a call ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The message that holds the answer; the encoded result lies in the bytes from `from` to `to`.
    Answer { words: Vec<u64>, from: usize, to: usize },
    /// The peer serves no such method.
    NotFound,
    /// The peer has too many calls to answer.
    Overloaded,
    /// The error of the peer's handler.
    Remote(String),
    /// The types that were sent and wanted, in the peer's words.
    Mistyped(String),
    /// The call failed at this end.
    Failed(Error),
}

impl From<Failure<'_>> for Outcome {
    fn from(failure: Failure<'_>) -> Outcome {
        match failure {
            Failure::NotFound => Outcome::NotFound,
            Failure::Overloaded => Outcome::Overloaded,
            Failure::Remote(message) => Outcome::Remote(message.to_owned()),
            Failure::Mistyped(types) => Outcome::Mistyped(types.to_owned()),
        }
    }
}

/// Runs when the call has ended.
pub(crate) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// Says what to notify when the call has ended.
pub(crate) enum Notify {
    Thread(Arc<Parker>),
    Task(Waker),
    Callback(Callback),
}

/// Says how far a call was when it was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// The call was not in flight.
    Unknown,
    /// The call had no outcome yet.
    Unanswered,
    /// The call had its outcome.
    Answered,
}

/// Says what is left to do after a call was completed, once no lock is held.
pub(crate) enum Completion {
    /// Nothing: a thread was notified, or no notice was asked for.
    Done,
    /// Wake this task, then call [`woken`](InFlight::woken).
    Wake(Waker),
    /// Run this callback.
    Run(Callback, Outcome),
    /// The call is not in flight: it was forgotten, or never made.
    Unknown,
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Completion::Done => "Done",
            Completion::Wake(_) => "Wake",
            Completion::Run(..) => "Run",
            Completion::Unknown => "Unknown",
        })
    }
}

/// Holds what an entry knows beside its status.
#[derive(Default)]
enum SlotState {
    /// No notice was asked for yet, and there is no outcome.
    #[default]
    Quiet,
    Waiting(Notify),
    Done(Outcome),
}

/// Marks an entry that belongs to a call.
const BUSY: u64 = 1;

/// Marks an entry whose outcome is there.
const READY: u64 = 2;
/// Marks an entry whose call has a notice: a thread, a task or a callback waits.
const NOTICED: u64 = 4;
const FLAGS: u64 = BUSY | READY | NOTICED;
const SERIAL_SHIFT: u32 = 3;
const MAX_SERIAL: u64 = u64::MAX >> SERIAL_SHIFT;

/// Tracks one call after another.
#[derive(Default)]
struct Entry {
    /// The serial of the latest call, and the flags. At a billion calls a second, the serials of
    /// one entry last for seventy years.
    status: AtomicU64,
    state: Mutex<SlotState>,
}

/// Returns the status of an entry that belongs to the call with this serial.
///
/// A serial from the wire may be any number. For a serial that is too large, the result is a status
/// that no entry has.
#[inline]
fn busy(serial: u64) -> u64 {
    if serial <= MAX_SERIAL { serial << SERIAL_SHIFT | BUSY } else { READY }
}

/// Returns the status of an entry that is free after the call with this serial.
#[inline]
fn free(serial: u64) -> u64 {
    serial << SERIAL_SHIFT
}

/// The distance between two samples of the table. It is a prime, so that every entry has its turn,
/// and large, so that neighbours are not sampled in a row.
const STRIDE: u32 = 1_000_003;

/// The number of entries in the first chunk. Few under the model checker, which makes all entries
/// anew for each execution.
const FIRST_CHUNK: u32 = if cfg!(loom) { 1 } else { 64 };
const CHUNKS: usize = 17;

/// The most calls that can be in flight on one end.
pub(crate) const MAX_IN_FLIGHT: u32 = FIRST_CHUNK * ((1 << CHUNKS) - 1);

/// Holds the table of entries.
pub(crate) struct InFlight {
    /// Chunk k has `FIRST_CHUNK << k` entries. No chunk is moved, or freed before the table.
    chunks: [OnceLock<Box<[Entry]>>; CHUNKS],
    capacity: AtomicU32,
    /// The largest capacity, from 1 to [`MAX_IN_FLIGHT`]: the calls that may be in flight at once.
    limit: u32,
    /// The entry freed last. So a series of calls uses one entry, which stays in the cache.
    hint: AtomicU32,
    /// The number of tasks that wait for an answer, until they are woken.
    tasks: AtomicUsize,
}

/// Gives the right to claim entries of a table. There is one claimer, so no other thread claims
/// meanwhile, and no exchange is needed.
#[derive(Debug)]
pub(crate) struct Claimer {
    cursor: u32,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InFlight").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl InFlight {
    /// Makes a table for at most `limit` calls at once, and for one call if `limit` is zero.
    pub(crate) fn new(limit: u32) -> (InFlight, Claimer) {
        let limit = limit.clamp(1, MAX_IN_FLIGHT);
        let chunks = [const { OnceLock::new() }; CHUNKS];
        let in_flight = InFlight {
            chunks,
            capacity: AtomicU32::new(0),
            limit,
            hint: AtomicU32::new(0),
            tasks: AtomicUsize::new(0),
        };
        in_flight.grow(0);
        (in_flight, Claimer { cursor: 0 })
    }

    #[inline]
    fn entry(&self, index: u32) -> Option<&Entry> {
        // Entry i is in the chunk whose first index is `FIRST_CHUNK * (2^k - 1)`.
        let shifted = index.checked_add(FIRST_CHUNK)?;
        let chunk = (shifted / FIRST_CHUNK).ilog2();
        let offset = shifted.wrapping_sub(FIRST_CHUNK << chunk);
        self.chunks.get(chunk as usize)?.get()?.get(offset as usize)
    }

    /// Adds a chunk, unless another thread has added it. Returns `false` if the table may not grow.
    fn grow(&self, seen: u32) -> bool {
        if seen >= self.limit {
            return false;
        }
        let chunk = (seen / FIRST_CHUNK).saturating_add(1).ilog2();
        let length = FIRST_CHUNK << chunk;
        let Some(slot) = self.chunks.get(chunk as usize) else { return false };
        slot.get_or_init(|| (0..length).map(|_| Entry::default()).collect());
        // Release: pairs with the Acquire in `claim_slowly`. The `OnceLock` publishes the entries
        // themselves.
        self.capacity.fetch_max(seen.saturating_add(length).min(self.limit), Ordering::Release);
        true
    }

    /// Claims an entry for a new call.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyCalls`] if as many calls are in flight as may be.
    #[inline]
    pub(crate) fn claim(&self, claimer: &mut Claimer) -> Step<CallId> {
        // Relaxed: a hint.
        match self.try_claim(self.hint.load(Ordering::Relaxed)) {
            Some(id) => Ok(id),
            None => self.claim_slowly(claimer),
        }
    }

    #[inline]
    fn try_claim(&self, entry: u32) -> Option<CallId> {
        let status = &self.entry(entry)?.status;
        // Acquire: pairs with the Release that freed the entry.
        let before = status.load(Ordering::Acquire);
        if before & FLAGS != 0 {
            return None;
        }
        let serial = (before >> SERIAL_SHIFT).wrapping_add(1);
        // Relaxed: only the claimer changes the status of a free entry. Other threads learn of the
        // call through the ring, or through what sends the call.
        status.store(busy(serial), Ordering::Relaxed);
        Some(CallId { entry, serial })
    }

    #[cold]
    fn claim_slowly(&self, claimer: &mut Claimer) -> Step<CallId> {
        loop {
            let capacity = self.capacity.load(Ordering::Acquire);
            // Samples the whole table. If 64 samples in a row are taken, far more than half of the
            // table is full.
            for _ in 0..capacity.min(64) {
                claimer.cursor = claimer.cursor.wrapping_add(STRIDE);
                if let Some(id) = self.try_claim(claimer.cursor.checked_rem(capacity).unwrap_or(0))
                {
                    return Ok(id);
                }
            }
            if !self.grow(capacity) {
                // The table is as large as it may be. Searches all of it, from where the last
                // search has ended.
                let start = claimer.cursor.checked_rem(capacity).unwrap_or(0);
                let found =
                    (start..capacity).chain(0..start).find_map(|entry| self.try_claim(entry));
                let id = found.ok_or(Error::TooManyCalls { limit: self.limit as usize })?;
                claimer.cursor = id.entry;
                return Ok(id);
            }
        }
    }

    /// Finds the entry of a call that is in flight.
    fn find(&self, id: CallId) -> Option<&Entry> {
        let entry = self.entry(id.entry)?;
        // Acquire: pairs with the Release in `complete`.
        (entry.status.load(Ordering::Acquire) & !(READY | NOTICED) == busy(id.serial))
            .then_some(entry)
    }

    /// Returns `true` if the outcome of the call is there.
    #[inline]
    pub(crate) fn is_ready(&self, id: CallId) -> bool {
        self.entry(id.entry)
            .is_some_and(|e| e.status.load(Ordering::Acquire) & !NOTICED == busy(id.serial) | READY)
    }

    /// Frees the entry of a call whose waiter has received the answer itself.
    ///
    /// If no notice was asked for, this takes no lock. Then nothing was ever stored in the entry,
    /// unless a hostile peer has sent two answers.
    #[inline]
    pub(crate) fn release(&self, id: CallId) {
        if let Some(entry) = self.entry(id.entry) {
            // Relaxed: the value is only compared.
            if entry.status.load(Ordering::Relaxed) == busy(id.serial) {
                // If another thread stores a second answer right now, the answer is left behind in
                // the free entry, where it means nothing.
                self.free(id, entry);
            } else {
                self.forget(id);
            }
        }
    }

    #[inline]
    fn free(&self, id: CallId, entry: &Entry) {
        // Release: pairs with the Acquire in `try_claim`.
        entry.status.store(free(id.serial), Ordering::Release);
        self.hint.store(id.entry, Ordering::Relaxed);
    }

    /// Takes the outcome, if it is there, and frees the entry.
    pub(crate) fn take(&self, id: CallId) -> Option<Outcome> {
        if !self.is_ready(id) {
            return None;
        }
        let entry = self.entry(id.entry)?;
        let mut state = lock(&entry.state);
        let SlotState::Done(outcome) = std::mem::take(&mut *state) else { return None };
        self.free(id, entry);
        Some(outcome)
    }

    /// Forgets a call: its answer will be dropped.
    pub(crate) fn forget(&self, id: CallId) -> Forgotten {
        let Some(entry) = self.find(id) else { return Forgotten::Unknown };
        let mut state = lock(&entry.state);
        // Again, under the lock: a callback may have been completed meanwhile, and the entry
        // reused.
        let status = entry.status.load(Ordering::Acquire);
        if status & !(READY | NOTICED) != busy(id.serial) {
            return Forgotten::Unknown;
        }
        // Dropping a notice may run user code, which must not find the lock held.
        let dropped = self.replace(&mut state, SlotState::Quiet);
        self.free(id, entry);
        drop(state);
        drop(dropped);
        if status & READY == 0 { Forgotten::Unanswered } else { Forgotten::Answered }
    }

    /// Asks for notice. Hands the notice back if the outcome is there already.
    pub(crate) fn notify(&self, id: CallId, notify: Notify) -> std::result::Result<(), Notify> {
        let Some(entry) = self.find(id) else { return Err(notify) };
        let mut state = lock(&entry.state);
        // The status decides, not the state: the state may be left over, see `release`. Relaxed:
        // under the lock the status changes only to be freed, by the waiter that asks here.
        if entry.status.load(Ordering::Relaxed) & !NOTICED != busy(id.serial) {
            return Err(notify);
        }
        entry.status.fetch_or(NOTICED, Ordering::Relaxed);
        let replaced = self.replace(&mut state, SlotState::Waiting(notify));
        drop(state);
        drop(replaced);
        Ok(())
    }

    /// Completes a call, and notifies its waiter.
    pub(crate) fn complete(&self, id: CallId, outcome: Outcome) -> Completion {
        let Some(entry) = self.find(id) else { return Completion::Unknown };
        let mut state = lock(&entry.state);
        // Again, under the lock: the call may have been forgotten meanwhile, and the entry reused.
        // A second answer is unknown, too.
        let before = entry.status.load(Ordering::Acquire);
        if before & !NOTICED != busy(id.serial) {
            return Completion::Unknown;
        }
        match std::mem::take(&mut *state) {
            SlotState::Waiting(Notify::Callback(callback)) => {
                self.free(id, entry);
                Completion::Run(callback, outcome)
            }
            waiting => {
                *state = SlotState::Done(outcome);
                // Release: pairs with the Acquire in `is_ready`. An exchange, because `release`
                // takes no lock and may free the entry right now.
                if entry
                    .status
                    .compare_exchange(before, before | READY, Ordering::Release, Ordering::Relaxed)
                    .is_err()
                {
                    return Completion::Unknown;
                }
                drop(state);
                match waiting {
                    SlotState::Waiting(Notify::Task(waker)) => Completion::Wake(waker),
                    SlotState::Waiting(Notify::Thread(parker)) => {
                        parker.notify();
                        Completion::Done
                    }
                    _ => Completion::Done,
                }
            }
        }
    }

    /// Replaces the state of an entry, and counts the tasks that wait.
    fn replace(&self, state: &mut SlotState, by: SlotState) -> SlotState {
        let is_task = |state: &SlotState| matches!(state, SlotState::Waiting(Notify::Task(_)));
        // Relaxed: a thread that relies on the count looks again after a fence; see
        // `DriverSlot::call_up`.
        if is_task(&by) {
            self.tasks.fetch_add(1, Ordering::Relaxed);
        }
        let before = std::mem::replace(state, by);
        if is_task(&before) {
            self.woken();
        }
        before
    }

    /// Counts a task that no longer waits.
    ///
    /// Call this once a [`Completion::Wake`] was carried out: until then, a thread still has to
    /// wake the task.
    pub(crate) fn woken(&self) {
        // Relaxed: a number. A thread that stands by because of the count does nothing that depends
        // on what this task does next.
        self.tasks.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns `true` if a task waits to be woken by an answer.
    pub(crate) fn wakes_tasks(&self) -> bool {
        // Relaxed: see `replace`.
        self.tasks.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if the call is still in flight, answered or not.
    pub(crate) fn is_known(&self, id: CallId) -> bool {
        self.find(id).is_some()
    }

    /// Returns `true` if the call is in flight and has no outcome yet.
    pub(crate) fn is_unanswered(&self, id: CallId) -> bool {
        self.is_known(id) && !self.is_ready(id)
    }

    /// Ends all waits: there will be no more answers.
    ///
    /// Threads and tasks look by themselves once they are woken; callbacks get `outcome`.
    pub(crate) fn abandon(&self, conclude: impl Fn(Completion), outcome: impl Fn() -> Outcome) {
        for entry in self.chunks.iter().filter_map(OnceLock::get).flatten() {
            if entry.status.load(Ordering::Acquire) & BUSY == 0 {
                continue;
            }
            let mut state = lock(&entry.state);
            let completion = match std::mem::take(&mut *state) {
                SlotState::Waiting(Notify::Callback(callback)) => {
                    entry.status.fetch_and(!FLAGS, Ordering::Release);
                    Completion::Run(callback, outcome())
                }
                SlotState::Waiting(Notify::Thread(parker)) => {
                    parker.notify();
                    Completion::Done
                }
                SlotState::Waiting(Notify::Task(waker)) => Completion::Wake(waker),
                other => {
                    *state = other;
                    Completion::Done
                }
            };
            drop(state);
            conclude(completion);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_whatever_the_index() {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let ids: Vec<CallId> =
            (0..100_000).map(|_| in_flight.claim(&mut claimer).expect("space")).collect();
        let mut seen: Vec<u32> = ids.iter().map(|id| id.entry).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), ids.len(), "no entry is handed out twice");
        for id in &ids {
            assert!(matches!(in_flight.complete(*id, Outcome::NotFound), Completion::Done));
            assert!(
                matches!(in_flight.complete(*id, Outcome::NotFound), Completion::Unknown),
                "a second answer is unknown"
            );
            assert!(matches!(in_flight.take(*id), Some(Outcome::NotFound)));
        }
        let capacity = in_flight.capacity.load(Ordering::Relaxed);
        for _ in 0..1_000_000 {
            let id = in_flight.claim(&mut claimer).expect("space");
            in_flight.release(id);
        }
        assert_eq!(
            in_flight.capacity.load(Ordering::Relaxed),
            capacity,
            "a series of calls does not let the table grow"
        );
    }

    #[test]
    fn a_forgotten_call_has_no_answer_and_its_entry_is_reused_under_a_new_serial() {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let old = in_flight.claim(&mut claimer).expect("space");
        in_flight.forget(old);
        let new = in_flight.claim(&mut claimer).expect("space");
        assert_eq!(new.entry, old.entry);
        assert!(matches!(in_flight.complete(old, Outcome::NotFound), Completion::Unknown));
        assert!(!in_flight.is_ready(new));
    }

    #[test]
    fn exactly_as_many_calls_as_may_be_are_in_flight() {
        for limit in [1, 2, 63, 64, 65, 191, 192, 193, 1000, 20_000] {
            let (in_flight, mut claimer) = InFlight::new(limit);
            let ids: Vec<CallId> =
                (0..limit).map(|_| in_flight.claim(&mut claimer).expect("space")).collect();
            for id in ids.iter().step_by(1 + limit as usize / 9) {
                let refused = in_flight.claim(&mut claimer).map_err(|error| *error);
                assert!(
                    matches!(refused, Err(Error::TooManyCalls { limit: told }) if told == limit as usize),
                    "{refused:?}"
                );
                // Without the hint, which would lead to the free entry.
                assert_eq!(in_flight.forget(*id), Forgotten::Unanswered);
                in_flight.hint.store(id.entry.wrapping_add(1) % limit, Ordering::Relaxed);
                assert_eq!(in_flight.claim(&mut claimer).expect("space").entry, id.entry);
            }
        }
        let (in_flight, mut claimer) = InFlight::new(0);
        assert!(in_flight.claim(&mut claimer).is_ok() && in_flight.claim(&mut claimer).is_err());
    }

    #[test]
    fn answers_to_calls_that_were_never_made_are_unknown() {
        let (in_flight, _) = InFlight::new(MAX_IN_FLIGHT);
        for id in [
            CallId { entry: 0, serial: 0 },
            CallId { entry: 63, serial: 0 },
            CallId { entry: u32::MAX, serial: 7 },
            CallId { entry: 0, serial: MAX_SERIAL },
            CallId { entry: 0, serial: MAX_SERIAL + 1 },
            CallId { entry: 0, serial: u64::MAX },
        ] {
            assert!(
                matches!(in_flight.complete(id, Outcome::NotFound), Completion::Unknown),
                "{id:?}"
            );
        }
    }
}
