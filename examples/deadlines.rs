//! Deadlines and cancellation: how long a call may take is known wherever it is worked on, and nobody works for a caller that has given up.
//!
//! Three processes in a row: the parent asks a kitchen for a dish, and the kitchen asks its cellar for the wine. The parent's deadline holds for both.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use coprocess::{Coprocess, Error, Reply, Result, current_deadline};

/// The second process. It starts a third one.
fn kitchen(parent: Coprocess) {
    let cellar: &'static Coprocess = Box::leak(Box::new(coprocess::fork(cellar).expect("a cellar")));
    parent.try_serve("dish", |wish: String| -> Result<String> {
        let left = current_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        println!("kitchen: {wish}, {}", if left.is_some() { "in a hurry" } else { "in no hurry" });
        // No timeout here: this call has what is left of the one that is served. A dish without wine is better than none.
        match cellar.call::<String>("wine", &wish) {
            Ok(wine) => Ok(format!("{wish} with {wine}")),
            Err(Error::Timeout) => Ok(format!("{wish} without wine")),
            Err(error) => Err(error),
        }
    });
    let stoves: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
    let busy = stoves.clone();
    parent.serve_deferred("stew", move |hours: u32, reply: Reply<String>| {
        // Work that takes long has a thread of its own, and looks from time to time whether anybody still waits for it.
        let stove = thread::spawn(move || {
            for hour in 0..hours {
                if !reply.is_wanted() {
                    println!("kitchen: nobody wants the stew any more, after {hour} of {hours} hours");
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
            if let Err(error) = reply.send(format!("stew of {hours} hours")) {
                println!("kitchen: nobody is there to eat: {error}");
            }
        });
        busy.lock().unwrap().push(stove);
    });
    parent.serve("closing time", move |()| stoves.lock().unwrap().drain(..).for_each(|stove| stove.join().unwrap()));
}

/// The third process.
fn cellar(kitchen: Coprocess) {
    kitchen.serve_deferred("wine", |wish: String, reply: Reply<String>| {
        thread::spawn(move || {
            // It is far away from the stairs for some dishes.
            let way = if wish == "fish" { Duration::from_millis(1) } else { Duration::from_millis(500) };
            let enough = reply.deadline().is_none_or(|at| Instant::now() + way < at);
            // Who sees that it cannot be done in time need not even start.
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

    // The cellar sees that it is too late, and says so at once.
    match kitchen.call_timeout::<String>("dish", "duck", Duration::from_millis(100)) {
        Err(error) => println!("no duck: {error}"),
        Ok(dish) => println!("{dish}"),
    }

    // A call that is given up: at its deadline, or by dropping it.
    let stew: Result<String> = kitchen.call_timeout("stew", 1000_u32, Duration::from_millis(20));
    println!("no stew: {}", stew.unwrap_err());
    let stew = kitchen.start::<String>("stew", 1000_u32)?;
    drop(stew);
    // Soon: everybody there is told before.
    kitchen.call::<()>("closing time", ())?;

    let stats = kitchen.stats();
    println!("{} calls were given up, and the kitchen knows", stats.cancels_sent);
    kitchen.close()?;
    Ok(())
}
