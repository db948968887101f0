//! Calls and events whose bytes are the program's own.

use crate::common;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error};

use crate::common::{LIMIT, SMALL_RING, assert_matches, eventually, pattern, within};

/// An answer that panics when it is dropped.
struct Grenade;

impl AsRef<[u8]> for Grenade {
    fn as_ref(&self) -> &[u8] {
        b"answered"
    }
}

impl Drop for Grenade {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("after the answer"));
    }
}

fn worker(parent: Coprocess) {
    parent.serve_bytes("echo", |bytes| {
        assert_eq!(bytes.as_ptr() as usize % 8, 0, "aligned");
        bytes.to_vec()
    });
    parent.serve_bytes("fixed", |_| *b"fixed");
    parent.serve_bytes("panics", |_| -> Vec<u8> {
        std::panic::resume_unwind(Box::new("on purpose"))
    });
    parent.serve_bytes("grenade", |_| Grenade);
    parent.serve_bytes("huge", |_| vec![0; 100_000]);
    parent.try_serve_bytes("upper", |text| std::str::from_utf8(text).map(str::to_uppercase));
    parent.serve("add", |(a, b): (i64, i64)| a + b);
    parent.serve_deferred("never", |(): (), reply: coprocess::Reply<()>| std::mem::forget(reply));
    let (back, typed) = (parent.downgrade(), parent.downgrade());
    parent.listen_bytes("line", move |line| {
        assert_eq!(line.as_ptr() as usize % 8, 0, "aligned");
        back.upgrade().unwrap().emit_bytes("line", line).unwrap();
    });
    parent.listen("typed", move |(a, b): (u8, String)| {
        typed.upgrade().unwrap().emit("typed", (b, a)).unwrap()
    });
}

/// Returns the result of a future, by polling again and again.
fn await_by_polling<F: Future + Unpin>(mut future: F) -> F::Output {
    let mut output = None;
    eventually("the future is ready", || {
        if let Poll::Ready(ready) =
            Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()))
        {
            output = Some(ready);
        }
        output.is_some()
    });
    output.unwrap()
}

#[test]
fn bytes_of_every_length_arrive_as_they_were_sent() {
    within(LIMIT, || {
        let co = Builder::new().ring_capacity(SMALL_RING).fork(worker).unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        co.listen_bytes("line", move |line| drop(sender.send(line.to_vec())));
        let mut answer = vec![1; 3];
        for length in (0..300).chain(32_760..32_780).chain([100_000, 1 << 20]) {
            let bytes = pattern(length, length);
            co.emit_bytes("line", &bytes).unwrap();
            assert!(lines.recv_timeout(LIMIT / 2).unwrap() == bytes, "{length}");
            co.call_bytes_into("echo", &bytes, &mut answer).unwrap();
            assert!(answer == bytes, "{length}");
            await_by_polling(co.emit_bytes_async("line", &bytes)).unwrap();
            assert!(lines.recv_timeout(LIMIT / 2).unwrap() == bytes, "{length}, awaited");
            assert!(
                await_by_polling(co.call_bytes_async("echo", &bytes)).unwrap() == bytes,
                "{length}, awaited"
            );
        }
        assert_eq!(co.call_bytes("fixed", &[]).unwrap(), b"fixed");
        let pending: Vec<_> =
            (0..200_u8).map(|n| co.start_bytes("echo", &[n; 50]).unwrap()).collect();
        for (n, call) in pending.into_iter().enumerate() {
            let bytes = if n % 2 == 0 { call.wait() } else { await_by_polling(call) };
            assert_eq!(bytes.unwrap(), [n as u8; 50]);
        }
        co.close().unwrap();
    });
}

#[test]
fn handlers_of_bytes_fail_as_others_do() {
    within(LIMIT, || {
        let co = Builder::new().max_message(50_000).fork(worker).unwrap();
        let mut answer = b"kept".to_vec();
        assert_matches!(co.call_bytes_into("unknown", b"", &mut answer), Err(Error::MethodNotFound { method }) if method == "unknown");
        assert_matches!(co.call_bytes_into("panics", b"", &mut answer), Err(Error::Remote { message, .. }) if message.contains("on purpose"));
        assert_matches!(co.call_bytes("upper", &[0xff]), Err(Error::Remote { message, .. }) if message.contains("utf-8"));
        assert_eq!(co.call_bytes("upper", "straße".as_bytes()).unwrap(), "STRASSE".as_bytes());
        assert_matches!(co.call_bytes("huge", b""), Err(Error::Remote { message, .. }) if message.contains("too large"));
        for length in [49_980, 60_000] {
            // Head and name take 24 bytes.
            assert_matches!(
                co.call_bytes_into("echo", &vec![0; length], &mut answer),
                Err(Error::TooLarge { size, max: 50_000 }) if size == 24 + length
            );
            assert_matches!(
                co.emit_bytes("echo", &vec![0; length + 8]),
                Err(Error::TooLarge { .. })
            );
            assert_matches!(
                await_by_polling(co.call_bytes_async("echo", &vec![0; length])),
                Err(Error::TooLarge { size, max: 50_000 }) if size == 24 + length
            );
        }
        assert_eq!(
            co.call_bytes("echo", &vec![0; 49_976]).unwrap().len(),
            49_976,
            "just not too large"
        );
        assert_matches!(
            co.call_bytes_timeout("never", b"", Duration::from_millis(20)),
            Err(Error::Timeout)
        );
        assert_eq!(answer, b"kept");
        // A panic after the answer is no second one.
        assert_eq!(co.call_bytes("grenade", b"").unwrap(), b"answered");
        assert_eq!(co.call_bytes("echo", b"and on").unwrap(), b"and on");
        co.close().unwrap();
        assert_matches!(co.call_bytes("echo", b""), Err(Error::Closed));
        assert_matches!(co.emit_bytes("line", b""), Err(Error::Closed));
    });
}

#[test]
fn with_typed_ends_the_bytes_are_those_of_postcard() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        let sum = co.call_bytes("add", &postcard::to_stdvec(&(1_i64, -300_i64)).unwrap()).unwrap();
        assert_eq!(postcard::from_bytes::<i64>(&sum).unwrap(), -299);
        assert_eq!(co.call::<(u8, bool)>("echo", (7_u8, true)).unwrap(), (7, true));
        // A byte string has its length in front.
        assert_eq!(co.call_bytes("echo", &[3, 1, 2, 3]).unwrap(), [3, 1, 2, 3]);
        assert_eq!(
            co.call::<ByteBuf>("echo", ByteBuf::from(vec![1, 2, 3])).unwrap().as_slice(),
            [1, 2, 3]
        );
        assert_matches!(co.call_bytes("add", b"\xff"), Err(Error::Remote { message, .. }) if message.contains("do not decode"));
        assert_matches!(co.call::<String>("fixed", ()), Err(Error::Decode { what, .. }) if what == "fixed");

        let typed = common::inbox::<(String, u8)>(&co, "typed");
        co.emit_bytes("typed", &postcard::to_stdvec(&(9_u8, "nine")).unwrap()).unwrap();
        assert_eq!(common::next(&typed), ("nine".to_owned(), 9));
        co.close().unwrap();
    });
}

#[test]
fn bytes_need_a_living_pair_of_this_process() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        co.kill().unwrap();
        assert_matches!(co.call_bytes("echo", b""), Err(Error::Disconnected(_)));
        co.close().unwrap();
    });
}
