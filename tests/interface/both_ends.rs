//! Servers and clients at both ends, for many pairs and threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use coprocess::{Error, WeakCoprocess};

use crate::calculator::{Calculator, CalculatorClient, Plain, calculator};
use crate::common::{LIMIT, within};

/// What the worker of [`both_ends_serve`] serves: it asks the parent's calculator.
#[coprocess::interface(name = "both.Accountant")]
trait Accountant {
    fn total(&self, amounts: &[i64]) -> Result<i64, String>;
}

struct Delegating {
    parent: WeakCoprocess,
}

impl Accountant for Delegating {
    fn total(&self, amounts: &[i64]) -> Result<i64, String> {
        let total = || {
            let calculator = CalculatorClient::new(&self.parent.upgrade().ok_or(Error::Closed)?)?;
            amounts.iter().try_fold(0, |total, amount| calculator.add(total, *amount))
        };
        total().map_err(|error: Error| error.to_string())
    }
}

#[test]
fn both_ends_serve() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| Delegating { parent: parent.downgrade() }.serve(&parent))
            .unwrap();
        let accountant = AccountantClient::new(&co).unwrap();
        let refused = accountant.total(&[1]).unwrap().unwrap_err();
        assert!(refused.contains("`Calculator`"), "{refused}");
        // What the server keeps, the program sees.
        let plain = Arc::new(Plain::default());
        Arc::clone(&plain).serve(&co);
        assert_eq!(accountant.total(&[1, 2, 3, 4]).unwrap(), Ok(10));
        assert_eq!(plain.calls.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn one_server_for_many_pairs_and_threads() {
    within(LIMIT, || {
        let plain: Arc<dyn Calculator + Send + Sync> = Arc::new(Plain::default());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let worker = coprocess::fork(|parent| {
                    Delegating { parent: parent.downgrade() }.serve(&parent)
                })
                .unwrap();
                Calculator::serve(Arc::clone(&plain), &worker);
                AccountantClient::new(&worker).unwrap()
            })
            .collect();
        thread::scope(|scope| {
            for worker in &workers {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            assert_eq!(worker.clone().total(&[5, 6]).unwrap(), Ok(11));
                        }
                    });
                }
            }
        });
    });
}

#[test]
fn clients_are_for_any_thread() {
    fn for_any_thread<T: Clone + Send + Sync + 'static>() {}
    for_any_thread::<CalculatorClient>();
    fn debug(client: &CalculatorClient) -> String {
        format!("{client:?} {:?} {:?}", client.pipelined(), client.within(LIMIT).clone())
    }
    within(LIMIT, || {
        let (_co, calculator) = calculator();
        assert!(debug(&calculator).contains("CalculatorClient"));
    });
}
