//! Shows deadlines and cancellation: each process that works on a call knows the call's deadline,
//! and stops when the caller has given up.
//!
//! Run it with `cargo run --release --example deadlines`.
//!
//! Three processes form a chain. The parent asks a kitchen for a dish, and the kitchen asks its
//! cellar for the wine. The parent's deadline holds for both calls.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use coprocess::{Coprocess, Error, Reply, Result, current_deadline};

/// Serves dishes in the second process. It starts the third one.
fn kitchen(parent: Coprocess) {
    let cellar: &'static Coprocess =
        Box::leak(Box::new(coprocess::fork(cellar).expect("a cellar")));
    parent.try_serve("dish", |wish: String| -> Result<String> {
        let left = current_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        println!("kitchen: {wish}, {}", if left.is_some() { "in a hurry" } else { "in no hurry" });
        // No timeout here: this call inherits what is left of the deadline of `dish`. A dish
        // without wine is better than no dish.
        match cellar.call::<String>("wine", &wish) {
            Ok(wine) => Ok(format!("{wish} with {wine}")),
            Err(Error::Timeout) => Ok(format!("{wish} without wine")),
            Err(error) => Err(error),
        }
    });
    let stoves: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
    let busy = stoves.clone();
    parent.serve_deferred("stew", move |hours: u32, reply: Reply<String>| {
        // Long work runs in a thread of its own, and asks from time to time whether the caller
        // still waits for it.
        let stove = thread::spawn(move || {
            for hour in 0..hours {
                if !reply.is_wanted() {
                    println!(
                        "kitchen: the stew is no longer wanted, after {hour} of {hours} hours"
                    );
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
            if let Err(error) = reply.send(format!("stew of {hours} hours")) {
                println!("kitchen: the stew was not served: {error}");
            }
        });
        busy.lock().unwrap().push(stove);
    });
    parent.serve("closing time", move |()| {
        stoves.lock().unwrap().drain(..).for_each(|stove| stove.join().unwrap())
    });
}

/// Serves wine in the third process.
fn cellar(kitchen: Coprocess) {
    kitchen.serve_deferred("wine", |wish: String, reply: Reply<String>| {
        thread::spawn(move || {
            // For some dishes the wine lies far from the stairs.
            let way =
                if wish == "fish" { Duration::from_millis(1) } else { Duration::from_millis(500) };
            let enough = reply.deadline().is_none_or(|at| Instant::now() + way < at);
            // A handler that cannot meet the deadline need not start.
            if enough {
                thread::sleep(way);
                drop(reply.send("a white one".to_owned()));
            } else {
                drop(reply.fail("too far away"));
            }
        });
    });
}

fn main() -> Result<()> {
    coprocess::init();
    let kitchen = coprocess::fork(kitchen)?;

    let dish: String = kitchen.call("dish", "fish")?;
    println!("{dish}");
    let dish: String = kitchen.call_timeout("dish", "fish", Duration::from_secs(10))?;
    println!("{dish}");

    // The cellar sees that the time is too short, and says so at once.
    match kitchen.call_timeout::<String>("dish", "duck", Duration::from_millis(100)) {
        Err(error) => println!("no duck: {error}"),
        Ok(dish) => println!("{dish}"),
    }

    // The parent gives up a call in two ways: at the deadline, and by dropping its `Pending`.
    let stew: Result<String> = kitchen.call_timeout("stew", 1000_u32, Duration::from_millis(20));
    println!("no stew: {}", stew.unwrap_err());
    let stew = kitchen.start::<String>("stew", 1000_u32)?;
    drop(stew);
    // This returns soon: both cooks learn before it that their stew is not wanted.
    kitchen.call::<()>("closing time", ())?;

    let stats = kitchen.stats();
    println!("{} calls were given up, and the kitchen knows", stats.cancels_sent);
    kitchen.close()?;
    Ok(())
}
