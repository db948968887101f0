//! What becomes of events while the peer is slow: the four choices, and what each counts.

use crate::common;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use coprocess::serde_bytes::ByteBuf;
use coprocess::{Backpressure, Builder, Coprocess, Error};
use serde::{Serialize, Serializer};

use crate::common::{
    LIMIT, SMALL_RING, assert_matches, at_once, eventually, fresh_path, inbox, next, within,
};

/// Records the values of `level`, and if told so, writes them to a file, too. The handler of the
/// first value does not return before the gate, a file, exists, or this end is disconnected.
fn reader(parent: Coprocess) {
    let seen = Arc::new(Mutex::new(Vec::<u64>::new()));
    let gate = Arc::new(Mutex::new(None::<String>));
    let journal = Arc::new(Mutex::new(None::<String>));
    let (record, closed, weak, written) =
        (seen.clone(), gate.clone(), parent.downgrade(), journal.clone());
    parent.listen("gate", move |path: String| *gate.lock().unwrap() = Some(path));
    parent.listen("journal", move |path: String| *journal.lock().unwrap() = Some(path));
    parent.listen("level", move |value: u64| {
        record.lock().unwrap().push(value);
        if let Some(journal) = &*written.lock().unwrap() {
            std::fs::write(journal, format!("{:?}", record.lock().unwrap())).unwrap();
        }
        let path = closed.lock().unwrap().take();
        if let Some(path) = path {
            eventually("the gate is open", || {
                Path::new(&path).exists()
                    || weak.upgrade().is_none_or(|parent| !parent.is_connected())
            });
        }
    });
    let record = seen.clone();
    parent.listen_bytes("raw level", move |value| {
        record.lock().unwrap().push(u64::from_le_bytes(value.try_into().unwrap()))
    });
    let other = seen.clone();
    parent.listen("other", move |_: Vec<u64>| other.lock().unwrap().push(0));
    let count = seen.clone();
    parent.serve("how many", move |()| count.lock().unwrap().len());
    parent.serve("seen", move |()| seen.lock().unwrap().clone());
}

fn closed_gate(co: &Coprocess) -> std::path::PathBuf {
    let path = fresh_path("gate");
    co.emit("gate", path.to_str().unwrap()).unwrap();
    path
}

fn open(gate: &Path) {
    std::fs::write(gate, "").unwrap();
}

fn seen(co: &Coprocess) -> Vec<u64> {
    co.call_timeout("seen", (), LIMIT / 2).unwrap()
}

#[test]
fn a_slow_reader_of_a_gauge_is_behind_by_one_value_and_then_gets_the_latest() {
    within(LIMIT, || {
        let co = coprocess::fork(reader).unwrap();
        let gate = closed_gate(&co);
        let level = co.event("level").backpressure(Backpressure::KeepLatest);
        let before = co.stats();
        for value in 1..=1000_u64 {
            level.emit(value).unwrap();
        }
        let stats = co.stats();
        assert_eq!(stats.messages_sent, before.messages_sent + 1, "never two of them on the way");
        assert_eq!(stats.events_replaced, 998);
        open(&gate);
        // At this end no thread emits any more, or waits.
        eventually("the last value is sent", || {
            co.stats().messages_sent == before.messages_sent + 2
        });
        assert_eq!(seen(&co), [1, 1000]);
        assert_eq!(co.stats().events_dropped, 0);
        co.close().unwrap();
    });
}

#[test]
fn a_fast_reader_of_a_gauge_sees_every_value() {
    within(LIMIT, || {
        let co = coprocess::fork(reader).unwrap();
        let level = co.event("level").backpressure(Backpressure::KeepLatest);
        let raw = co.event("raw level").backpressure(Backpressure::KeepLatest);
        let mut expected = Vec::new();
        for value in 0..500_u64 {
            level.emit(2 * value).unwrap();
            raw.emit_bytes(&(2 * value + 1).to_le_bytes()).unwrap();
            expected.extend([2 * value, 2 * value + 1]);
            // The answer comes behind the receipts.
            assert_eq!(co.call::<usize>("how many", ()).unwrap(), expected.len());
        }
        assert_eq!(seen(&co), expected);
        assert_eq!(co.stats().events_replaced, 0);
        co.close().unwrap();
    });
}

#[test]
fn the_handles_of_one_gauge_share_it_and_no_value_is_lost_uncounted() {
    within(LIMIT, || {
        let co = coprocess::fork(reader).unwrap();
        const EACH: u64 = 2000;
        let emitters: Vec<_> = (0..4_u64)
            .map(|thread| {
                let level = co.event("level").backpressure(Backpressure::KeepLatest);
                thread::spawn(move || {
                    (1..=EACH).for_each(|n| level.emit(thread << 32 | n).unwrap())
                })
            })
            .collect();
        emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
        co.event("level").backpressure(Backpressure::KeepLatest).emit(u64::MAX).unwrap();
        let mut values = Vec::new();
        eventually("the last value arrives", || {
            values = seen(&co);
            values.last() == Some(&u64::MAX)
        });
        assert_eq!(values.len() as u64 + co.stats().events_replaced, 4 * EACH + 1);
        for thread in 0..4 {
            let of_thread: Vec<u64> =
                values.iter().copied().filter(|value| value >> 32 == thread).collect();
            assert!(
                of_thread.is_sorted_by(|a, b| a < b),
                "each thread's values keep their order: {of_thread:?}"
            );
        }
        co.close().unwrap();
    });
}

#[test]
fn the_last_value_of_a_gauge_is_not_lost_when_this_end_closes() {
    for drop_only in [false, true] {
        within(LIMIT, move || {
            let co = common::patient().fork(reader).unwrap();
            let journal = fresh_path("journal");
            co.emit("journal", journal.to_str().unwrap()).unwrap();
            // Not opened: the first value is handled until the pair is closed.
            let _gate = closed_gate(&co);
            let level = co.event("level").backpressure(Backpressure::KeepLatest);
            for value in 1..=9_u64 {
                level.emit(value).unwrap();
            }
            assert_eq!(co.stats().events_replaced, 7);
            if drop_only {
                drop(co);
            } else {
                assert!(co.close().unwrap().unwrap().success());
            }
            eventually("the last value arrives", || {
                std::fs::read_to_string(&journal).is_ok_and(|text| text == "[1, 9]")
            });
            assert_matches!(level.emit(10_u64), Err(Error::Closed));
        });
    }
}

#[test]
fn to_emit_on_a_gauge_does_not_wait_for_room() {
    within(LIMIT, || {
        let co = Builder::new().ring_capacity(SMALL_RING).fork(reader).unwrap();
        let gate = closed_gate(&co);
        co.emit("level", 1_u64).unwrap();
        let mut others = 0;
        while co.try_emit("other", [7_u64; 20].as_slice()).is_ok() {
            others += 1;
        }
        let level = co.event("level").backpressure(Backpressure::KeepLatest);
        at_once(|| (2..=50_u64).for_each(|value| level.emit(value).unwrap()));
        assert_eq!(co.stats().events_replaced, 47);
        open(&gate);
        eventually("the last value arrives", || seen(&co).last() == Some(&50));
        let mut expected = vec![1];
        expected.resize(1 + others, 0);
        expected.extend([2, 50]);
        assert_eq!(seen(&co), expected);
        co.close().unwrap();
    });
}

#[test]
fn a_gauge_works_from_within_handlers_of_both_ends() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let back = parent.event("back").backpressure(Backpressure::KeepLatest);
            parent.listen("level", move |value: u64| back.emit(value).unwrap());
        })
        .unwrap();
        let level = co.event("level").backpressure(Backpressure::KeepLatest);
        let values = inbox::<u64>(&co, "back");
        let again = level.clone();
        co.listen("start", move |n: u64| again.emit(n).unwrap());
        for value in 0..200 {
            level.emit(value).unwrap();
            assert_eq!(next(&values), value);
        }
        (200..=300_u64).for_each(|value| level.emit(value).unwrap());
        while next(&values) != 300 {}
        co.close().unwrap();
    });
}

#[test]
fn unheard_and_undecodable_values_and_panics_of_the_reader_do_not_stop_a_gauge() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.listen("number", |_: u64| {});
            parent.listen("panics", |_: u64| std::panic::resume_unwind(Box::new(())));
            let stats = parent.downgrade();
            parent.serve("stats", move |()| {
                let stats = stats.upgrade().unwrap().stats();
                (stats.events_unheard, stats.events_undecodable, stats.event_panics)
            });
        })
        .unwrap();
        for name in ["unheard", "number", "panics"] {
            let gauge = co.event(name).backpressure(Backpressure::KeepLatest);
            for round in 0..10 {
                let before = co.stats().messages_sent;
                gauge.emit_bytes(if name == "number" { &[0xff] } else { &[7] }).unwrap();
                assert_eq!(
                    co.stats().messages_sent,
                    before + 1,
                    "{name} {round}: the former is done with"
                );
                co.call::<(u64, u64, u64)>("stats", ()).unwrap();
            }
        }
        assert_eq!(co.call::<(u64, u64, u64)>("stats", ()).unwrap(), (10, 10, 10));
        co.close().unwrap();
    });
}

/// Does something before it is encoded.
struct With<F>(F, u64);

impl<F: Fn()> Serialize for With<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0)();
        serializer.serialize_u64(self.1)
    }
}

#[test]
fn a_value_that_panics_or_emits_while_it_is_encoded_does_no_harm() {
    within(LIMIT, || {
        let co = coprocess::fork(reader).unwrap();
        let gate = closed_gate(&co);
        let level = co.event("level").backpressure(Backpressure::KeepLatest);
        let panicked = thread::spawn({
            let level = level.clone();
            move || level.emit(With(|| std::panic::resume_unwind(Box::new(())), 1))
        });
        panicked.join().unwrap_err();
        assert_eq!(co.stats().events_replaced, 0);
        level.emit(With(|| level.emit(1_u64).unwrap(), 2)).unwrap();
        level.emit(With(|| level.emit(3_u64).unwrap(), 4)).unwrap();
        open(&gate);
        eventually("the last value arrives", || seen(&co) == [1, 4]);
        assert_matches!(level.emit(vec![0_u8; 80 << 20]), Err(Error::TooLarge { .. }));
        level.emit(5_u64).unwrap();
        eventually("the gauge goes on", || seen(&co) == [1, 4, 5]);
        co.close().unwrap();
    });
}

#[test]
fn the_newest_is_dropped_and_counted_where_that_is_the_choice() {
    within(LIMIT, || {
        let co = Builder::new().ring_capacity(SMALL_RING).fork(reader).unwrap();
        let gate = closed_gate(&co);
        let level = co.event("level").backpressure(Backpressure::DropNewest);
        at_once(|| (1..=1000_u64).for_each(|value| level.emit(value).unwrap()));
        let dropped = co.stats().events_dropped;
        assert!(dropped >= 900, "a ring of 32 slots has room for no more: {dropped}");
        assert_eq!(co.stats().events_replaced, 0);
        open(&gate);
        let values = seen(&co);
        assert_eq!(values.len() as u64 + dropped, 1000);
        assert!(values.is_sorted_by(|a, b| a < b));
        level.emit(1001_u64).unwrap();
        assert_eq!(seen(&co).last(), Some(&1001), "there is room again");
        co.close().unwrap();
    });
}

#[test]
fn an_emitter_that_must_not_wait_gets_an_error_where_that_is_the_choice() {
    within(LIMIT, || {
        let co = Builder::new().ring_capacity(SMALL_RING).fork(reader).unwrap();
        let gate = closed_gate(&co);
        let level = co.event("level").backpressure(Backpressure::Fail);
        let mut sent = 0;
        let error = loop {
            match level.emit(sent) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_matches!(error, Error::Full);
        assert_matches!(level.emit_bytes(&[0]), Err(Error::Full));
        let stats = co.stats();
        assert_eq!((stats.events_refused, stats.events_dropped, stats.events_replaced), (2, 0, 0));
        assert_matches!(co.try_emit("level", 7_u64), Err(Error::Full));
        assert_eq!(co.stats().events_refused, 3);
        open(&gate);
        assert_eq!(seen(&co).len() as u64, sent);
        co.close().unwrap();
    });
}

#[test]
fn an_emitter_waits_unless_told_otherwise() {
    within(LIMIT, || {
        let co = Builder::new().ring_capacity(SMALL_RING).fork(reader).unwrap();
        let level = co.event("level");
        assert_eq!(level.name(), "level");
        (0..5000_u64).for_each(|value| level.emit(value).unwrap());
        assert_eq!(seen(&co), (0..5000).collect::<Vec<u64>>());
        co.close().unwrap();
        for choice in [
            Backpressure::Wait,
            Backpressure::Fail,
            Backpressure::DropNewest,
            Backpressure::KeepLatest,
        ] {
            let level = level.clone().backpressure(choice);
            assert_matches!(level.emit(1_u64), Err(Error::Closed));
            assert_matches!(level.emit_bytes(&[1]), Err(Error::Closed));
            assert!(format!("{level:?}").contains(&format!("{choice:?}")));
        }
    });
}

#[test]
fn a_gauge_ends_with_the_other_side() {
    within(LIMIT, || {
        let co = coprocess::fork(reader).unwrap();
        let _gate = closed_gate(&co);
        let level = co.event("level").backpressure(Backpressure::KeepLatest);
        (1..=3_u64).for_each(|value| level.emit(value).unwrap());
        co.kill().unwrap();
        eventually("the death is noticed", || {
            matches!(level.emit(4_u64), Err(Error::Disconnected(_)))
        });
        at_once(|| co.close().unwrap());
    });
}

/// What the ring does not take at once is an error, however long a caller would wait. What it takes
/// is sent if the peer has read everything.
#[test]
fn values_larger_than_the_ring_where_nobody_may_wait() {
    within(LIMIT, || {
        for capacity in [SMALL_RING, 64 * 1024] {
            let co = Builder::new()
                .ring_capacity(capacity)
                .fork(|parent| {
                    let received = Arc::new(Mutex::new(0));
                    let count = received.clone();
                    parent
                        .listen("bytes", move |bytes: ByteBuf| {
                            *count.lock().unwrap() += bytes.len()
                        })
                        .serve("received", move |()| {
                            std::mem::take(&mut *received.lock().unwrap())
                        });
                })
                .unwrap();
            let received = || co.call::<usize>("received", ()).unwrap();
            assert_eq!(received(), 0);
            let large = ByteBuf::from(vec![7; capacity]);
            let [fail, drop] = [Backpressure::Fail, Backpressure::DropNewest]
                .map(|choice| co.event("bytes").backpressure(choice));
            let refused = [
                co.try_emit("bytes", &large),
                fail.emit(&large),
                drop.emit(&large),
                fail.emit_bytes(&large),
            ];
            for refused in refused {
                let Err(Error::TooLarge { size, max }) = refused else { panic!("{refused:?}") };
                assert!(size > capacity && max < capacity && max > capacity / 2, "{size} {max}");
                assert_eq!(received(), 0);
                // Except for the head, and the length.
                let most = ByteBuf::from(vec![7; max - 32]);
                fail.emit(&most).unwrap();
                assert_eq!(received(), most.len());
            }
            let stats = co.stats();
            assert_eq!((stats.events_refused, stats.events_dropped), (0, 0));
            // One that may wait goes in parts.
            co.emit("bytes", &large).unwrap();
            assert_eq!(received(), large.len());
            co.close().unwrap();
        }
    });
}
