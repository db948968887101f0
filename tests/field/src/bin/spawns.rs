//! Starts the worker program that the arguments name, with the rest of them.

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut program = std::process::Command::new(arguments.next().expect("the program"));
    program.args(arguments);
    match coprocess::spawn(program) {
        Ok(co) => println!("{:?}", co.call::<i32>("one", ())),
        Err(error) => println!("{error}"),
    }
}
