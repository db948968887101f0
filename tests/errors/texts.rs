//! What errors say: the text of serde and of the program's own implementations of its traits, once;
//! what to do about a name that is too long; and the message, place and backtrace of a panic.

use std::error::Error as _;
use std::ffi::OsStr;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::common::{self, LIMIT, assert_matches, patient, program, role, within};
use coprocess::{Block, Builder, Coprocess, Error, Reply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("panics") => common::serve_parent(panicking_quietly),
        Some(other) => unreachable!("{other}"),
    }
}

/// Checks that the error is one line that says `what` once, and that its source does not repeat it.
#[track_caller]
fn says_once(error: &Error, what: &str) {
    let text = error.to_string();
    assert_eq!(text.matches(what).count(), 1, "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
    if let Some(source) = error.source() {
        assert_eq!(source.to_string().matches(what).count(), 1, "{source}");
        assert!(source.source().is_none(), "{source:?}");
    }
}

// ---- encoding ----------------------------------------------------------------------------------

const INVALID_PATH: &str = "path contains invalid UTF-8 characters";

fn invalid_path() -> PathBuf {
    Path::new(OsStr::from_bytes(b"caf\xe9")).to_owned()
}

/// Fails with this text.
struct Fails(&'static str);

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(self.0))
    }
}

/// The elements are not counted before they are there.
struct Uncounted;

impl Serialize for Uncounted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_seq(None).map(|_| unreachable!("it is refused"))
    }
}

fn plain_worker() -> Coprocess {
    coprocess::fork(|parent| {
        parent
            .serve("length", |text: String| text.len())
            .serve("path", |()| invalid_path())
            .serve_deferred("path later", |(), reply: Reply<PathBuf>| {
                assert_matches!(reply.send(invalid_path()), Err(error @ Error::Encode { .. }) if error.to_string().contains(INVALID_PATH));
            })
            .serve_bytes("bytes", |bytes| bytes.to_vec())
            .serve("small", |_: NonZeroU32| ())
            .serve("numbers", |_: Block<u32>| ())
            .serve("fussy", |_: Fussy| ())
            .try_serve("fails", |()| Err::<(), _>("two\nlines\u{1b}[0m"));
    })
    .unwrap()
}

#[track_caller]
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready"),
    }
}

#[test]
fn what_a_value_says_that_cannot_be_encoded() {
    within(LIMIT, || {
        let worker = plain_worker();
        let event = worker.event("path");
        for error in [
            worker.call::<()>("path", invalid_path()).unwrap_err(),
            worker.call::<()>("path", (1, Some(vec![invalid_path()]))).unwrap_err(),
            worker.start::<()>("path", invalid_path()).unwrap_err(),
            worker.call_with("path", invalid_path(), |_: coprocess::Result<()>| ()).unwrap_err(),
            ready(worker.call_async::<()>("path", invalid_path())).unwrap_err(),
            worker.emit("path", invalid_path()).unwrap_err(),
            worker.try_emit("path", invalid_path()).unwrap_err(),
            event.emit(invalid_path()).unwrap_err(),
            event
                .backpressure(coprocess::Backpressure::KeepLatest)
                .emit(invalid_path())
                .unwrap_err(),
            ready(worker.emit_async("path", invalid_path())).unwrap_err(),
        ] {
            assert_matches!(error, Error::Encode { ref what, .. } if what == "path");
            says_once(&error, INVALID_PATH);
            assert_eq!(error.source().unwrap().to_string(), INVALID_PATH);
        }
        says_once(&worker.emit("x", Uncounted).unwrap_err(), "must be known");
        // One line, of a bounded length.
        says_once(&worker.emit("x", Fails("two\nlines")).unwrap_err(), "two\\nlines");
        let long =
            worker.emit("x", Fails(String::from("long").repeat(1 << 18).leak())).unwrap_err();
        assert!(long.to_string().len() < 1 << 14);
    });
}

/// The caller learns why there is no result.
#[test]
fn what_a_result_says_that_cannot_be_encoded() {
    within(LIMIT, || {
        let worker = plain_worker();
        for method in ["path", "path later"] {
            let error = worker.call::<PathBuf>(method, ()).unwrap_err();
            assert_matches!(error, Error::Remote { .. });
            says_once(&error, INVALID_PATH);
        }
    });
}

// ---- decoding ----------------------------------------------------------------------------------

#[derive(Debug, Deserialize)]
enum Choice {
    #[allow(dead_code, reason = "it is only decoded")]
    One,
}

#[derive(Debug)]
struct Fussy;

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fussy, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format_args!("{number} is\nno good")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Untagged {
    #[allow(dead_code, reason = "it is only decoded")]
    Number(u8),
}

#[test]
fn what_is_wrong_with_what_came() {
    within(LIMIT, || {
        let worker = plain_worker();
        #[track_caller]
        fn check<T: DeserializeOwned + fmt::Debug>(worker: &Coprocess, came: &[u8], says: &str) {
            // The other end sends it back as it is; here it is to be decoded.
            let error = call_as::<T>(worker, came).unwrap_err();
            assert_matches!(error, Error::Decode { ref what, .. } if what == "bytes");
            says_once(&error, says);
            assert!(error.to_string().ends_with("do both ends use the same types?"), "{error}");
        }
        check::<NonZeroU32>(&worker, &[0], "invalid value: integer `0`, expected a nonzero u32");
        check::<Choice>(
            &worker,
            &[7],
            "invalid value: integer `7`, expected variant index 0 <= i < 1",
        );
        check::<Vec<Choice>>(&worker, &[2, 0, 9], "integer `9`");
        check::<Fussy>(&worker, &[5], "5 is\\nno good");
        check::<Untagged>(&worker, &[5], "untagged");
        check::<Block<u32>>(
            &worker,
            &[3, 1, 2, 3],
            "invalid length 3, expected a block of whole values of 4 bytes each",
        );
        check::<std::time::Duration>(
            &worker,
            &[&[0xff; 9], &[1, 0xff, 0xff, 0xff, 0xff, 0xf][..]].concat(),
            "overflow",
        );
        check::<char>(&worker, &[1, 0xff], "a char is no character");
        check::<String>(&worker, &[1, 0xff], "a text is not UTF-8");
        check::<bool>(&worker, &[2], "a bool is neither 0 nor 1");
        check::<Option<u8>>(&worker, &[2], "an option is neither none nor some");
        check::<u16>(&worker, &[0xff, 0xff, 0xff], "a number is too large for its type");
        check::<(u8, u8)>(&worker, &[1], "it ends early: the peer sent less than this type has");
        check::<u8>(&worker, &[1, 2], "1 bytes are left over");
    });
}

/// Calls a method that returns its argument, encoded as `T` or not.
fn call_as<T: DeserializeOwned>(worker: &Coprocess, bytes: &[u8]) -> coprocess::Result<T> {
    struct Raw<'a>(&'a [u8]);
    impl Serialize for Raw<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let mut tuple = serializer.serialize_tuple(self.0.len())?;
            for byte in self.0 {
                tuple.serialize_element(byte)?;
            }
            tuple.end()
        }
    }
    worker.call("bytes", Raw(bytes))
}

#[test]
fn what_is_wrong_with_arguments() {
    within(LIMIT, || {
        let worker = plain_worker();
        for (method, args, says) in [
            ("small", &[0][..], "invalid value: integer `0`, expected a nonzero u32"),
            ("fussy", &[3], "3 is\\nno good"),
            ("numbers", &[1, 0], "expected a block of whole values of 4 bytes each"),
            ("length", &[1, 0xff], "a text is not UTF-8"),
            ("length", &[2, b'x'], "it ends early"),
            ("length", &[0, 0], "1 bytes are left over"),
        ] {
            let error = worker.call_bytes(method, args).unwrap_err();
            assert_matches!(error, Error::Remote { method: ref name, ref message } if name == method && message.contains("do not decode"));
            says_once(&error, says);
        }
    });
}

#[cfg(feature = "interface")]
#[test]
fn what_an_interface_says() {
    #[coprocess::interface]
    trait Paths {
        fn of(&self, number: NonZeroU32) -> PathBuf;
        fn check(&self, path: PathBuf) -> bool;
    }
    struct Server;
    impl Paths for Server {
        fn of(&self, _: NonZeroU32) -> PathBuf {
            invalid_path()
        }
        fn check(&self, _: PathBuf) -> bool {
            true
        }
    }
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| Server.serve(&parent)).unwrap();
        let paths = PathsClient::new(&worker).unwrap();
        says_once(&paths.check(invalid_path()).unwrap_err(), INVALID_PATH);
        says_once(&paths.of(NonZeroU32::MIN).unwrap_err(), INVALID_PATH);
        says_once(&worker.call::<()>("Paths.of", 0_u32).unwrap_err(), "expected a nonzero u32");
    });
}

/// What a handler says is kept as it is; as a part of a line it is one.
#[test]
fn what_a_handler_says_in_many_lines() {
    within(LIMIT, || {
        let error = plain_worker().call::<()>("fails", ()).unwrap_err();
        assert_matches!(error, Error::Remote { ref message, .. } if message == "two\nlines\u{1b}[0m");
        says_once(&error, "two\\nlines\\u{1b}[0m");
        assert_eq!(error.remote_panic(), None);
    });
}

// ---- sizes -------------------------------------------------------------------------------------

#[test]
fn what_to_do_about_a_name_that_is_too_long() {
    within(LIMIT, || {
        let worker = Builder::new().max_message(1000).fork(|_| ()).unwrap();
        let name = "n".repeat(1001);
        for error in [
            worker.call::<()>(&name, ()).unwrap_err(),
            worker.start::<()>(&name, ()).unwrap_err(),
            worker.call_bytes(&name, b"").unwrap_err(),
            worker.emit(&name, ()).unwrap_err(),
            worker.emit_bytes(&name, b"").unwrap_err(),
            worker.event(&name).emit(()).unwrap_err(),
            ready(worker.emit_async(&name, ())).unwrap_err(),
        ] {
            assert_matches!(error, Error::TooLarge { size: 1001.., max: 1000 });
            says_once(&error, "raise Builder::max_message");
            says_once(&error, "shorten the name");
        }
        // No setting allows this one.
        let worker = coprocess::fork(|_| ()).unwrap();
        let name = "n".repeat(1 << 24);
        for error in
            [worker.call::<()>(&name, ()).unwrap_err(), worker.emit(&name, ()).unwrap_err()]
        {
            assert_matches!(error, Error::TooLarge { size: 0x100_0000, max: 0xff_ffff });
            says_once(&error, "name too long");
            says_once(&error, "shorten it");
            assert!(!error.to_string().contains("max_message"), "{error}");
        }
    });
}

// ---- panics ------------------------------------------------------------------------------------

/// Where each of the methods of [`panicking`] panics.
const PLACES: [(&str, u32); 6] = [
    ("serve", line!() + 9),
    ("try_serve", line!() + 9),
    ("serve_deferred", line!() + 9),
    ("serve_bytes", line!() + 9),
    ("again", line!() + 11),
    ("a thread", line!() + 23),
];
fn panicking(parent: Coprocess) {
    parent
        .serve("serve", |()| -> () { panic!("in serve") })
        .try_serve("try_serve", |()| -> Result<(), String> { panic!("in {}", "try_serve") })
        .serve_deferred("serve_deferred", |(), _: Reply<()>| panic!("in serve_deferred"))
        .serve_bytes("serve_bytes", |_| -> Vec<u8> { panic!("in serve_bytes") })
        .serve("again", |()| -> () {
            drop(panic::catch_unwind(|| panic!("caught")));
            panic!("in again\nof two lines")
        })
        .serve("passed on", |()| -> () {
            drop(panic::catch_unwind(|| panic!("caught")));
            panic::resume_unwind(Box::new("in passed on"))
        })
        .serve("of another thread", |()| -> () {
            let panic = std::thread::spawn(|| panic!("in of another thread")).join().unwrap_err();
            panic::resume_unwind(panic)
        })
        .serve_deferred("a thread", |(), reply: Reply<()>| {
            std::thread::spawn(move || {
                let _reply = reply;
                panic!("in a thread");
            });
        })
        .serve_deferred("dropped", |(), reply: Reply<()>| {
            drop(panic::catch_unwind(|| panic!("caught")));
            drop(reply);
        })
        .serve("no text", |()| -> () { panic::panic_any(7) });
}

/// Panics as [`panicking`] does, in a worker: these panics are on purpose.
fn panicking_quietly(parent: Coprocess) {
    panic::set_hook(Box::new(|_| ()));
    panicking(parent);
}

/// Makes a builder of workers with these backtraces, whatever the environment of the tests says.
fn with_backtraces(set: &str) -> Builder {
    patient().env("RUST_BACKTRACE", set).env("RUST_LIB_BACKTRACE", set)
}

#[track_caller]
fn check_places(worker: &Coprocess) {
    for (method, line) in PLACES {
        let error = worker.call_bytes(method, b"").unwrap_err();
        let panic = error.remote_panic().unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!(panic.message().lines().next(), Some(format!("in {method}").as_str()));
        let place = panic.place().unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!((place.file(), place.line()), (file!(), line), "{method}");
        assert!(place.column() > 1);
        assert_eq!(place.to_string(), format!("{}:{line}:{}", file!(), place.column()));
        says_once(&error, &format!("{}:{line}:", file!()));
        says_once(&error, &format!("in {method}"));
        assert_matches!(error, Error::Remote { method: ref name, .. } if name == method);
    }
}

#[test]
fn where_a_handler_panicked() {
    within(LIMIT, || {
        let worker = with_backtraces("0").fork(panicking_quietly).unwrap();
        check_places(&worker);
        let error = worker.call::<()>("again", ()).unwrap_err();
        let panic = error.remote_panic().unwrap();
        assert_eq!((panic.message(), panic.backtrace()), ("in again\nof two lines", None));
        // A panic that has called no hook, or that of another thread: a wrong place is worse than
        // none.
        for method in ["passed on", "of another thread"] {
            let error = worker.call::<()>(method, ()).unwrap_err();
            let panic = error.remote_panic().unwrap();
            assert_eq!((panic.message(), panic.place()), (format!("in {method}").as_str(), None));
        }
        // The library's own words, although this thread has panicked just before.
        assert_eq!(worker.call::<()>("dropped", ()).unwrap_err().remote_panic(), None);
        let error = worker.call::<()>("no text", ()).unwrap_err();
        assert_eq!(error.remote_panic().unwrap().message(), "(no message)");
        assert_eq!(error.remote_panic().unwrap().place().unwrap().file(), file!());
    });
}

#[test]
fn where_a_handler_of_a_program_panicked() {
    within(LIMIT, || check_places(&patient().spawn(program!("panics")).unwrap()));
}

#[test]
fn the_backtrace_of_a_panic() {
    within(LIMIT, || {
        let worker = with_backtraces("1").fork(panicking_quietly).unwrap();
        check_places(&worker);
        let error = worker.call::<()>("serve", ()).unwrap_err();
        let backtrace = error
            .remote_panic()
            .unwrap()
            .backtrace()
            .expect("the environment asks for it")
            .to_owned();
        assert!(backtrace.contains("panicking") && backtrace.lines().count() > 5, "{backtrace}");
        assert!(!error.to_string().contains("backtrace"), "{error}");
        // A small bound for messages leaves what fits.
        let worker = with_backtraces("1").max_message(200).fork(panicking_quietly).unwrap();
        let error = worker.call::<()>("serve", ()).unwrap_err();
        assert_eq!(error.remote_panic().unwrap().place().unwrap().file(), file!());
    });
}

/// A hook of the program's own is called as before. If it is set before the first registration, the
/// place is known.
#[test]
fn a_hook_of_the_program() {
    within(LIMIT, || {
        let worker = with_backtraces("0")
            .fork(|parent| {
                use std::sync::atomic::{AtomicU32, Ordering};
                static REPORTS: AtomicU32 = AtomicU32::new(0);
                panic::set_hook(Box::new(|_| {
                    REPORTS.fetch_add(1, Ordering::SeqCst);
                }));
                parent.serve("reports", |()| REPORTS.load(Ordering::SeqCst));
                panicking(parent.clone());
                // From here on nothing notes where a handler panics.
                parent.serve("replace", |()| panic::set_hook(Box::new(|_| ())));
            })
            .unwrap();
        check_places(&worker);
        assert_eq!(
            worker.call::<usize>("reports", ()).unwrap(),
            PLACES.len() + 1,
            "one panic was caught"
        );
        worker.call::<()>("replace", ()).unwrap();
        let error = worker.call::<()>("serve", ()).unwrap_err();
        let panic = error.remote_panic().unwrap();
        assert_eq!((panic.message(), panic.place(), panic.backtrace()), ("in serve", None, None));
    });
}

/// In its parent's process the library has no hook.
#[test]
fn the_message_of_a_panic_on_the_parents_end() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.serve("ask", move |()| {
                let error = end.upgrade().unwrap().call::<()>("serve", ()).unwrap_err();
                let panic = error.remote_panic().unwrap();
                (panic.message().to_owned(), panic.place().is_none(), panic.backtrace().is_none())
            });
        })
        .unwrap();
        panicking(worker.clone());
        assert_eq!(
            worker.call::<(String, bool, bool)>("ask", ()).unwrap(),
            ("in serve".to_owned(), true, true)
        );
    });
}

#[cfg(feature = "tokio")]
#[test]
fn where_an_async_handler_panicked() {
    fn fail(text: &'static str) {
        panic!("{text}");
    }
    const LINE: u32 = line!() - 2;
    within(LIMIT, || {
        let worker = with_backtraces("0")
            .fork(|parent| {
                panic::set_hook(Box::new(|_| ()));
                let runtime = Box::leak(Box::new(
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
                ));
                parent.serve_async(runtime.handle(), "at once", |yields: bool| async move {
                    if yields {
                        tokio::task::yield_now().await;
                    }
                    fail("in a future");
                });
            })
            .unwrap();
        for yields in [false, true] {
            let error = worker.call::<()>("at once", yields).unwrap_err();
            let panic = error.remote_panic().unwrap();
            assert_eq!((panic.message(), panic.place().unwrap().line()), ("in a future", LINE));
        }
    });
}
