//! Typed interfaces: every form of a call, both directions, what is underneath, and ends that do not fit.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    LIMIT, assert_matches, at_once, check_error, meant, pattern, program, role, serve_parent,
    within,
};
use coprocess::interface::InterfaceError;
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reason, Reply, TypeCheck, WeakCoprocess};
use serde::{Deserialize, Serialize};

coprocess::init_in_tests!();

/// Waits for a future, as a runtime of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum NoQuotient {
    ByZero { dividend: i64 },
    Overflow,
}

/// Arithmetic, and one method of every shape.
#[coprocess::interface]
trait Calculator {
    /// Adds.
    fn add(&self, a: i64, b: i64) -> i64;
    fn divide(&self, a: i64, b: i64) -> Result<i64, NoQuotient>;
    fn nothing(&self);
    fn words(&self, text: &str) -> Vec<String>;
    fn sum_of_bytes(&self, bytes: &[u8]) -> u64;
    fn middle(&self, points: &[Point]) -> Option<Point>;
    fn mirror(&self, point: &Point, across: (f64, f64)) -> Point;
    fn count(&self, tables: BTreeMap<String, Vec<u32>>, names: Vec<String>, limit: usize) -> usize;
    fn r#type(&self, r#in: u8) -> u8;
    // Names that the code of the macro itself might use.
    fn shadows(&self, server: u8, on: u8, through: u8, co: u8, argument_0: u8) -> [u8; 5];
    fn panics(&self, why: String);
    fn noted(&self) -> Vec<String>;
    #[event]
    fn note(&self, text: &str, times: u32);
    #[event]
    fn forget(&self);
    #[cfg(not(test))]
    fn not_here(&self, of: NoSuchType) -> NoSuchType;
    #[cfg(test)]
    fn here(&self) -> bool;
    #[cfg_attr(test, cfg(not(test)), deprecated)]
    fn not_here_either(&self, of: NoSuchType) -> NoSuchType;
}

#[derive(Debug, Default)]
struct Plain {
    notes: Mutex<Vec<String>>,
    calls: AtomicU64,
}

impl Calculator for Plain {
    fn add(&self, a: i64, b: i64) -> i64 {
        self.calls.fetch_add(1, Ordering::Relaxed);
        a + b
    }

    fn divide(&self, a: i64, b: i64) -> Result<i64, NoQuotient> {
        if b == 0 {
            Err(NoQuotient::ByZero { dividend: a })
        } else {
            a.checked_div(b).ok_or(NoQuotient::Overflow)
        }
    }

    fn nothing(&self) {}

    fn words(&self, text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn sum_of_bytes(&self, bytes: &[u8]) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    fn middle(&self, points: &[Point]) -> Option<Point> {
        points.get(points.len() / 2).cloned()
    }

    fn mirror(&self, point: &Point, across: (f64, f64)) -> Point {
        Point { x: 2.0 * across.0 - point.x, y: 2.0 * across.1 - point.y }
    }

    fn count(&self, tables: BTreeMap<String, Vec<u32>>, names: Vec<String>, limit: usize) -> usize {
        names.iter().filter_map(|name| tables.get(name)).map(Vec::len).sum::<usize>().min(limit)
    }

    fn r#type(&self, r#in: u8) -> u8 {
        r#in + 1
    }

    fn shadows(&self, server: u8, on: u8, through: u8, co: u8, argument_0: u8) -> [u8; 5] {
        [server, on, through, co, argument_0]
    }

    fn panics(&self, why: String) {
        panic!("{why}");
    }

    fn noted(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }

    fn note(&self, text: &str, times: u32) {
        self.notes.lock().unwrap().extend((0..times).map(|_| text.to_owned()));
    }

    fn forget(&self) {
        self.notes.lock().unwrap().clear();
    }

    fn here(&self) -> bool {
        true
    }
}

/// Interfaces of the same names as in a program built from other sources.
mod elsewhere {
    /// One method has another argument.
    #[coprocess::interface]
    pub(crate) trait Clock {
        fn now(&self) -> u64;
        fn set(&self, seconds: u32) -> bool;
        #[event]
        fn tick(&self, seconds: u64);
    }

    pub(crate) struct Sundial;

    impl Clock for Sundial {
        fn now(&self) -> u64 {
            12
        }

        fn set(&self, seconds: u32) -> bool {
            seconds == 0
        }

        fn tick(&self, _: u64) {}
    }
}

/// An interface as it is here.
#[coprocess::interface]
trait Clock {
    fn now(&self) -> u64;
    fn set(&self, seconds: u64) -> bool;
    #[event]
    fn tick(&self, seconds: u64);
}

struct Watch;

impl Clock for Watch {
    fn now(&self) -> u64 {
        1
    }

    fn set(&self, seconds: u64) -> bool {
        seconds == 0
    }

    fn tick(&self, _: u64) {}
}

/// The interface as a newer client may have it.
mod newer {
    #[coprocess::interface]
    pub(crate) trait Clock {
        fn now(&self) -> u64;
        fn zone(&self) -> String;
    }
}

/// The interface as a client may have it that uses a part of it, borrows where the server does not, and sees to its spaces less.
mod part {
    #[coprocess::interface]
    pub(crate) trait Clock {
        #[event]
        fn tick(&self, unit: &u64);
        fn now(&self) -> u64;
    }
}

/// As [`Clock`], but what was a call is an event.
mod eager {
    #[coprocess::interface]
    pub(crate) trait Clock {
        #[event]
        fn set(&self, seconds: u64);
    }
}

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("serves a clock") => serve_parent(|parent| Watch.serve(&parent)),
        Some("serves another clock") => {
            serve_parent(|parent| elsewhere::Clock::serve(elsewhere::Sundial, &parent))
        }
        Some("serves no clock") => serve_parent(|parent| Plain::default().serve(&parent)),
        Some("keeps values") => serve_parent(|parent| values::serve_theirs(&parent)),
        Some("looks for a clock") => serve_parent(|parent| {
            let end = parent.downgrade();
            parent.try_serve("look", move |()| ClockClient::new(&end.upgrade().unwrap())?.now());
        }),
        Some(other) => unreachable!("{other}"),
    }
}

fn calculator() -> (Coprocess, CalculatorClient) {
    let co = common::patient().fork(|parent| Plain::default().serve(&parent)).unwrap();
    let client = CalculatorClient::new(&co).unwrap();
    (co, client)
}

// ---- calls and events ----------------------------------------------------------------------------------------------------------------

#[test]
fn methods_of_every_shape() {
    within(LIMIT, || {
        let (co, calculator) = calculator();
        assert_eq!(calculator.add(1, 2).unwrap(), 3);
        calculator.nothing().unwrap();
        assert_eq!(calculator.words("in so many words").unwrap(), ["in", "so", "many", "words"]);
        let bytes = pattern(3, 100_000);
        assert_eq!(
            calculator.sum_of_bytes(&bytes).unwrap(),
            bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        );
        let points = [Point { x: 1.0, y: 2.0 }, Point { x: 3.0, y: 4.0 }];
        assert_eq!(calculator.middle(&points).unwrap().as_ref(), Some(&points[1]));
        assert_eq!(calculator.middle(&[]).unwrap(), None);
        assert_eq!(calculator.mirror(&points[0], (0.0, 1.0)).unwrap(), Point { x: -1.0, y: 0.0 });
        let tables = BTreeMap::from([("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![3])]);
        assert_eq!(calculator.count(tables, vec!["a".to_owned(), "c".to_owned()], 9).unwrap(), 2);
        assert_eq!(calculator.r#type(6).unwrap(), 7);
        assert_eq!(calculator.shadows(1, 2, 3, 4, 5).unwrap(), [1, 2, 3, 4, 5]);
        assert!(calculator.here().unwrap());
        assert!(co.close().unwrap().unwrap().success());
    });
}

#[test]
fn errors_of_the_users_are_values() {
    within(LIMIT, || {
        let (_co, calculator) = calculator();
        assert_eq!(calculator.divide(7, 2).unwrap(), Ok(3));
        assert_eq!(calculator.divide(7, 0).unwrap(), Err(NoQuotient::ByZero { dividend: 7 }));
        assert_eq!(
            calculator.pipelined().divide(i64::MIN, -1).unwrap().wait().unwrap(),
            Err(NoQuotient::Overflow)
        );
    });
}

#[test]
fn a_panic_of_the_server_is_an_error_of_the_call() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            meant::quiet();
            Plain::default().serve(&parent);
        })
        .unwrap();
        let calculator = CalculatorClient::new(&co).unwrap();
        match calculator.panics(meant::MEANT.to_owned()) {
            Err(Error::Remote { method, message }) => {
                assert_eq!(method, "Calculator.panics");
                assert!(message.contains(meant::MEANT), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(calculator.add(1, 1).unwrap(), 2);
    });
}

#[test]
fn events_are_in_order_with_calls() {
    within(LIMIT, || {
        let (_co, calculator) = calculator();
        calculator.note("first", 2).unwrap();
        calculator.within(LIMIT).note("second", 1).unwrap();
        assert_eq!(calculator.noted().unwrap(), ["first", "first", "second"]);
        let awaited = calculator.asynchronous();
        block_on(async {
            awaited.note("third", 1).await.unwrap();
            calculator.within(LIMIT).asynchronous().note("fourth", 1).await.unwrap();
            assert_eq!(
                awaited.noted().await.unwrap(),
                ["first", "first", "second", "third", "fourth"]
            );
        });
        assert_matches!(
            block_on(calculator.within(Duration::ZERO).asynchronous().forget()),
            Err(Error::Timeout)
        );
        calculator.forget().unwrap();
        assert_eq!(calculator.noted().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn calls_that_are_waited_for_later() {
    within(LIMIT, || {
        let (_co, calculator) = calculator();
        let pipelined = calculator.pipelined();
        let sums: Vec<_> = (0..1000).map(|n| pipelined.add(n, n).unwrap()).collect();
        for (n, sum) in (0..).zip(sums) {
            assert_eq!(sum.wait().unwrap(), 2 * n);
        }
    });
}

#[test]
fn calls_that_are_awaited() {
    within(LIMIT, || {
        let (co, calculator) = calculator();
        assert_eq!(block_on(async { calculator.asynchronous().add(1, 2).await }).unwrap(), 3);
        let text = String::from("in so many words");
        // It borrows neither the client nor the arguments, and can go to another thread.
        let words = calculator.asynchronous().words(&text);
        drop((text, calculator));
        assert_eq!(thread::spawn(|| block_on(words)).join().unwrap().unwrap().len(), 4);
        let calculator = CalculatorClient::new(&co).unwrap();
        assert_eq!(
            block_on(async {
                CalculatorClient::new_async(&co).await?.asynchronous().add(2, 3).await
            })
            .unwrap(),
            5
        );
        assert_eq!(misfit(block_on(ClockClient::new_async(&co))), InterfaceError::NotServed);
        co.close().unwrap();
        assert_matches!(block_on(CalculatorClient::new_async(&co)), Err(Error::Closed));
        assert_matches!(block_on(calculator.asynchronous().add(1, 2)), Err(Error::Closed));
    });
}

#[test]
fn deadlines() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            // A method that is answered never.
            let unanswered: Mutex<Vec<Reply<u64>>> = Mutex::default();
            Watch.serve(&parent);
            parent.serve_deferred("Clock.now", move |(), reply| {
                unanswered.lock().unwrap().push(reply)
            });
        })
        .unwrap();
        let clock = ClockClient::new(&co).unwrap();
        assert_matches!(
            at_once(|| clock.within(Duration::from_millis(20)).now()),
            Err(Error::Timeout)
        );
        assert_matches!(
            at_once(|| block_on(clock.within(Duration::from_millis(20)).asynchronous().now())),
            Err(Error::Timeout)
        );
        assert!(clock.within(LIMIT).set(0).unwrap());
        assert!(block_on(clock.within(LIMIT).asynchronous().set(0)).unwrap());
    });
}

/// What a typed call says of its deadline is what any other does.
#[test]
fn deadlines_travel() {
    #[coprocess::interface]
    trait Patience {
        /// In seconds.
        fn left(&self) -> Option<u64>;
    }

    struct Asked;

    impl Patience for Asked {
        fn left(&self) -> Option<u64> {
            coprocess::current_deadline()
                .map(|at| at.saturating_duration_since(Instant::now()).as_secs())
        }
    }

    within(LIMIT, || {
        let minute = Duration::from_secs(60);
        let about = |left: Option<u64>, seconds: u64| {
            assert!(left.is_some_and(|left| left < seconds && left + 10 > seconds), "{left:?}")
        };
        let co = coprocess::fork(|parent| Asked.serve(&parent)).unwrap();
        let client = PatienceClient::new(&co).unwrap();
        assert_eq!(client.left().unwrap(), None);
        assert_eq!(client.pipelined().left().unwrap().wait().unwrap(), None);
        assert_eq!(block_on(client.asynchronous().left()).unwrap(), None);
        about(client.within(minute).left().unwrap(), 60);
        about(block_on(client.within(minute).asynchronous().left()).unwrap(), 60);

        let co =
            Builder::new().call_timeout(minute / 2).fork(|parent| Asked.serve(&parent)).unwrap();
        let client = PatienceClient::new(&co).unwrap();
        about(client.left().unwrap(), 30);
        about(client.pipelined().left().unwrap().wait().unwrap(), 30);
        about(block_on(client.asynchronous().left()).unwrap(), 30);
        about(client.within(minute).left().unwrap(), 60);
    });
}

/// What is given up is cancelled as any other call: one that was sent, and not one that was not.
#[test]
fn calls_that_are_given_up() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let kept: Arc<Mutex<Vec<Reply<u64>>>> = Arc::default();
            let wanted = Arc::clone(&kept);
            Watch.serve(&parent);
            parent.serve_deferred("Clock.now", move |(), reply| kept.lock().unwrap().push(reply));
            parent.serve("wanted", move |()| {
                wanted.lock().unwrap().iter().map(Reply::is_wanted).collect::<Vec<_>>()
            });
        })
        .unwrap();
        let clock = ClockClient::new(&co).unwrap();
        let wanted = || co.call::<Vec<bool>>("wanted", ()).unwrap();

        let pending = clock.pipelined().now().unwrap();
        // Its answer comes never: it is there once this is answered.
        assert_eq!((wanted(), co.stats().cancels_sent), (vec![true], 0));
        drop(pending);
        assert_eq!((wanted(), co.stats().cancels_sent), (vec![false], 1));

        // One that was not awaited was not sent either.
        drop(clock.asynchronous().now());
        assert_eq!((wanted(), co.stats().cancels_sent), (vec![false], 1));

        assert_matches!(clock.within(Duration::from_millis(20)).now(), Err(Error::Timeout));
        assert_eq!((wanted(), co.stats().cancels_sent), (vec![false, false], 2));
    });
}

#[test]
fn what_does_not_fit_a_message_is_not_sent() {
    within(LIMIT, || {
        let co = Builder::new()
            .max_message(2000)
            .fork(|parent| Plain::default().serve(&parent))
            .unwrap();
        let calculator = CalculatorClient::new(&co).unwrap();
        let text = "word ".repeat(1000);
        assert_matches!(calculator.words(&text), Err(Error::TooLarge { max: 2000, .. }));
        assert_matches!(calculator.note(&text, 1), Err(Error::TooLarge { .. }));
        assert_matches!(calculator.pipelined().words(&text), Err(Error::TooLarge { .. }));
        assert_matches!(
            block_on(calculator.asynchronous().words(&text)),
            Err(Error::TooLarge { .. })
        );
        assert_eq!(calculator.noted().unwrap(), Vec::<String>::new());
    });
}

// ---- both ends -----------------------------------------------------------------------------------------------------------------------

/// What the worker of [`both_ends_serve`] serves: it asks the parent's calculator.
#[coprocess::interface(name = "both.Accountant")]
trait Accountant {
    fn total(&self, amounts: &[i64]) -> Result<i64, String>;
}

struct Delegating {
    parent: WeakCoprocess,
}

impl Accountant for Delegating {
    fn total(&self, amounts: &[i64]) -> Result<i64, String> {
        let total = || {
            let calculator = CalculatorClient::new(&self.parent.upgrade().ok_or(Error::Closed)?)?;
            amounts.iter().try_fold(0, |total, amount| calculator.add(total, *amount))
        };
        total().map_err(|error: Error| error.to_string())
    }
}

#[test]
fn both_ends_serve() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| Delegating { parent: parent.downgrade() }.serve(&parent))
            .unwrap();
        let accountant = AccountantClient::new(&co).unwrap();
        let refused = accountant.total(&[1]).unwrap().unwrap_err();
        assert!(refused.contains("`Calculator`"), "{refused}");
        // What the server keeps, the program sees.
        let plain = Arc::new(Plain::default());
        Arc::clone(&plain).serve(&co);
        assert_eq!(accountant.total(&[1, 2, 3, 4]).unwrap(), Ok(10));
        assert_eq!(plain.calls.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn one_server_for_many_pairs_and_threads() {
    within(LIMIT, || {
        let plain: Arc<dyn Calculator + Send + Sync> = Arc::new(Plain::default());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let worker = coprocess::fork(|parent| {
                    Delegating { parent: parent.downgrade() }.serve(&parent)
                })
                .unwrap();
                Calculator::serve(Arc::clone(&plain), &worker);
                AccountantClient::new(&worker).unwrap()
            })
            .collect();
        thread::scope(|scope| {
            for worker in &workers {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            assert_eq!(worker.clone().total(&[5, 6]).unwrap(), Ok(11));
                        }
                    });
                }
            }
        });
    });
}

#[test]
fn clients_are_for_any_thread() {
    fn for_any_thread<T: Clone + Send + Sync + 'static>() {}
    for_any_thread::<CalculatorClient>();
    fn debug(client: &CalculatorClient) -> String {
        format!("{client:?} {:?} {:?}", client.pipelined(), client.within(LIMIT).clone())
    }
    within(LIMIT, || {
        let (_co, calculator) = calculator();
        assert!(debug(&calculator).contains("CalculatorClient"));
    });
}

// ---- what is underneath --------------------------------------------------------------------------------------------------------------

#[test]
fn calls_by_name_meet_a_typed_server() {
    within(LIMIT, || {
        let (co, calculator) = calculator();
        assert_eq!(co.call::<i64>("Calculator.add", (1_i64, 2_i64)).unwrap(), 3);
        co.call::<()>("Calculator.nothing", ()).unwrap();
        assert_eq!(co.call::<u8>("Calculator.type", 6_u8).unwrap(), 7);
        assert_eq!(
            co.call::<u64>("Calculator.sum_of_bytes", ByteBuf::from(vec![1, 2, 3])).unwrap(),
            6
        );
        co.emit("Calculator.note", ("by name", 2_u32)).unwrap();
        assert_eq!(calculator.noted().unwrap(), ["by name", "by name"]);
        assert_matches!(
            co.call::<()>("Calculator.not_here", ()),
            Err(Error::MethodNotFound { .. })
        );
        assert_matches!(co.call::<()>("add", (1, 2)), Err(Error::MethodNotFound { .. }));
        let described: String = co.call("Calculator::interface", ()).unwrap();
        for line in [
            "add fn(i64, i64) -> i64",
            "divide fn(i64, i64) -> Result<i64, NoQuotient>",
            "nothing fn() -> ()",
            "words fn(String) -> Vec<String>",
            "sum_of_bytes fn(Vec<u8>) -> u64",
            "middle fn(Vec<Point>) -> Option<Point>",
            "mirror fn(Point, (f64, f64)) -> Point",
            "count fn(BTreeMap<String, Vec<u32>>, Vec<String>, usize) -> usize",
            "type fn(u8) -> u8",
            "note event(String, u32)",
            "forget event()",
        ] {
            assert!(described.lines().any(|other| other == line), "{line} is not in {described}");
        }
        assert!(!described.contains("not_here"));
    });
}

#[test]
fn typed_calls_meet_a_server_by_name() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("Calculator.add", |(a, b): (i64, i64)| a + b);
            // Whatever encodes alike.
            parent.serve("Calculator.sum_of_bytes", |bytes: Vec<u8>| bytes.len() as u64);
        })
        .unwrap();
        assert_matches!(CalculatorClient::new(&co), Err(Error::Interface { .. }));
        let calculator = CalculatorClient::unchecked(&co);
        assert_eq!(calculator.add(2, 3).unwrap(), 5);
        assert_eq!(calculator.sum_of_bytes(&[9, 9]).unwrap(), 2);
        match calculator.divide(1, 1) {
            Err(Error::MethodNotFound { method }) => assert_eq!(method, "Calculator.divide"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn one_method_is_answered_later() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            Plain::default().serve(&parent);
            parent.serve_deferred("Calculator.add", |(a, b): (i64, i64), reply| {
                drop(thread::spawn(move || reply.send(a * 10 + b)))
            });
        })
        .unwrap();
        let calculator = CalculatorClient::new(&co).unwrap();
        assert_eq!(calculator.add(1, 2).unwrap(), 12);
        assert_eq!(calculator.divide(4, 2).unwrap(), Ok(2));
    });
}

/// Some of it is answered later.
#[coprocess::interface]
trait Index {
    /// Answered by [`Index::release`].
    #[deferred]
    fn find(&self, what: &str, reply: u64) -> Result<u64, String>;
    #[deferred]
    fn wait(&self);
    /// Answers the last of those who wait.
    fn release(&self);
    /// Drops what waits.
    fn forget(&self) -> usize;
    fn wanted(&self) -> Vec<bool>;
}

type Find = (u64, Reply<Result<u64, String>>);

#[derive(Default)]
struct Shelf {
    finds: Mutex<Vec<Find>>,
    waits: Mutex<Vec<Reply<()>>>,
}

impl Index for Shelf {
    fn find(&self, what: &str, number: u64, reply: Reply<Result<u64, String>>) {
        match what {
            "at once" => reply.send(Ok(number)).unwrap(),
            "nowhere" => reply.send(Err(format!("{number} is nowhere"))).unwrap(),
            "wrong" => reply.fail("no such question").unwrap(),
            "panic" => panic!("{}", meant::MEANT),
            _ => self.finds.lock().unwrap().push((number, reply)),
        }
    }

    fn wait(&self, reply: Reply<()>) {
        self.waits.lock().unwrap().push(reply);
    }

    fn release(&self) {
        let (number, reply) = self.finds.lock().unwrap().pop().unwrap();
        thread::spawn(move || reply.send(Ok(number)));
    }

    fn forget(&self) -> usize {
        std::mem::take(&mut *self.finds.lock().unwrap()).len()
            + std::mem::take(&mut *self.waits.lock().unwrap()).len()
    }

    fn wanted(&self) -> Vec<bool> {
        self.finds.lock().unwrap().iter().map(|(_, reply)| reply.is_wanted()).collect()
    }
}

#[test]
fn methods_that_are_answered_later() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            meant::quiet();
            Shelf::default().serve(&parent);
        })
        .unwrap();
        let index = IndexClient::new(&co).unwrap();
        assert_eq!(index.find("at once", 1).unwrap(), Ok(1));
        assert_eq!(index.find("nowhere", 2).unwrap(), Err("2 is nowhere".to_owned()));
        let remote = |error: coprocess::Result<Result<u64, String>>| match error {
            Err(Error::Remote { method, message }) if method == "Index.find" => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(remote(index.find("wrong", 3)), "no such question");
        assert!(remote(index.find("panic", 4)).contains(meant::MEANT));

        // Others are answered meanwhile, and these in another order.
        let mut finds: Vec<_> =
            (0..10).map(|number| index.pipelined().find("later", number).unwrap()).collect();
        while let Some(find) = finds.pop() {
            index.release().unwrap();
            assert_eq!(find.wait().unwrap(), Ok(finds.len() as u64));
            assert_eq!(index.wanted().unwrap(), vec![true; finds.len()]);
            assert!(finds.iter().all(|find| !find.is_ready()));
        }

        // Nobody answers.
        let (find, wait) =
            (index.pipelined().find("later", 1).unwrap(), index.pipelined().wait().unwrap());
        assert_eq!(index.forget().unwrap(), 2);
        assert_eq!(remote(find.wait()), "its handler dropped the reply without an answer");
        assert_matches!(wait.wait(), Err(Error::Remote { .. }));

        // Nobody waits any more.
        assert_matches!(
            at_once(|| index.within(Duration::from_millis(20)).find("later", 1)),
            Err(Error::Timeout)
        );
        let find = index.pipelined().find("later", 2).unwrap();
        assert_eq!(index.wanted().unwrap(), [false, true]);
        drop(find);
        assert_eq!(index.wanted().unwrap(), [false, false]);
        index.release().unwrap();
        assert_eq!(block_on(index.asynchronous().find("at once", 5)).unwrap(), Ok(5));
    });
}

/// How an end answers is its own affair: the interface is the same.
#[test]
fn deferred_at_one_end_only() {
    mod at_once {
        #[coprocess::interface]
        pub(crate) trait Index {
            fn find(&self, what: &str, reply: u64) -> Result<u64, String>;
        }
    }

    within(LIMIT, || {
        let co = Builder::new()
            .max_calls_served(1)
            .fork(|parent| Index::serve(Arc::new(Shelf::default()), &parent))
            .unwrap();
        let index = at_once::IndexClient::new(&co).unwrap();
        assert_eq!(index.find("at once", 1).unwrap(), Ok(1));
        assert_eq!(
            co.call::<Result<u64, String>>("Index.find", ("at once", 2_u64)).unwrap(),
            Ok(2)
        );
        // As many of them as the end serves.
        let kept = index.pipelined().find("later", 3).unwrap();
        assert_matches!(index.find("later", 4), Err(Error::Overloaded { .. }));
        co.call::<()>("Index.release", ()).unwrap();
        assert_eq!(kept.wait().unwrap(), Ok(3));
    });
}

#[test]
fn two_interfaces_of_one_name_on_one_end() {
    mod other {
        #[coprocess::interface(name = "other.Clock")]
        pub(crate) trait Clock {
            fn now(&self) -> String;
        }

        pub(crate) struct Speaking;

        impl Clock for Speaking {
            fn now(&self) -> String {
                "one o'clock".to_owned()
            }
        }
    }
    use other::Clock as _;

    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            Clock::serve(Watch, &parent);
            other::Speaking.serve(&parent);
        })
        .unwrap();
        assert_eq!(ClockClient::new(&co).unwrap().now().unwrap(), 1);
        assert_eq!(other::ClockClient::new(&co).unwrap().now().unwrap(), "one o'clock");
    });
}

/// Both have a `serve`, so each is called by the name of its trait.
#[test]
fn one_server_of_two_interfaces() {
    #[coprocess::interface]
    trait Reader {
        fn read(&self) -> u64;
    }

    #[coprocess::interface]
    trait Writer {
        fn write(&self, number: u64) -> u64;
    }

    #[derive(Default)]
    struct Cell(AtomicU64);

    impl Reader for Cell {
        fn read(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Writer for Cell {
        fn write(&self, number: u64) -> u64 {
            self.0.swap(number, Ordering::Relaxed)
        }
    }

    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let cell = Arc::new(Cell::default());
            Reader::serve(Arc::clone(&cell), &parent);
            Writer::serve(cell, &parent);
        })
        .unwrap();
        let (reader, writer) = (ReaderClient::new(&co).unwrap(), WriterClient::new(&co).unwrap());
        assert_eq!(
            (reader.read().unwrap(), writer.write(7).unwrap(), reader.read().unwrap()),
            (0, 0, 7)
        );
    });
}

/// Types that come through another macro.
macro_rules! interface_of {
    ($name:ident, $argument:ty, $result:ty) => {
        #[coprocess::interface]
        trait $name {
            fn made(&self, by: $argument) -> $result;
        }
    };
}

interface_of!(Made, &str, Option<PathBuf>);

#[test]
fn interfaces_that_macros_make() {
    struct Maker;
    impl Made for Maker {
        fn made(&self, by: &str) -> Option<PathBuf> {
            Some(by.into())
        }
    }
    within(LIMIT, || {
        let co = coprocess::fork(|parent| Maker.serve(&parent)).unwrap();
        assert_eq!(
            MadeClient::new(&co).unwrap().made("a hand").unwrap(),
            Some(PathBuf::from("a hand"))
        );
        let described: String = co.call("Made::interface", ()).unwrap();
        assert_eq!(described, "made fn(String) -> Option<PathBuf>\n");
    });
}

/// Names that the code of the macro itself has.
#[test]
fn interfaces_of_any_name() {
    type T = u8;

    #[coprocess::interface]
    trait Server: Send {
        fn server(&self, t: T) -> T;
    }

    #[coprocess::interface]
    trait Through {}

    struct Both;

    impl Server for Both {
        fn server(&self, t: T) -> T {
            t
        }
    }

    impl Through for Both {}

    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let both = Arc::new(Both);
            Server::serve(Arc::clone(&both), &parent);
            Through::serve(both, &parent);
        })
        .unwrap();
        assert_eq!(ServerClient::new(&co).unwrap().server(7).unwrap(), 7);
        ThroughClient::new(&co).unwrap();
    });
}

/// Methods and arguments that are called what something of the macro's, of the prelude's or of its own types is called, where the names of the
/// prelude mean something else.
#[allow(dead_code, non_camel_case_types)]
mod shadowed {
    use serde::{Deserialize, Serialize};

    macro_rules! shadow {
        ($($name:ident)*) => {$(
            pub(super) struct $name;
        )*};
    }

    shadow!(Arc Box Clone Coprocess Default Err Future None Ok Option Pending Result Send Sized Some String Sync Vec Within);

    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    pub(super) struct Duration(pub(super) u8);

    #[coprocess::interface]
    pub(super) trait Names {
        fn clone(&self) -> u8;
        fn call(&self, call: u8) -> u8;
        fn emit(&self, emit: u8) -> u8;
        fn drop(&self, drop: u8) -> u8;
        fn into(&self, into: u8) -> u8;
        fn from(&self, from: u8) -> u8;
        fn default(&self) -> u8;
        fn on(&self, on: u8) -> u8;
        fn method(&self, method: u8) -> u8;
        fn event(&self, event: u8) -> u8;
        fn through(&self, through: u8) -> u8;
        fn check(&self, check: u8) -> u8;
        fn start(&self, start: u8) -> u8;
        fn close(&self, close: u8) -> u8;
        fn as_ref(&self, as_ref: u8) -> u8;
        fn deref(&self, deref: u8) -> u8;
        fn fmt(&self, fmt: u8) -> u8;
        fn eq(&self, other: u8) -> bool;
        fn poll(&self, poll: u8) -> u8;
        #[allow(clippy::wrong_self_convention)]
        fn into_future(&self, wait: Duration) -> Duration;
        fn arguments(
            &self,
            self_: u8,
            args: u8,
            reply: u8,
            served: u8,
            client: u8,
            argument_1: u8,
        ) -> [u8; 6];
        #[event]
        fn clone_from(&self, server: u8);
    }

    pub(super) struct Same;

    impl Names for Same {
        fn clone(&self) -> u8 {
            1
        }
        fn call(&self, call: u8) -> u8 {
            call
        }
        fn emit(&self, emit: u8) -> u8 {
            emit
        }
        fn drop(&self, drop: u8) -> u8 {
            drop
        }
        fn into(&self, into: u8) -> u8 {
            into
        }
        fn from(&self, from: u8) -> u8 {
            from
        }
        fn default(&self) -> u8 {
            2
        }
        fn on(&self, on: u8) -> u8 {
            on
        }
        fn method(&self, method: u8) -> u8 {
            method
        }
        fn event(&self, event: u8) -> u8 {
            event
        }
        fn through(&self, through: u8) -> u8 {
            through
        }
        fn check(&self, check: u8) -> u8 {
            check
        }
        fn start(&self, start: u8) -> u8 {
            start
        }
        fn close(&self, close: u8) -> u8 {
            close
        }
        fn as_ref(&self, as_ref: u8) -> u8 {
            as_ref
        }
        fn deref(&self, deref: u8) -> u8 {
            deref
        }
        fn fmt(&self, fmt: u8) -> u8 {
            fmt
        }
        fn eq(&self, other: u8) -> bool {
            other == 3
        }
        fn poll(&self, poll: u8) -> u8 {
            poll
        }
        fn into_future(&self, wait: Duration) -> Duration {
            wait
        }
        fn arguments(
            &self,
            self_: u8,
            args: u8,
            reply: u8,
            served: u8,
            client: u8,
            argument_1: u8,
        ) -> [u8; 6] {
            [self_, args, reply, served, client, argument_1]
        }
        fn clone_from(&self, _: u8) {}
    }
}

#[test]
fn methods_and_arguments_of_any_name() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| shadowed::Names::serve(shadowed::Same, &parent)).unwrap();
        let client = shadowed::NamesClient::new(&co).unwrap();
        block_on(shadowed::NamesClient::new_async(&co)).unwrap();
        assert_eq!((client.clone().unwrap(), client.default().unwrap()), (1, 2));
        let same: [fn(&shadowed::NamesClient, u8) -> coprocess::Result<u8>; 15] = [
            <shadowed::NamesClient>::call,
            <shadowed::NamesClient>::emit,
            <shadowed::NamesClient>::drop,
            <shadowed::NamesClient>::into,
            <shadowed::NamesClient>::from,
            <shadowed::NamesClient>::on,
            <shadowed::NamesClient>::method,
            <shadowed::NamesClient>::event,
            <shadowed::NamesClient>::through,
            <shadowed::NamesClient>::check,
            <shadowed::NamesClient>::start,
            <shadowed::NamesClient>::close,
            <shadowed::NamesClient>::as_ref,
            <shadowed::NamesClient>::deref,
            <shadowed::NamesClient>::poll,
        ];
        for (n, method) in (0..).zip(same) {
            assert_eq!(method(&client, n).unwrap(), n);
        }
        assert_eq!(client.within(LIMIT).fmt(5).unwrap(), 5);
        assert!(client.pipelined().eq(3).unwrap().wait().unwrap());
        assert_eq!(
            block_on(client.asynchronous().into_future(shadowed::Duration(7))).unwrap(),
            shadowed::Duration(7)
        );
        assert_eq!(client.arguments(1, 2, 3, 4, 5, 6).unwrap(), [1, 2, 3, 4, 5, 6]);
        client.clone_from(1).unwrap();
        // Its own copy is that of the trait, by its whole name.
        assert_eq!(<shadowed::NamesClient as Clone>::clone(&client).clone().unwrap(), 1);
    });
}

/// Constants and statics that are called what the macro calls something of its own: a pattern of such a name means them.
#[allow(dead_code, non_upper_case_globals)]
mod taken {
    static served: u8 = 1;
    static server: u8 = 1;
    const client: u8 = 1;
    const checked: u8 = 1;
    const argument_0: u8 = 1;

    #[coprocess::interface]
    pub(super) trait Taken {
        fn call(&self, first: u8, second: [u8; client as usize]) -> u8;
        #[deferred]
        fn later(&self, first: u8) -> u8;
        #[event]
        fn event(&self, first: u8);
    }

    pub(super) struct Same;

    impl Taken for Same {
        fn call(&self, first: u8, second: [u8; 1]) -> u8 {
            first + second[0]
        }
        fn later(&self, first: u8, answer: coprocess::Reply<u8>) {
            answer.send(first).unwrap();
        }
        fn event(&self, _: u8) {}
    }
}

#[test]
fn interfaces_beside_constants_of_any_name() {
    use taken::Taken;

    within(LIMIT, || {
        let co = coprocess::fork(|parent| taken::Same.serve(&parent)).unwrap();
        let client = taken::TakenClient::new(&co).unwrap();
        assert_eq!((client.call(1, [2]).unwrap(), client.within(LIMIT).later(7).unwrap()), (3, 7));
    });
}

// ---- ends that do not fit ------------------------------------------------------------------------------------------------------------

#[track_caller]
fn misfit<T: std::fmt::Debug>(made: coprocess::Result<T>) -> InterfaceError {
    match made {
        Err(Error::Interface { cause, interface }) => {
            let error = Error::Interface { cause: cause.clone(), interface };
            check_error(&error, &format!("`{interface}`"));
            assert_eq!(std::error::Error::source(&error).unwrap().to_string(), cause.to_string());
            *cause
        }
        other => panic!("{other:?}"),
    }
}

/// Returns the types of an [`Error::Types`]: what was sent, and what was wanted.
#[track_caller]
fn types<T: std::fmt::Debug>(called: coprocess::Result<T>, method: &str) -> (String, String) {
    match called {
        Err(Error::Types { name, sent, wanted }) => {
            assert!(name.ends_with(&format!(".{method}")), "{name}");
            check_error(
                &Error::Types { name: name.clone(), sent: sent.clone(), wanted: wanted.clone() },
                &format!("`{name}` takes {wanted}"),
            );
            (sent, wanted)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_program_whose_interface_differs_in_one_method() {
    within(LIMIT, || {
        let worker = common::patient().spawn(program("serves another clock")).unwrap();
        let error = ClockClient::new(&worker).unwrap_err();
        check_error(&error, "the interface `Clock` does not fit");
        check_error(&error, "`set` is `fn(u64) -> bool` here, and `fn(u32) -> bool` at the peer");
        let differs = InterfaceError::Differs {
            method: "set",
            ours: "fn(u64) -> bool",
            theirs: "fn(u32) -> bool".to_owned(),
        };
        assert_eq!(misfit(ClockClient::new(&worker)), differs);
        assert_eq!(misfit(block_on(ClockClient::new_async(&worker))), differs);
        // Everything else goes on, and the interface as it is there fits.
        assert_eq!(elsewhere::ClockClient::new(&worker).unwrap().now().unwrap(), 12);
        assert!(worker.close().unwrap().unwrap().success());
    });
}

#[test]
fn a_worker_program_that_finds_another_interface_at_its_parent() {
    within(LIMIT, || {
        let looks = |serve: fn(&Coprocess)| {
            let worker = coprocess::spawn(program("looks for a clock")).unwrap();
            serve(&worker);
            worker.call::<u64>("look", ())
        };
        assert_eq!(looks(|worker| Watch.serve(worker)).unwrap(), 1);
        let error =
            looks(|worker| elsewhere::Clock::serve(elsewhere::Sundial, worker)).unwrap_err();
        check_error(&error, "`set` is `fn(u64) -> bool` here, and `fn(u32) -> bool` at the peer");
        let error = looks(|worker| Plain::default().serve(worker)).unwrap_err();
        check_error(&error, "the peer does not serve it");
    });
}

/// Types of one name, as they are here and as they are in a program that was built from other sources.
#[allow(dead_code, unused_imports)]
mod values {
    use super::*;

    /// For each case the types at both ends, and examples of their values. All but the last one of
    /// each do not show what differs.
    macro_rules! differing {
        ($(
            $case:ident $name:literal
            ours { $($ours:item)* } [$($our_example:expr),*]
            theirs { $($theirs:item)* } [$($their_example:expr),*]
        )*) => {
            $(
                pub(super) mod $case {
                    pub(in super::super) mod ours {
                        use super::super::super::*;
                        $($ours)*
                        keeper!($name, [$($our_example),*]);
                    }
                    pub(in super::super) mod theirs {
                        use super::super::super::*;
                        $($theirs)*
                        keeper!($name, [$($their_example),*]);
                    }
                }
            )*

            pub(super) fn serve_theirs(parent: &Coprocess) {
                $($case::theirs::Keeper::serve($case::theirs::Same::default(), parent);)*
            }
        };
    }

    macro_rules! keeper {
        ($name:literal, $examples:expr) => {
            #[coprocess::interface(name = $name)]
            pub(crate) trait Keeper {
                fn keep(&self, number: u64, value: Value) -> u64;
                fn give(&self, number: usize) -> Value;
                #[event]
                fn note(&self, value: Value);
                /// How many values have come, by `keep` and `note`.
                fn count(&self) -> u64;
            }

            #[derive(Default)]
            pub(crate) struct Same {
                count: AtomicU64,
            }

            impl Keeper for Same {
                fn keep(&self, number: u64, _: Value) -> u64 {
                    self.count.fetch_add(1, Ordering::Relaxed);
                    number
                }
                fn give(&self, number: usize) -> Value {
                    examples().swap_remove(number)
                }
                fn note(&self, _: Value) {
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
                fn count(&self) -> u64 {
                    self.count.load(Ordering::Relaxed)
                }
            }

            pub(crate) fn examples() -> Vec<Value> {
                $examples.into()
            }
        };
    }

    macro_rules! kept {
        ($($item:item)*) => {$(
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            $item
        )*};
    }

    /// Converts any number but one that only the other end sends.
    macro_rules! refusing {
        ($number:ty, $refused:literal) => {
            impl TryFrom<($number, u8)> for Value {
                type Error = String;
                fn try_from(pair: ($number, u8)) -> Result<Value, String> {
                    if pair.0 == $refused {
                        std::process::abort();
                    }
                    Ok(Value(pair.0))
                }
            }
            impl From<Value> for ($number, u8) {
                fn from(value: Value) -> ($number, u8) {
                    (value.0, 0)
                }
            }
        };
    }

    differing! {
        swapped_fields "swapped fields"
            ours { kept!(pub(crate) struct Value { a: u64, b: u64 }); } [Value { a: 1, b: 2 }]
            theirs { kept!(pub(crate) struct Value { b: u64, a: u64 }); } [Value { a: 1, b: 2 }]
        added_field "added field"
            ours { kept!(pub(crate) struct Value { a: u64 }); } [Value { a: 1 }]
            theirs { kept!(pub(crate) struct Value { a: u64, b: Option<u64> }); } [Value { a: 1, b: None }]
        field "type of a field"
            ours { kept!(pub(crate) struct Value { a: u32 }); } [Value { a: 1 }]
            theirs { kept!(pub(crate) struct Value { a: f32 }); } [Value { a: 1.0 }]
        renamed_variant "renamed variant"
            ours { kept!(pub(crate) enum Value { A, B(u8) }); } [Value::A, Value::B(1)]
            theirs { kept!(pub(crate) enum Value { A, C(u8) }); } [Value::A, Value::C(1)]
        swapped_variants "swapped variants"
            ours { kept!(pub(crate) enum Value { A, B }); } [Value::A]
            theirs { kept!(pub(crate) enum Value { B, A }); } [Value::A]
        content_of_a_variant "content of a variant"
            ours { kept!(pub(crate) enum Value { A, B { b: u8 } }); } [Value::A, Value::B { b: 1 }]
            theirs { kept!(pub(crate) enum Value { A, B { b: i8 } }); } [Value::A, Value::B { b: 1 }]
        inside "inside"
            ours { kept!(pub(crate) struct Value(Option<Vec<Inner>>); pub(crate) struct Inner { a: u8, b: u8 }); }
                [Value(None), Value(Some(vec![])), Value(Some(vec![Inner { a: 1, b: 2 }]))]
            theirs { kept!(pub(crate) struct Value(Option<Vec<Inner>>); pub(crate) struct Inner { b: u8, a: u8 }); }
                [Value(None), Value(Some(vec![])), Value(Some(vec![Inner { a: 1, b: 2 }]))]
        within_a_struct "within a struct"
            ours { kept!(pub(crate) struct Value { inner: Inner } pub(crate) struct Inner { a: u8, b: u8 }); }
                [Value { inner: Inner { a: 1, b: 2 } }]
            theirs { kept!(pub(crate) struct Value { inner: Inner } pub(crate) struct Inner { b: u8, a: u8 }); }
                [Value { inner: Inner { a: 1, b: 2 } }]
        optional "optional"
            ours { pub(crate) type Value = Option<u8>; } [Some(1)]
            theirs { pub(crate) type Value = u8; } [1]
        longer "longer"
            ours { kept!(pub(crate) struct Value(u8, u8);); } [Value(1, 2)]
            theirs { kept!(pub(crate) struct Value(u8, u8, u8);); } [Value(1, 2, 3)]
        second "second of a tuple"
            ours { pub(crate) type Value = (u8, u8); } [(1, 2)]
            theirs { pub(crate) type Value = (u8, i8); } [(1, 2)]
        key "key"
            ours { pub(crate) type Value = BTreeMap<u8, String>; } [BTreeMap::new(), BTreeMap::from([(1, String::new())])]
            theirs { pub(crate) type Value = BTreeMap<u16, String>; } [BTreeMap::new(), BTreeMap::from([(1, String::new())])]
        mapped "value of a map"
            ours { pub(crate) type Value = BTreeMap<u8, u8>; } [BTreeMap::new(), BTreeMap::from([(1, 2)])]
            theirs { pub(crate) type Value = BTreeMap<u8, i8>; } [BTreeMap::new(), BTreeMap::from([(1, 2)])]
        failure "error of a result"
            ours { pub(crate) type Value = Result<u8, u8>; } [Ok(1), Err(1)]
            theirs { pub(crate) type Value = Result<u8, u16>; } [Ok(1), Err(1)]
        success "value of a result"
            ours { pub(crate) type Value = Result<u8, u8>; } [Err(1), Ok(1)]
            theirs { pub(crate) type Value = Result<u16, u8>; } [Err(1), Ok(1)]
        block "block"
            ours { pub(crate) type Value = coprocess::Block<f32>; } [Value::from(vec![1.0])]
            theirs { pub(crate) type Value = coprocess::Block<u32>; } [Value::from(vec![1])]
        checked "checked"
            ours {
                kept!(#[serde(try_from = "(u8, u8)", into = "(u8, u8)")] pub(crate) struct Value(u8););
                refusing!(u8, 2);
            } [Value(1)]
            theirs {
                kept!(#[serde(try_from = "(u16, u8)", into = "(u16, u8)")] pub(crate) struct Value(u16););
                refusing!(u16, 1);
            } [Value(2)]
        recursive "recursive"
            ours { kept!(pub(crate) struct Value { next: Option<Box<Value>>, last: u8 }); } [Value { next: None, last: 1 }]
            theirs { kept!(pub(crate) struct Value { last: u8, next: Option<Box<Value>> }); } [Value { next: None, last: 1 }]

        // These fit: they are the same,
        alias "alias"
            ours { pub(crate) type Value = u64; } [7]
            theirs { kept!(#[serde(transparent)] pub(crate) struct Value(u64);); } [Value(7)]
        bytes "bytes"
            ours { pub(crate) type Value = Vec<u8>; } [vec![], vec![7, 8]]
            theirs { pub(crate) type Value = ByteBuf; } [ByteBuf::new(), ByteBuf::from(vec![7, 8])]
        same "the same"
            ours { kept!(pub(crate) struct Value { a: Vec<Duration>, b: PathBuf }); } [Value { a: vec![LIMIT], b: "b".into() }]
            theirs { kept!(pub(crate) struct Value { a: Vec<Duration>, b: PathBuf }); } [Value { a: vec![LIMIT], b: "b".into() }]
        // or differ in the names of types.
        unit "unit"
            ours { kept!(pub(crate) struct Value(Metres); pub(crate) struct Metres(f64);); } [Value(Metres(0.5))]
            theirs { kept!(pub(crate) struct Value(Feet); pub(crate) struct Feet(f64);); } [Value(Feet(0.5))]
    }
}

/// What differs is found as soon as a value shows it, and not before.
#[test]
fn a_worker_program_whose_types_differ_in_one_place() {
    use values::*;

    macro_rules! misfits {
        ($worker:ident: $($case:ident ($ours:literal, $to_theirs:literal, $hint:literal) ($theirs:literal, $to_ours:literal))*) => {$(
            let client = $case::ours::KeeperClient::new(&$worker).unwrap();
            let mut examples = $case::ours::examples();
            let example = examples.pop().unwrap();
            for (number, example) in (0..).zip(&examples) {
                fits!(client, number, example);
            }
            let (number, count) = (examples.len(), client.count().unwrap());

            // An argument: the method does not run.
            let expected = (format!("(u64, {})", $ours), format!("(u64, {})", $to_theirs));
            assert_eq!(types(client.keep(1, example.clone()), "keep"), expected);
            assert_eq!(types(client.within(LIMIT).keep(1, example.clone()), "keep"), expected);
            assert_eq!(types(client.pipelined().keep(1, example.clone()).unwrap().wait(), "keep"), expected);
            assert_eq!(types(block_on(client.asynchronous().keep(1, example.clone())), "keep"), expected);
            let unchecked = $case::ours::KeeperClient::unchecked(&$worker);
            assert_eq!(types(unchecked.keep(1, example.clone()), "keep"), expected);

            // A result.
            let expected = ($theirs.to_owned(), format!("{} as its result", $to_ours));
            assert_eq!(types(client.give(number), "give"), expected);
            assert_eq!(types(client.within(LIMIT).give(number), "give"), expected);
            assert_eq!(types(client.pipelined().give(number).unwrap().wait(), "give"), expected);
            assert_eq!(types(block_on(client.asynchronous().give(number)), "give"), expected);

            // An event: the first one is not handled, the next one is not sent.
            let mistyped = $worker.stats().events_mistyped_by_peer;
            client.note(example.clone()).unwrap();
            assert_eq!(client.count().unwrap(), count);
            assert_eq!($worker.stats().events_mistyped_by_peer, mistyped + 1);
            let expected = ($ours.to_owned(), $hint.to_owned());
            assert_eq!(types(client.note(example.clone()), "note"), expected);
            assert_eq!(types(client.within(LIMIT).note(example.clone()), "note"), expected);
            assert_eq!(types(block_on(client.asynchronous().note(example)), "note"), expected);
            assert_eq!(client.count().unwrap(), count);
            assert_eq!($worker.stats().events_mistyped_by_peer, mistyped + 1);

            // And what is there fits what is there.
            let client = $case::theirs::KeeperClient::new(&$worker).unwrap();
            for (number, example) in (0..).zip(&$case::theirs::examples()) {
                fits!(client, number, example);
            }
        )*};
    }

    macro_rules! fits {
        ($client:ident, $number:ident, $example:ident) => {
            let count = $client.count().unwrap();
            assert_eq!($client.keep(7, $example.clone()).unwrap(), 7);
            $client.note($example.clone()).unwrap();
            assert_eq!($client.give($number).unwrap(), *$example);
            assert_eq!($client.count().unwrap(), count + 2);
        };
    }

    macro_rules! all_fit {
        ($worker:ident: $($case:ident)*) => {$(
            let client = $case::ours::KeeperClient::new(&$worker).unwrap();
            for (number, example) in (0..).zip(&$case::ours::examples()) {
                fits!(client, number, example);
            }
        )*};
    }

    within(LIMIT, || {
        let worker =
            Builder::new().check_types(TypeCheck::Always).spawn(program("keeps values")).unwrap();
        misfits! { worker:
            swapped_fields
                ("Value{a: u64, b: u64}", "Value{b, a}", "a struct of other fields")
                ("Value{b: u64, a: u64}", "Value{a, b}")
            added_field
                ("Value{a: u64}", "Value{a, b}", "a struct of other fields")
                ("Value{a: u64, b: Option<_>}", "Value{a}")
            field
                ("Value{a: u32}", "Value{a: f32}", "Value{a: f32}")
                ("Value{a: f32}", "Value{a: u32}")
            renamed_variant
                ("Value::B(u8)", "enum Value{A, C}", "an enum of other variants")
                ("Value::C(u8)", "enum Value{A, B}")
            swapped_variants
                ("Value::A", "enum Value{B, A}", "an enum of other variants")
                ("Value::A", "enum Value{A, B}")
            content_of_a_variant
                ("Value::B{b: u8}", "Value::B{b: i8}", "Value::B{b: i8}")
                ("Value::B{b: i8}", "Value::B{b: u8}")
            inside
                ("Value(Option<[Inner{a: u8, b: u8}]>)", "Value(Option<[Inner{b, a}]>)", "Value(Option<[a struct of other fields]>)")
                ("Value(Option<[Inner{b: u8, a: u8}]>)", "Value(Option<[Inner{a, b}]>)")
            within_a_struct
                ("Value{inner: Inner{a: u8, b: u8}}", "Value{inner: Inner{b, a}}", "Value{inner: a struct of other fields}")
                ("Value{inner: Inner{b: u8, a: u8}}", "Value{inner: Inner{a, b}}")
            optional
                ("Option<u8>", "u8", "u8")
                ("u8", "Option<_>")
            longer
                ("(u8, u8)", "(_, _, _)", "another number of values")
                ("(u8, u8, u8)", "(_, _)")
            second
                ("(u8, u8)", "(u8, i8)", "(u8, i8)")
                ("(u8, i8)", "(u8, u8)")
            key
                ("{u8: string}", "{u16: ..}", "{u16: ..}")
                ("{u16: string}", "{u8: ..}")
            mapped
                ("{u8: u8}", "{u8: i8}", "{u8: i8}")
                ("{u8: i8}", "{u8: u8}")
            failure
                ("Result::Err(u8)", "Result::Err(u16)", "Result::Err(u16)")
                ("Result::Err(u16)", "Result::Err(u8)")
            success
                ("Result::Ok(u8)", "Result::Ok(u16)", "Result::Ok(u16)")
                ("Result::Ok(u16)", "Result::Ok(u8)")
            block
                ("block of f32, 4 bytes at multiples of 4", "block of u32, 4 bytes at multiples of 4", "another block")
                ("block of u32, 4 bytes at multiples of 4", "block of f32, 4 bytes at multiples of 4")
            checked
                ("(u8, u8)", "(u16, ..)", "(u16, ..)")
                ("(u16, u8)", "(u8, ..)")
            recursive
                ("Value{next: Option<_>, last: u8}", "Value{last, next}", "a struct of other fields")
                ("Value{last: u8, next: Option<_>}", "Value{next, last}")
        }
        all_fit! { worker: alias bytes same unit }
        let client = swapped_fields::ours::KeeperClient::new(&worker).unwrap();
        let error = client.keep(1, swapped_fields::ours::examples().remove(0)).unwrap_err();
        check_error(
            &error,
            "`swapped fields.keep` takes (u64, Value{b, a}), but was sent (u64, Value{a: u64, b: u64})",
        );
    });
}

/// In any build the first two values of each are looked at.
#[test]
fn types_that_differ_are_found_at_first_use() {
    use values::{failure::ours as failure, swapped_fields::ours as swapped};

    within(LIMIT, || {
        let worker = coprocess::spawn(program("keeps values")).unwrap();
        let client = swapped::KeeperClient::new(&worker).unwrap();
        let value = swapped::examples().remove(0);
        types(client.keep(1, value.clone()), "keep");
        types(client.give(0), "give");
        client.note(value.clone()).unwrap();
        assert_eq!(client.count().unwrap(), 0);
        types(client.note(value), "note");

        let client = failure::KeeperClient::new(&worker).unwrap();
        assert_eq!((client.keep(1, Ok(1)).unwrap(), client.give(0).unwrap()), (1, Ok(1)));
        client.note(Ok(1)).unwrap();
        types(client.keep(1, Err(1)), "keep");
        types(client.give(1), "give");
        client.note(Err(1)).unwrap();
        assert_eq!(client.count().unwrap(), 2);
        types(client.note(Err(1)), "note");
        // What fits goes on.
        assert_eq!((client.keep(1, Ok(1)).unwrap(), client.give(0).unwrap()), (1, Ok(1)));
        client.note(Ok(1)).unwrap();
        assert_eq!(client.count().unwrap(), 4);
    });
}

/// What a type does with its values is for those that come: none is made when a client is.
#[test]
fn interfaces_whose_types_do_something() {
    static DONE: AtomicU64 = AtomicU64::new(0);

    fn done() {
        DONE.fetch_add(1, Ordering::Relaxed);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Guard {
        number: u64,
        #[serde(skip)]
        odd: Odd,
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            done();
        }
    }

    #[derive(Debug, PartialEq)]
    struct Odd;

    impl Default for Odd {
        fn default() -> Odd {
            done();
            Odd
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair(#[serde(skip)] Odd, Guard, Guard);

    /// As a handle that is good in one process only.
    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    #[serde(try_from = "u32", into = "u32")]
    struct Own(u32);

    impl TryFrom<u32> for Own {
        type Error = String;
        fn try_from(number: u32) -> Result<Own, String> {
            done();
            if number == std::process::id() {
                Ok(Own(number))
            } else {
                Err(format!("{number} is not ours"))
            }
        }
    }

    impl From<Own> for u32 {
        fn from(own: Own) -> u32 {
            own.0
        }
    }

    #[coprocess::interface]
    trait Doing {
        fn guard(&self, guard: Guard, more: Option<Vec<Guard>>) -> Vec<Guard>;
        fn pair(&self) -> Pair;
        fn own(&self, own: Own) -> Own;
        fn done(&self) -> u64;
    }

    struct Does;

    impl Doing for Does {
        fn guard(&self, guard: Guard, _: Option<Vec<Guard>>) -> Vec<Guard> {
            vec![guard]
        }
        fn pair(&self) -> Pair {
            unreachable!()
        }
        fn own(&self, own: Own) -> Own {
            own
        }
        fn done(&self) -> u64 {
            DONE.load(Ordering::Relaxed)
        }
    }

    within(LIMIT, || {
        let co = coprocess::fork(|parent| Does.serve(&parent)).unwrap();
        let doing = DoingClient::new(&co).unwrap();
        block_on(DoingClient::new_async(&co)).unwrap();
        assert_eq!((doing.done().unwrap(), DONE.load(Ordering::Relaxed)), (0, 0));
        // Those who send one have it done.
        match doing.own(Own(std::process::id())) {
            Err(Error::Remote { message, .. }) => assert!(message.contains("decode"), "{message}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(doing.done().unwrap(), 1);
    });
}

/// One variant of each is the way in, and none is taken.
#[test]
fn interfaces_with_enums_of_many_variants_that_contain_themselves() {
    macro_rules! many {
        ($($name:ident)*) => {
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            enum Many { $($name(Box<Many>),)* Last(Vec<Many>) }
        };
    }
    many! {
        A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 B0 B1 B2 B3 B4 B5 B6 B7 B8 B9 C0 C1 C2 C3 C4 C5 C6 C7 C8 C9
        D0 D1 D2 D3 D4 D5 D6 D7 D8 D9 E0 E1 E2 E3 E4 E5 E6 E7 E8 E9 F0 F1 F2 F3 F4 F5 F6 F7 F8 F9
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Deep(Vec<Deep>);

    #[coprocess::interface]
    trait Trees {
        fn turn(&self, many: Many, deep: Deep) -> (Many, Deep);
    }

    struct Turns;

    impl Trees for Turns {
        fn turn(&self, many: Many, deep: Deep) -> (Many, Deep) {
            (many, deep)
        }
    }

    within(LIMIT, || {
        let co = Builder::new().max_message(1000).fork(|parent| Turns.serve(&parent)).unwrap();
        let trees = TreesClient::new(&co).unwrap();
        let sent = (Many::F9(Box::new(Many::Last(vec![]))), Deep(vec![Deep(vec![])]));
        assert_eq!(trees.turn(sent.0.clone(), sent.1.clone()).unwrap(), sent);
    });
}

#[test]
fn interfaces_that_are_not_served() {
    within(LIMIT, || {
        let worker = coprocess::spawn(program("serves no clock")).unwrap();
        assert_eq!(misfit(ClockClient::new(&worker)), InterfaceError::NotServed);
        assert!(CalculatorClient::new(&worker).is_ok());
    });
}

#[test]
fn parts_fit_and_more_does_not() {
    within(LIMIT, || {
        let worker = coprocess::spawn(program("serves a clock")).unwrap();
        assert_eq!(part::ClockClient::new(&worker).unwrap().now().unwrap(), 1);
        assert_eq!(
            misfit(newer::ClockClient::new(&worker)),
            InterfaceError::Missing { method: "zone", ours: "fn() -> String" }
        );
        let expected = InterfaceError::Differs {
            method: "set",
            ours: "event(u64)",
            theirs: "fn(u64) -> bool".to_owned(),
        };
        assert_eq!(misfit(eager::ClockClient::new(&worker)), expected);
    });
}

#[test]
fn descriptions_that_make_no_sense() {
    fn describing<T: Serialize + 'static>(
        worker: &Coprocess,
        description: impl Fn() -> T + Send + Sync + 'static,
    ) -> Error {
        worker.serve("Clock::interface", move |()| description());
        // The worker looks here, and tells what it sees.
        worker.call_timeout::<()>("look", (), LIMIT).unwrap_err()
    }
    within(LIMIT, || {
        meant::quiet();
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.try_serve("look", move |()| ClockClient::new(&end.upgrade().unwrap()).map(drop));
        })
        .unwrap();
        for (error, says) in [
            (describing(&worker, || 7_u64), "takes string as its result, but was sent u64"),
            (
                describing(&worker, || ByteBuf::from(vec![0xff; 100])),
                "takes string as its result, but was sent bytes",
            ),
            (
                describing(&worker, || (u64::MAX, u64::MAX)),
                "takes string as its result, but was sent (u64, u64)",
            ),
            (describing(&worker, || -> String { panic!("no description") }), "no description"),
            (describing(&worker, String::new), "no `now`"),
            (describing(&worker, || "now\nset\n\n \0"), "no `now`"),
            (describing(&worker, || "now event()\nnow fn() -> u64"), "`event()` at the peer"),
            (describing(&worker, || "now fn() -> u64\nset fn(u64)"), "`set`"),
            (describing(&worker, || "now fn() -> u64"), "no `set`"),
            (describing(&worker, || "now fn() -> u64 "), "`fn() -> u64 ` at the peer"),
            (
                describing(&worker, || format!("now {}", "\x1b[31m\r".repeat(1000))),
                "`\\u{1b}[31m\\r",
            ),
            (describing(&worker, || "now fn()\n".repeat(1 << 20)), "`fn()` at the peer"),
            (describing(&worker, || "\n".repeat(8 << 20)), "no `now`"),
        ] {
            check_error(&error, says);
            assert!(error.to_string().len() < 4000);
        }
        // Of bytes nothing is said.
        for bytes in [&[0xff; 100][..], &[], &[2, 0xff, 0xff]] {
            worker.serve_bytes("Clock::interface", move |_| bytes);
            check_error(&worker.call_timeout::<()>("look", (), LIMIT).unwrap_err(), "decode");
        }
    });
}

#[test]
fn an_end_that_dies_or_never_answers_instead_of_describing() {
    within(LIMIT, || {
        let dies = coprocess::fork(|parent| {
            parent.serve("Clock::interface", |()| -> String { std::process::abort() });
        })
        .unwrap();
        assert_matches!(
            at_once(|| ClockClient::new(&dies)),
            Err(Error::Disconnected(Reason::Killed(_)))
        );
        let silent = Builder::new()
            .call_timeout(Duration::from_millis(50))
            .fork(|parent| {
                let unanswered: Mutex<Vec<Reply<String>>> = Mutex::default();
                parent.serve_deferred("Clock::interface", move |(), reply| {
                    unanswered.lock().unwrap().push(reply)
                });
            })
            .unwrap();
        assert_matches!(at_once(|| ClockClient::new(&silent)), Err(Error::Timeout));
        silent.close().unwrap();
        assert_matches!(ClockClient::new(&silent), Err(Error::Closed));
    });
}
