//! coprocess with many methods, called in turn.

use coprocess::Coprocess;

use crate::Result;
use crate::measure::Subject;
use crate::subjects::close::close;
use crate::subjects::pair::EPOCH;

/// Names a method. All names have one length, so that all calls have one length.
fn name(number: usize) -> String {
    format!("method-{number:04}")
}

/// Runs in the second process.
fn worker<const HANDLERS: usize>(co: Coprocess) {
    for number in 0..HANDLERS {
        co.serve(&name(number), |value: u64| value);
    }
}

pub(crate) struct ManyHandlers {
    co: Coprocess,
    names: Vec<String>,
}

impl ManyHandlers {
    pub(crate) fn start<const HANDLERS: usize>() -> Result<ManyHandlers> {
        let co = coprocess::fork(worker::<HANDLERS>)?;
        Ok(ManyHandlers { co, names: (0..HANDLERS).map(name).collect() })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.co.peer_id()
    }

    /// Calls all methods in turn.
    pub(crate) fn call_in_turn(&self, name: String) -> Subject<'_> {
        self.call(&self.names, name)
    }

    /// Calls one method, while the other methods are registered but idle.
    pub(crate) fn call_one(&self, name: String) -> Subject<'_> {
        self.call(&self.names[..1], name)
    }

    fn call<'a>(&'a self, names: &'a [String], name: String) -> Subject<'a> {
        Subject::new(name, "", move |count, timing| {
            let mut next = names.iter().cycle();
            let elapsed = timing.laps(count, |turn| {
                let value = EPOCH + turn;
                match next.next() {
                    Some(name) if self.co.call::<u64>(name, value)? == value => Ok(()),
                    _ => Err("calls are mixed up".into()),
                }
            })?;
            Ok(elapsed.into())
        })
    }

    pub(crate) fn finish(&self) -> Result<()> {
        close(&self.co)
    }
}
