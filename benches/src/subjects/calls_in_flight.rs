//! coprocess with many calls in flight that the worker holds back, while other calls come and go.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use coprocess::{Coprocess, Pending, Reply};

use crate::Result;
use crate::measure::Subject;
use crate::subjects::close::close;
use crate::subjects::pair::EPOCH;

/// Runs in the second process: keeps the replies until it is told to send them.
fn worker(co: Coprocess) {
    let held: Arc<Mutex<Vec<Reply<()>>>> = Arc::default();
    let replies = Arc::clone(&held);
    co.serve("echo", |value: u64| value)
        .serve_deferred("hold", move |(), reply| {
            replies.lock().unwrap_or_else(PoisonError::into_inner).push(reply)
        })
        .try_serve("release", move |()| {
            let replies = mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
            replies.into_iter().try_for_each(|reply| reply.send(()))
        });
}

pub(crate) struct CallsInFlight {
    co: Coprocess,
    held: Vec<Pending<()>>,
}

impl CallsInFlight {
    /// Starts a worker, and `others` calls that the worker does not answer yet.
    pub(crate) fn start(others: usize) -> Result<CallsInFlight> {
        let co = coprocess::fork(worker)?;
        let held = (0..others).map(|_| co.start("hold", ())).collect::<coprocess::Result<_>>()?;
        Ok(CallsInFlight { co, held })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.co.peer_id()
    }

    /// Makes one call at a time, beside the calls that are held.
    pub(crate) fn call(&self, name: String) -> Subject<'_> {
        Subject::new(name, "", move |count, timing| {
            let elapsed = timing.laps(count, |turn| {
                let value = EPOCH + turn;
                match self.co.call::<u64>("echo", value)? {
                    answer if answer == value => Ok(()),
                    _ => Err("calls are mixed up".into()),
                }
            })?;
            Ok(elapsed.into())
        })
    }

    /// Lets the worker answer the calls that were held, and checks that all of them are answered.
    pub(crate) fn finish(self) -> Result<()> {
        self.co.call::<()>("release", ())?;
        for pending in self.held {
            pending.wait()?;
        }
        close(&self.co)
    }
}
