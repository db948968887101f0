//! A steady stream of messages of one size allocates nothing, at either end: the buffers are
//! reused.
//!
//! The promise holds for events, and for calls that are waited for and answered at once. A handle
//! of `start`, a `Reply` and a future have memory of their own.
//!
//! A binary of its own: its global allocator counts.
#![allow(unsafe_code, reason = "an allocator that counts")]
// Events, and the threads that wait for them, allocate for every wait that ends by itself.
#![cfg(not(coprocess_second_backend))]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use coprocess::serde_bytes::Bytes;
use coprocess::{Backpressure, Builder, Coprocess, WaitStrategy};

use crate::common::alone;

coprocess::init_in_tests!();

/// The system's allocator, and how often this process has asked it for memory.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it hands everything on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Makes a pair that does not spin. As long as spinning pays, a spinning thread asks the
/// system every two seconds how many processors there are, and the standard library answers with a
/// few allocations.
fn pair() -> Coprocess {
    Builder::new().wait(WaitStrategy::Block).fork(worker).unwrap()
}

fn worker(parent: Coprocess) {
    parent.serve("allocations", |()| allocations());
    parent.serve("double", |x: u64| 2 * x);
    parent.serve("sum", |numbers: [u64; 30]| [numbers.iter().sum::<u64>(); 30]);
    parent.serve_bytes("count", |bytes| bytes.len().to_le_bytes());
    parent.serve_bytes("page", |_| [7; 4096]);
    parent
        .listen("number", |_: u64| {})
        .listen("numbers", |_: [u64; 30]| {})
        .listen_bytes("bytes", |_| {})
        .listen_bytes("level", |_| {});
}

/// Does `step` many times, and fails if either process has allocated memory for it.
#[track_caller]
fn none_for(what: &str, co: &Coprocess, step: impl FnMut(u64)) {
    none_for_all(what, co, step, 0);
}

/// Checks what [`none_for`] checks, for steps of which only some are answered, as soon as so many
/// answers have come.
#[track_caller]
fn none_for_all(what: &str, co: &Coprocess, mut step: impl FnMut(u64), answers: u64) {
    const STEPS: u64 = 2000;
    let there = |co: &Coprocess| co.call::<u64>("allocations", ()).unwrap();
    // Buffers and tables grow once. So does the buffer for the kinds of the number that is asked
    // for.
    there(co);
    (0..STEPS).for_each(&mut step);
    let there_before = there(co);
    // Another thread than the one that waited may have received the answer to that call, and have
    // taken a buffer along.
    let received = co.stats().messages_received;
    (0..STEPS / 4).for_each(&mut step);
    while co.stats().messages_received < received + answers {
        step(0);
    }
    let here_before = allocations();
    (0..STEPS).for_each(&mut step);
    let here = allocations() - here_before;
    assert_eq!(
        (here, there(co) - there_before),
        (0, 0),
        "allocations at both ends for {STEPS} of {what}"
    );
}

#[test]
fn the_allocator_counts() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(1)));
    assert!(allocations() > before);
}

#[test]
fn a_steady_stream_allocates_nothing() {
    alone!({
        let co = pair();
        none_for("calls", &co, |n| assert_eq!(co.call::<u64>("double", n).unwrap(), 2 * n));
        none_for("calls beyond a slot", &co, |n| {
            assert_eq!(co.call::<[u64; 30]>("sum", [n; 30]).unwrap(), [30 * n; 30])
        });
        none_for("events", &co, |n| co.emit("number", n).unwrap());
        none_for("events beyond a slot", &co, |n| co.emit("numbers", [n; 30]).unwrap());
        none_for("events without a listener", &co, |n| co.emit("unheard", n).unwrap());
        for size in [0, 8, 100, 5000, 40_000, 200_000] {
            let bytes = vec![7; size];
            let mut answer = Vec::new();
            none_for(&format!("events of {size} bytes"), &co, |_| {
                co.emit_bytes("bytes", &bytes).unwrap()
            });
            none_for(&format!("byte strings of {size} bytes"), &co, |_| {
                co.emit("bytes", Bytes::new(&bytes)).unwrap()
            });
            none_for(&format!("calls of {size} bytes"), &co, |_| {
                co.call_bytes_into("count", &bytes, &mut answer).unwrap();
                assert_eq!(answer, bytes.len().to_le_bytes());
            });
        }
        let mut answer = Vec::new();
        none_for("answers of a page", &co, |_| {
            co.call_bytes_into("page", b"", &mut answer).unwrap()
        });
        assert_eq!(answer, [7; 4096]);
        co.close().unwrap();
    });
}

#[test]
fn a_steady_gauge_allocates_nothing() {
    alone!({
        let co = pair();
        for size in [8, 100, 5000] {
            let bytes = vec![7; size];
            let level = co.event("level").backpressure(Backpressure::KeepLatest);
            // Until values were sent both ways many times: by this thread, and by the thread that
            // receives the receipts.
            let before = co.stats();
            while co.stats().events_replaced < before.events_replaced + 1000
                || co.stats().messages_sent < before.messages_sent + 2000
            {
                level.emit_bytes(&bytes).unwrap();
            }
            // The peer may have had no processor meanwhile, and so have sent no receipt.
            none_for_all(
                &format!("values of {size} bytes of a gauge"),
                &co,
                |_| level.emit_bytes(&bytes).unwrap(),
                3,
            );
        }
        co.close().unwrap();
    });
}
