//! An argument is a name and a type.

#[coprocess::interface]
trait Calculator {
    fn add(&self, (a, b): (i64, i64)) -> i64;
    fn ignore(&self, _: i64);
    fn change(&self, mut a: i64);
    fn attribute(&self, #[allow(unused)] a: i64);
}

fn main() {}
