//! An event has no result, and only a call can be deferred.

#[coprocess::interface]
trait Clock {
    #[event]
    fn tick(&self, seconds: u64) -> bool;
    #[event(often)]
    fn tock(&self);
    #[cfg_attr(all(), event)]
    fn perhaps(&self);
    #[event]
    #[deferred]
    fn never(&self);
    #[deferred(async)]
    fn later(&self) -> u64;
    #[cfg_attr(all(), deferred)]
    fn perhaps_later(&self) -> u64;
    #[event]
    #[event]
    fn twice(&self);
    #[deferred]
    /// A line in between.
    #[deferred]
    fn twice_later(&self) -> u64;
}

fn main() {}
