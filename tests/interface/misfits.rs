//! Ends whose interfaces do not fit: another method, a missing one, no interface, or nonsense.

use std::sync::Mutex;
use std::time::Duration;

use coprocess::interface::InterfaceError;
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reason, Reply};
use serde::Serialize;

use crate::calculator::{Calculator, CalculatorClient, Plain};
use crate::clocks::{Clock, ClockClient, Watch, eager, elsewhere, newer, part};
use crate::common::{self, LIMIT, assert_matches, at_once, block_on, check_error, meant, within};
use crate::kit::misfit;
use crate::program;

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
