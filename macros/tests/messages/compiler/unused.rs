//! The results of all forms of a client must be used. The compiler repeats the author's reason.

#![deny(unused_must_use)]

#[coprocess::interface]
trait Calculator {
    fn add(&self, a: i64, b: i64) -> i64;
    #[must_use = "it takes a minute"]
    fn factor(&self, n: u64) -> Vec<u64>;
    #[event]
    fn note(&self, text: &str);
}

fn careless(calculator: &CalculatorClient) -> coprocess::Result<()> {
    calculator.add(1, 2);
    calculator.pipelined().add(1, 2)?;
    calculator.asynchronous().add(1, 2);
    calculator.factor(91);
    calculator.note("unnoticed");
    CalculatorClient::new_async(calculator_end()?);
    Ok(())
}

fn calculator_end() -> coprocess::Result<&'static coprocess::Coprocess> {
    unimplemented!()
}

fn main() {
    let _ = careless;
}
