//! Types of one name that differ between two ends, and types whose values do something.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, TypeCheck};
use serde::{Deserialize, Serialize};

use crate::common::{LIMIT, block_on, check_error, within};
use crate::kit::types;
use crate::program;

/// Types of one name, as they are here and as they are in a program that was built from other
/// sources.
#[allow(dead_code, unused_imports)]
pub(crate) mod values {
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

            pub(crate) fn serve_theirs(parent: &Coprocess) {
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
                /// Returns how many values have come, by `keep` and `note`.
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

    /// Converts any number but one that only the peer sends.
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
        // A caller that sends one has it done.
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
