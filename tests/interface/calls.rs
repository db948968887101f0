//! Typed calls and events in every form: plain, pipelined, awaited, and with deadlines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use coprocess::interface::InterfaceError;
use coprocess::{Builder, Error, Reply};

use crate::calculator::{Calculator, CalculatorClient, NoQuotient, Plain, Point, calculator};
use crate::clocks::{Clock, ClockClient, Watch};
use crate::common::{LIMIT, assert_matches, at_once, block_on, meant, pattern, within};
use crate::kit::misfit;

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
