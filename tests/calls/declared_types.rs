//! Methods and events whose types are declared once, for both ends: `Method`, `Topic`.

use std::sync::mpsc;
use std::time::Duration;

use crate::common::{LIMIT, SMALL_RING, assert_matches, eventually, next, within};
use coprocess::{Coprocess, Error, Method, Topic};

const SCALE: Method<(u64, u64), u64> = Method::new("scale");
const HALF: Method<u64, u64> = Method::new("half");
const LATER: Method<String, usize> = Method::new("later");
const ASK: Method<(), Vec<u64>> = Method::new("ask");
const TICK: Topic<u64> = Topic::new("tick");
const WORDS: Topic<Vec<String>> = Topic::new("words");

fn worker(parent: Coprocess) {
    SCALE.serve(&parent, |(value, factor)| value * factor);
    HALF.try_serve(&parent, |n| if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) });
    LATER.serve_deferred(&parent, |text, reply| {
        drop(std::thread::spawn(move || reply.send(text.len())))
    });
    let own = parent.downgrade();
    ASK.serve(&parent, move |()| {
        let parent = own.upgrade().unwrap();
        // Literals of the declared type, from this end, too.
        vec![SCALE.call(&parent, (300, 2)).unwrap(), HALF.call(&parent, 600).unwrap()]
    });
    let own = parent.downgrade();
    TICK.listen(&parent, move |n| TICK.emit(&own.upgrade().unwrap(), n + 1).unwrap());
    let own = parent.downgrade();
    WORDS.listen(&parent, move |words| WORDS.emit_ref(&own.upgrade().unwrap(), &words).unwrap());
}

fn started() -> Coprocess {
    coprocess::fork(worker).unwrap()
}

#[test]
fn calls_of_every_form() {
    within(LIMIT, || {
        let co = started();
        assert_eq!(SCALE.call(&co, (5, 300)).unwrap(), 1500);
        assert_eq!(SCALE.call_timeout(&co, (5, 3), LIMIT).unwrap(), 15);
        assert_eq!(SCALE.start(&co, (7, 3)).unwrap().wait().unwrap(), 21);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(SCALE.call_async(&co, (9, 3))).unwrap(), 27);
        let (sender, results) = mpsc::channel();
        SCALE.call_with(&co, (11, 3), move |result| sender.send(result.unwrap()).unwrap()).unwrap();
        assert_eq!(next(&results), 33);
        assert_eq!(HALF.call(&co, 600).unwrap(), 300);
        assert_matches!(HALF.call(&co, 7), Err(Error::Remote { message, .. }) if message == "7 is odd");
        assert_eq!(LATER.call(&co, "four".to_owned()).unwrap(), 4);
        assert_matches!(
            LATER.call_timeout(&co, String::new(), Duration::ZERO),
            Err(Error::Timeout)
        );
    });
}

#[test]
fn both_ends_serve() {
    within(LIMIT, || {
        let co = started();
        worker(co.clone());
        assert_eq!(ASK.call(&co, ()).unwrap(), [600, 300]);
    });
}

#[test]
fn events_of_every_form() {
    within(LIMIT, || {
        let co = coprocess::Builder::new().ring_capacity(SMALL_RING).fork(worker).unwrap();
        let (sender, ticks) = mpsc::channel();
        TICK.listen(&co, move |n| sender.send(n).unwrap());
        TICK.emit(&co, 300).unwrap();
        TICK.emit_ref(&co, &400).unwrap();
        TICK.emit_timeout(&co, 500, LIMIT).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(TICK.emit_async(&co, 600)).unwrap();
        eventually("there is room", || TICK.try_emit(&co, 700).is_ok());
        for expected in [301, 401, 501, 601, 701] {
            assert_eq!(next(&ticks), expected);
        }
        let (sender, words) = mpsc::channel();
        WORDS.listen(&co, move |words| sender.send(words).unwrap());
        WORDS.emit(&co, vec!["one".to_owned(), "two".to_owned()]).unwrap();
        assert_eq!(next(&words), ["one", "two"]);
    });
}

/// On the wire they are what their names are: either end may use the name alone.
#[test]
fn names_go_with_them() {
    within(LIMIT, || {
        let co = started();
        assert_eq!(co.call::<u64>(SCALE.name(), (5_u64, 300_u64)).unwrap(), 1500);
        let co = coprocess::fork(|parent| {
            parent.serve("scale", |(value, factor): (u64, u64)| value * factor);
        })
        .unwrap();
        assert_eq!(SCALE.call(&co, (5, 300)).unwrap(), 1500);
        assert_eq!(format!("{SCALE:?} {TICK:?}"), "Method(\"scale\") Topic(\"tick\")");
        // A constant is one word, to be copied, whatever its types.
        let (copied, again): (Method<Vec<u8>, Coprocess>, _) =
            (Method::new("any"), Method::<Vec<u8>, Coprocess>::new("any"));
        assert_eq!((copied.clone().name(), again.name(), { copied }.name()), ("any", "any", "any"));
    });
}
