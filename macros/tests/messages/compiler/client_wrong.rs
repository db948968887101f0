//! A client checks names, arguments and results.

#[coprocess::interface]
trait Calculator {
    fn add(&self, a: i64, b: i64) -> i64;
    #[event]
    fn note(&self, text: &str);
}

fn wrong(calculator: &CalculatorClient) -> coprocess::Result<()> {
    calculator.add(1, "2")?;
    calculator.add(1)?;
    calculator.subtract(1, 2)?;
    let _: String = calculator.add(1, 2)?;
    let _: i64 = calculator.pipelined().add(1, 2)?;
    calculator.pipelined().note("events are not waited for")?;
    Ok(())
}

fn main() {
    let _ = wrong;
}
