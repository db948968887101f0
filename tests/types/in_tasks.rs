//! Handlers that are async tasks compare types, too.

use crate::common::{self, LIMIT, within};
use crate::forms::call_in_every_form;
use crate::kit::is_mistyped;

#[test]
fn handlers_that_are_tasks() {
    within(LIMIT, || {
        let co = common::patient()
            .fork(|parent| {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
                parent.serve_async(runtime.handle(), "async", |n: u64| async move { n });
                parent.try_serve_async(runtime.handle(), "try async", |n: u64| async move {
                    Ok::<u64, String>(n)
                });
                std::mem::forget(runtime);
            })
            .unwrap();
        for round in 0..3_u64 {
            for name in ["async", "try async"] {
                for result in call_in_every_form::<u64>(&co, name, 5) {
                    is_mistyped(result, name, "i32", "u64");
                }
                for result in call_in_every_form::<i64>(&co, name, round) {
                    is_mistyped(result, name, "u64", "i64 as its result");
                }
                for result in call_in_every_form::<u64>(&co, name, round) {
                    assert_eq!(result.unwrap(), round);
                }
            }
        }
    });
}
