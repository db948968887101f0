//! Some names are reserved for the macro, and the macro has one option.

#[coprocess::interface]
trait Calculator {
    fn new(&self);
    fn serve(&self);
    fn within(&self, range: u64) -> bool;
    fn new_async(&self);
    fn unchecked(&self);
    fn pipelined(&self);
    fn asynchronous(&self);
}

#[coprocess::interface(name = "")]
trait Nameless {}

#[coprocess::interface(async)]
trait Asynchronous {}

#[coprocess::interface(version = 3)]
trait Versioned {}

fn main() {}
