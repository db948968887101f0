//! Starts the worker program that the argument names.

fn main() {
    let program = std::env::args().nth(1).expect("the program");
    match coprocess::spawn(std::process::Command::new(program)) {
        Ok(co) => println!("{:?}", co.call::<i32>("one", ())),
        Err(error) => println!("{error}"),
    }
}
