//! A method takes `&self`.

#[coprocess::interface]
trait Calculator {
    fn add(a: i64, b: i64) -> i64;
    fn nothing();
    fn change(&mut self, to: i64);
    fn end(self);
    fn share(self: std::sync::Arc<Self>);
    fn outlive(&'static self);
    fn right(&self);
}

fn main() {}
