//! An interface is a trait, and has methods only.

#[coprocess::interface]
struct NoTrait;

#[coprocess::interface]
unsafe trait Risky {}

#[coprocess::interface]
trait Calculator {
    type Number;
    const ZERO: i64;
}

fn main() {}
