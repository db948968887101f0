//! Shows a first call, an event, and a crash that is an error: the first program of README.md.
//!
//! Run it with `cargo run --release --example quickstart`.

use coprocess::Method;

const ADD: Method<(i64, i64), i64> = Method::new("add"); // both ends have its types from here

fn main() -> coprocess::Result<()> {
    coprocess::init(); // first line of main: the worker is this program, executed again

    let co = coprocess::fork(|co| {
        // This runs in a process of its own.
        co.listen("greet", |name: String| println!("hello, {name}"));
        ADD.serve(&co, |(a, b)| a + b);
        co.serve("crash", |(): ()| -> () { std::process::abort() });
    })?;

    co.emit("greet", "world")?; // one way
    let sum = ADD.call(&co, (1, 2))?; // waits for the result
    println!("1 + 2 = {sum}");

    // A crash of the worker is an error here, with its reason, and not an outage.
    let crash = co.call::<()>("crash", ());
    println!("{}", crash.unwrap_err()); // disconnected: the worker was killed by signal 6
    Ok(())
}
