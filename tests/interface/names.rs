//! Interfaces that macros make, and names that the code of the macro uses, too.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::{LIMIT, block_on, within};

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

/// Methods and arguments with the names of things of the macro, of the prelude and of its own
/// types, where the names of the prelude mean something else.
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

/// Constants and statics with the names of things of the macro: a pattern of such a name means the
/// constant.
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
