//! An event has no result.

#[coprocess::interface]
trait Clock {
    #[event]
    fn tick(&self, seconds: u64) -> bool;
    #[event(often)]
    fn tock(&self);
    #[cfg_attr(all(), event)]
    fn perhaps(&self);
}

fn main() {}
