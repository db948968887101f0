//! Starts itself as a worker program, and forgets `parent()`. With the argument `late` it leaves
//! out `init()`, too.

use std::process::Command;

fn main() {
    if std::env::args().nth(1).is_none() {
        coprocess::init();
    }
    let count: u32 = std::env::var("COUNT").map_or(0, |count| count.parse().expect("a number"));
    println!("main runs");
    if count > 20 {
        return;
    }
    let mut program = Command::new(std::env::current_exe().expect("its name"));
    program.args(std::env::args().skip(1)).env("COUNT", (count + 1).to_string());
    match coprocess::spawn(program) {
        Ok(_) => println!("it is a worker"),
        Err(error) => println!("{error}"),
    }
}
