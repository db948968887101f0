//! A server has all methods of the interface, with the types of the interface.

#[coprocess::interface]
trait Calculator {
    fn add(&self, a: i64, b: i64) -> i64;
    fn negate(&self, a: i64) -> i64;
}

struct Lazy;

impl Calculator for Lazy {
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

struct Narrow;

impl Calculator for Narrow {
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    fn negate(&self, a: i32) -> i64 {
        i64::from(-a)
    }
}

fn main() {}
