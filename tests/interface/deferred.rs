//! Methods that are answered later.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use coprocess::{Builder, Error, Reply};

use crate::calculator::{Calculator, CalculatorClient, Plain};
use crate::common::{LIMIT, assert_matches, at_once, block_on, meant, within};

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
    /// Finds something; [`Index::release`] answers.
    #[deferred]
    fn find(&self, what: &str, reply: u64) -> Result<u64, String>;
    #[deferred]
    fn wait(&self);
    /// Answers the last of the calls that wait.
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

        // The server drops the replies.
        let (find, wait) =
            (index.pipelined().find("later", 1).unwrap(), index.pipelined().wait().unwrap());
        assert_eq!(index.forget().unwrap(), 2);
        assert_eq!(remote(find.wait()), "its handler dropped the reply without an answer");
        assert_matches!(wait.wait(), Err(Error::Remote { .. }));

        // The callers give up.
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
