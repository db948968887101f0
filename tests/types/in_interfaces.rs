//! An interface serves by names, too: a caller that uses the names by hand is held to its types.

use crate::common::{self, LIMIT, within};
use crate::kit::{Log, Point, is_mistyped, log};

#[coprocess::interface]
trait Scale {
    fn scale(&self, value: u64, factor: u64) -> u64;
    fn name(&self, point: &Point, text: &str) -> String;
    #[event]
    fn note(&self, n: u64);
}

struct Served(Log);

impl Scale for Served {
    fn scale(&self, value: u64, factor: u64) -> u64 {
        value * factor
    }

    fn name(&self, point: &Point, text: &str) -> String {
        format!("{text} {}", point.y)
    }

    fn note(&self, n: u64) {
        self.0.add("note", &n);
    }
}

#[test]
fn both_ends_of_an_interface() {
    within(LIMIT, || {
        let co = common::patient()
            .fork(|parent| {
                let log = Log::default();
                log.serve(&parent);
                Scale::serve(Served(log), &parent);
            })
            .unwrap();
        let client = ScaleClient::new(&co).unwrap();
        for n in 0..20 {
            assert_eq!(client.scale(n, 2).unwrap(), 2 * n);
            assert_eq!(client.name(&Point { x: 1, y: 2 }, "a").unwrap(), "a 2");
            client.note(n).unwrap();
            assert_eq!(log(&co, "note"), [n.to_string()]);
            is_mistyped(
                co.call::<u64>("Scale.scale", (5, 2)),
                "Scale.scale",
                "(i32, i32)",
                "(u64, ..)",
            );
            is_mistyped(co.call::<u64>("Scale.scale", 5_u64), "Scale.scale", "u64", "(_, _)");
            is_mistyped(
                co.call::<i64>("Scale.scale", (5_u64, 2_u64)),
                "Scale.scale",
                "u64",
                "i64 as its result",
            );
            assert_eq!(co.call::<u64>("Scale.scale", (5_u64, 2_u64)).unwrap(), 10);
        }
    });
}
