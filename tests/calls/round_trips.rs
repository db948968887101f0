//! Calls: arguments of every kind, many threads, many in flight, and answers that come too late.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{LIMIT, Unanswered, assert_matches, eventually, pattern, serve_later, within};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Coprocess, Error, Reply, current_deadline};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    y: f64,
    label: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtype(u128);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(Point, f64),
    Polygon { points: Vec<Point>, inner: Option<Box<Shape>> },
}

type Nested = BTreeMap<String, Vec<(Option<Shape>, Result<u8, String>)>>;

/// Serves values of one type under its name, and sends them back as they came.
fn echo<T: Serialize + DeserializeOwned + 'static>(end: &Coprocess) {
    end.serve(std::any::type_name::<T>(), |value: T| value);
}

fn echoes(parent: Coprocess) {
    echo::<()>(&parent);
    echo::<bool>(&parent);
    echo::<i8>(&parent);
    echo::<u64>(&parent);
    echo::<i64>(&parent);
    echo::<u128>(&parent);
    echo::<i128>(&parent);
    echo::<f32>(&parent);
    echo::<f64>(&parent);
    echo::<char>(&parent);
    echo::<String>(&parent);
    echo::<ByteBuf>(&parent);
    echo::<Option<Option<u8>>>(&parent);
    echo::<Vec<u16>>(&parent);
    echo::<[u32; 5]>(&parent);
    echo::<(u8, String, (i8, bool))>(&parent);
    echo::<HashMap<u32, String>>(&parent);
    echo::<Point>(&parent);
    echo::<Unit>(&parent);
    echo::<Newtype>(&parent);
    echo::<Shape>(&parent);
    echo::<Nested>(&parent);
}

#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(worker: &Coprocess, value: T) {
    let back: T = worker.call(std::any::type_name::<T>(), &value).unwrap();
    assert_eq!(back, value);
}

#[test]
fn every_serde_type() {
    within(LIMIT, || {
        let worker = coprocess::fork(echoes).unwrap();
        check(&worker, ());
        for value in [true, false] {
            check(&worker, value);
        }
        for value in [i8::MIN, -1, 0, i8::MAX] {
            check(&worker, value);
        }
        for shift in 0..64 {
            check(&worker, u64::MAX >> shift);
            check(&worker, i64::MIN >> shift);
        }
        check(&worker, u128::MAX);
        check(&worker, i128::MIN);
        check(&worker, 0.1_f32);
        for value in [0.0, -0.0, f64::MIN_POSITIVE, f64::INFINITY, std::f64::consts::PI] {
            check(&worker, value);
        }
        let not_a_number: f64 = worker.call("f64", f64::NAN).unwrap();
        assert_eq!(not_a_number.to_bits(), f64::NAN.to_bits());
        for value in ['a', 'é', '\u{0}', '\u{10ffff}'] {
            check(&worker, value);
        }
        for value in ["", "text", "наш", "line\nbreak\0zero", &"long ".repeat(10_000)] {
            check(&worker, value.to_owned());
        }
        check(&worker, ByteBuf::from(pattern(1, 1000)));
        for value in [None, Some(None), Some(Some(3))] {
            check::<Option<Option<u8>>>(&worker, value);
        }
        check(&worker, Vec::<u16>::new());
        check(&worker, (0..3000).collect::<Vec<u16>>());
        check(&worker, [1_u32, 2, 3, 4, u32::MAX]);
        check(&worker, (1_u8, "two".to_owned(), (-3_i8, true)));
        check(&worker, HashMap::from([(1_u32, "one".to_owned()), (2, "two".to_owned())]));
        let point = Point { x: 1.5, y: -2.5, label: Some("here".to_owned()) };
        check(&worker, point.clone());
        check(&worker, Unit);
        check(&worker, Newtype(1 << 100));
        check(&worker, Shape::Empty);
        let circle = Shape::Circle(point.clone(), 9.0);
        let polygon = Shape::Polygon { points: vec![point; 50], inner: Some(Box::new(circle)) };
        check(&worker, polygon.clone());
        let list = vec![(Some(polygon), Ok(1)), (None, Err("no".to_owned()))];
        check(&worker, Nested::from([("a".to_owned(), list), (String::new(), vec![])]));
    });
}

#[test]
fn borrowed_arguments_and_bytes() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("text", |text: String| text.len());
            parent.serve("bytes", |bytes: ByteBuf| bytes.len());
            parent.serve("sum", |numbers: Vec<u32>| numbers.iter().sum::<u32>());
        })
        .unwrap();
        let text = String::from("four");
        assert_eq!(worker.call::<usize>("text", &text).unwrap(), 4);
        assert_eq!(worker.call::<usize>("text", &text[1..]).unwrap(), 3);
        assert_eq!(worker.call::<usize>("bytes", Bytes::new(&[1, 2, 3])).unwrap(), 3);
        assert_eq!(worker.call::<u32>("sum", &[1_u32, 2, 3][..]).unwrap(), 6);
    });
}

#[test]
fn names_of_every_kind() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            for name in names() {
                let back = name.clone();
                parent.serve(&name, move |()| back.clone());
            }
        })
        .unwrap();
        for name in names() {
            assert_eq!(worker.call::<String>(&name, ()).unwrap(), name);
        }
    });
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = (1..100).map(|length| "n".repeat(length)).collect();
    names.extend(["a name", "имя", "a\0b", "{}", "listening to"].map(str::to_owned));
    names.push("long ".repeat(1000));
    names
}

#[test]
fn many_threads_on_one_handle() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("square", |x: u64| x * x);
            let held = Unanswered::default();
            parent.serve_deferred("square later", move |x: u64, reply: Reply<u64>| {
                let mut held = held.lock().unwrap();
                held.push((x, reply));
                // Every third call answers all that wait, so that answers come in another order
                // than calls.
                if x.is_multiple_of(3) {
                    for (x, reply) in held.drain(..).rev() {
                        reply.send(x * x).unwrap();
                    }
                }
            });
        })
        .unwrap();
        thread::scope(|scope| {
            for thread in 0..8_u64 {
                let worker = worker.clone();
                scope.spawn(move || {
                    for number in (0..1500).map(|n| n * 8 + thread) {
                        assert_eq!(worker.call::<u64>("square", number).unwrap(), number * number);
                        let later = worker.start::<u64>("square later", number).unwrap();
                        worker.start::<u64>("square later", 3_u64).unwrap().wait().unwrap();
                        assert_eq!(later.wait().unwrap(), number * number);
                    }
                });
            }
        });
    });
}

#[test]
fn a_hundred_thousand_calls_in_flight() {
    const COUNT: u64 = 100_000;
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| serve_later(&parent)).unwrap();
        for _ in 0..2 {
            let calls: Vec<_> =
                (0..COUNT).map(|number| worker.start::<u64>("later", number).unwrap()).collect();
            assert!(calls.iter().all(|call| !call.is_ready()));
            assert_eq!(worker.call::<u64>("now", ()).unwrap(), COUNT);
            for (number, call) in calls.into_iter().enumerate() {
                assert_eq!(call.wait().unwrap(), number as u64 * 2);
            }
        }
        assert_eq!(worker.stats().answers_dropped, 0);
    });
}

/// Answers of more bytes than the backlog of an end may have wait for this one to take them.
#[test]
fn a_hundred_thousand_calls_of_a_kibibyte() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("echo", |bytes: ByteBuf| bytes);
        })
        .unwrap();
        let calls: Vec<_> = (0..100_000)
            .map(|seed| {
                worker.start::<ByteBuf>("echo", ByteBuf::from(pattern(seed, 1024))).unwrap()
            })
            .collect();
        for (seed, call) in calls.into_iter().enumerate() {
            assert!(call.wait().unwrap() == pattern(seed, 1024), "call {seed}");
        }
    });
}

/// Keeps calls until `release`, which answers them with a value that no caller must ever see.
fn late(parent: Coprocess) {
    let held: Arc<Mutex<Vec<Reply<u64>>>> = Arc::default();
    let replies = held.clone();
    parent.serve_deferred("hold", move |(), reply: Reply<u64>| {
        held.lock().unwrap().push(reply);
    });
    parent.serve("release", move |()| {
        let held = std::mem::take(&mut *replies.lock().unwrap());
        let count = held.len();
        for reply in held {
            // The caller has gone away; that is not the handler's failure.
            reply.send(u64::MAX).unwrap();
        }
        count
    });
    parent.serve("echo", |x: u64| x);
    let end = parent.downgrade();
    parent.serve("skipped", move |()| end.upgrade().unwrap().stats().calls_skipped);
    // Until its caller has given up, or for so many microseconds.
    parent.serve("slow", |micros: u64| {
        let until =
            current_deadline().unwrap_or_else(|| Instant::now() + Duration::from_micros(micros));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        u64::MAX
    });
}

#[test]
fn late_answers_are_never_confused() {
    within(LIMIT, || {
        let worker = coprocess::fork(late).unwrap();
        let mut in_time = 0;
        let mut rounds = 0;
        // Until there were many late ones, however often this thread has to wait for its turn.
        while rounds < 200 || worker.stats().answers_dropped < 300 {
            let round = rounds;
            rounds += 1;
            let timeout = Duration::from_micros(round % 40 * 25);
            // The handler works until the deadline is past, so its answer is on the way when new
            // calls are made.
            match worker.call_timeout::<u64>("slow", 0_u64, timeout) {
                Err(Error::Timeout) => {}
                // What has come by the time that this thread runs again is taken.
                Ok(u64::MAX) => in_time += 1,
                other => panic!("{other:?}"),
            }
            drop(worker.start::<u64>("slow", 20_u64).unwrap());
            let pending = worker.start::<u64>("slow", round % 40 * 25 + 100).unwrap();
            match pending.wait_timeout(timeout) {
                Err(Error::Timeout) => {}
                Ok(u64::MAX) => in_time += 1,
                other => panic!("{other:?}"),
            }
            for number in 0..40 {
                assert_eq!(
                    worker.call::<u64>("echo", round * 100 + number).unwrap(),
                    round * 100 + number
                );
            }
        }
        let (sent, late) = (worker.stats().cancels_sent, worker.stats().answers_dropped);
        // Each call that was given up after its handler had begun was answered nevertheless, no
        // later than the last of the others.
        assert_eq!(late, sent - worker.call::<u64>("skipped", ()).unwrap());
        assert!(
            (300..=3 * rounds - in_time).contains(&late),
            "{late} in {rounds} rounds, and {in_time} in time"
        );
    });
}

/// Calls that were given up before their answer was sent are not answered at all. The ring has room
/// to say so.
#[test]
fn calls_that_were_given_up_are_not_answered_later() {
    within(LIMIT, || {
        let worker = coprocess::fork(late).unwrap();
        let mut forgotten = 0;
        for round in 0..200_u64 {
            let timeout = Duration::from_micros(round % 40 * 25);
            match worker.call_timeout::<u64>("hold", (), timeout) {
                // Not even sent in time: then nothing will be answered.
                Err(Error::Timeout) => {}
                other => panic!("{other:?}"),
            }
            drop(worker.start::<u64>("hold", ()).unwrap());
            let pending = worker.start::<u64>("hold", ()).unwrap();
            assert_matches!(pending.wait_timeout(timeout), Err(Error::Timeout));
            // New calls while the late ones are answered.
            let calls: Vec<_> = (0..20)
                .map(|number| worker.start::<u64>("echo", round * 100 + number).unwrap())
                .collect();
            let release = worker.start::<u64>("release", ()).unwrap();
            let more: Vec<_> = (20..40)
                .map(|number| worker.start::<u64>("echo", round * 100 + number).unwrap())
                .collect();
            for (number, call) in calls.into_iter().chain(more).enumerate() {
                assert_eq!(call.wait().unwrap(), round * 100 + number as u64);
            }
            forgotten += release.wait().unwrap();
        }
        let skipped = worker.call::<u64>("skipped", ()).unwrap();
        assert!(forgotten >= 200 && forgotten + skipped <= 600, "{forgotten} and {skipped}");
        let stats = worker.stats();
        assert_eq!((stats.cancels_sent, stats.answers_dropped), (forgotten + skipped, 0));
    });
}

#[test]
fn late_answers_with_many_threads() {
    within(LIMIT, || {
        let worker = coprocess::fork(late).unwrap();
        thread::scope(|scope| {
            for thread in 0..6_u64 {
                let worker = &worker;
                scope.spawn(move || {
                    for number in (0..150).map(|n| n * 6 + thread) {
                        let timeout = Duration::from_micros(number % 7 * 30);
                        // Another thread may release the call in time, with the value that only
                        // `hold` answers.
                        match worker.call_timeout::<u64>("hold", (), timeout) {
                            Err(Error::Timeout) | Ok(u64::MAX) => {}
                            other => panic!("{other:?}"),
                        }
                        assert_eq!(worker.call::<u64>("echo", number).unwrap(), number);
                        if number.is_multiple_of(5) {
                            worker.call::<u64>("release", ()).unwrap();
                        }
                    }
                });
            }
        });
    });
}

#[test]
fn deferred_answers_from_many_threads() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve_deferred("later", |x: u64, reply: Reply<u64>| {
                thread::spawn(move || match x % 3 {
                    0 => reply.send(x).unwrap(),
                    1 => reply.fail(format!("no {x}")).unwrap(),
                    _ => drop(reply),
                });
            });
        })
        .unwrap();
        let calls: Vec<_> =
            (0..300_u64).map(|number| worker.start::<u64>("later", number).unwrap()).collect();
        for (number, call) in calls.into_iter().enumerate() {
            match (number % 3, call.wait()) {
                (0, Ok(answer)) => assert_eq!(answer, number as u64),
                (1, Err(Error::Remote { message, .. })) => {
                    assert_eq!(message, format!("no {number}"))
                }
                (2, Err(Error::Remote { .. })) => {}
                (_, other) => panic!("{number}: {other:?}"),
            }
        }
    });
}

/// A reply outlives the handler, and may be used after the caller has gone.
#[test]
fn a_reply_to_an_end_that_is_gone() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            thread::spawn(move || drop(parent.call::<u8>("hold", ())));
        })
        .unwrap();
        let reply: Arc<Mutex<Option<Reply<u8>>>> = Arc::default();
        let keep = reply.clone();
        worker.serve_deferred("hold", move |(), reply: Reply<u8>| {
            *keep.lock().unwrap() = Some(reply);
        });
        eventually("the worker has called", || reply.lock().unwrap().is_some());
        worker.kill().unwrap();
        eventually("the worker is gone", || !worker.is_connected());
        let reply = reply.lock().unwrap().take().unwrap();
        assert_matches!(reply.send(1), Err(Error::Disconnected(_)));
    });
}
