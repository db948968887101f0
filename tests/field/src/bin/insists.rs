//! A worker program that starts itself where it has no parent, whatever the reason: through a shell,
//! which a parent that gives up kills in its place.

use std::process::Command;

fn main() {
    println!("main runs");
    match coprocess::parent() {
        Ok(co) => {
            co.serve("one", |(): ()| 1);
            if let Err(error) = co.run() {
                println!("{error}");
            }
        }
        Err(error) => {
            println!("{error}");
            if let Err(again) = coprocess::parent() {
                println!("again: {again}");
            }
            let count: u32 = std::env::var("COUNT").map_or(0, |count| count.parse().expect("a number"));
            if count > 20 {
                return;
            }
            let mut program = Command::new("sh");
            program.args(["-c", "\"$0\"; true"]).arg(std::env::current_exe().expect("its name"));
            program.env("COUNT", (count + 1).to_string());
            match coprocess::spawn(program) {
                Ok(co) => println!("{:?}", co.call::<i32>("one", ())),
                Err(error) => println!("{error}"),
            }
        }
    }
}
