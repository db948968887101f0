//! The ends are compiled separately, so an interface has no generic parameters.

#[coprocess::interface]
trait Store<T> {
    fn put(&self, value: u64);
}

#[coprocess::interface]
trait Calculator {
    fn add<T>(&self, a: u64) -> u64;
    fn fill(&self, values: impl Iterator<Item = u64>);
    fn make(&self) -> impl Iterator<Item = u64>;
    fn run(&self, task: Box<dyn Fn()>);
    fn twin(&self) -> Self;
    fn lend<'a>(&self, text: &'a str);
    fn bound(&self)
    where
        u64: Copy;
}

fn main() {}
