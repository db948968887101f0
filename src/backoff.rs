//! Pauses between the tries of something that another thread is about to make succeed.

use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn pause(&mut self) {
        self.0 += 1;
        if self.0 < 100 {
            std::thread::yield_now();
        } else {
            // The other thread may have a lower priority on the same processor: yielding does not let it run.
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
