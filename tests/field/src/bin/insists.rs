//! A worker program that starts itself if it has no parent, whatever the reason. It starts itself
//! through another program, which a parent that gives up kills in its place: a shell, or the
//! program that a variable names.

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
            let count: u32 =
                std::env::var("COUNT").map_or(0, |count| count.parse().expect("a number"));
            if count > 20 {
                return;
            }
            let itself = std::env::current_exe().expect("its name");
            let wrapper = std::env::var_os("WRAPPER");
            let mut program = Command::new(wrapper.as_deref().unwrap_or("sh".as_ref()));
            if wrapper.is_none() {
                program.args(["-c", "\"$0\"; true"]);
            }
            program.arg(itself);
            program.env("COUNT", (count + 1).to_string());
            match coprocess::spawn(program) {
                Ok(co) => println!("{:?}", co.call::<i32>("one", ())),
                Err(error) => println!("{error}"),
            }
        }
    }
}
