//! Finds out whether the control group lets this process use two processors at a time.
//!
//! Finding out takes as long as a hundred calls. So all waits of a process share what was found,
//! and a pair starts with what is known. When the answer is old, waits that have come to their end
//! anyway ask again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

/// The age from which on the answer is asked for again, in milliseconds.
const MAX_AGE: u64 = 2_000;

/// Zero as long as nothing is known. Else the moment of the answer, in milliseconds from 1 on,
/// above a bit that is set for yes.
static KNOWN: AtomicU64 = AtomicU64::new(0);
static START: OnceLock<Instant> = OnceLock::new();

/// Returns the last answer; yes, until there is one.
pub(crate) fn probably_allows_two() -> bool {
    let known = KNOWN.load(Ordering::Relaxed);
    known == 0 || known & 1 == 1
}

/// Returns `true` if the control group allows two processors, as of `now` or not long ago.
pub(crate) fn allows_two(now: Instant) -> bool {
    let now = now.saturating_duration_since(*START.get_or_init(Instant::now)).as_millis() as u64;
    let now = now.saturating_add(1);
    // Relaxed: a hint that is complete in itself. Two threads that ask at once store the same
    // answer.
    let known = KNOWN.load(Ordering::Relaxed);
    if known != 0 && now.saturating_sub(known >> 1) < MAX_AGE {
        return known & 1 == 1;
    }
    let allows = available_parallelism().is_ok_and(|n| n.get() >= 2);
    KNOWN.store(now << 1 | u64::from(allows), Ordering::Relaxed);
    allows
}
