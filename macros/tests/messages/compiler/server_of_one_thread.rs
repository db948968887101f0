//! A server must be usable from any thread.

use std::cell::Cell;

#[coprocess::interface]
trait Counter {
    fn count(&self) -> u64;
}

struct Single(Cell<u64>);

impl Counter for Single {
    fn count(&self) -> u64 {
        self.0.replace(self.0.get() + 1)
    }
}

fn worker(co: coprocess::Coprocess) {
    Single(Cell::new(0)).serve(&co);
}

fn main() {
    let _ = coprocess::fork(worker);
}
