//! Shows that both ends are alike: while the worker handles a call, it calls its parent back.
//!
//! Run it with `cargo run --release --example symmetric`.
//!
//! The worker counts words, but may have no access to the documents. From inside its handler, it
//! asks the parent for each text. Then the two ends count down together: each end makes the next
//! call from inside the handler of the call before.

use coprocess::{Coprocess, Error, Result};

/// Counts words, in a process of its own.
fn worker(parent: Coprocess) {
    // The handler holds a weak handle: a `Coprocess` of its own pair would keep the pair open.
    let weak = parent.downgrade();
    parent.try_serve("count_words", move |document: String| -> Result<usize> {
        let parent = weak.upgrade().ok_or(Error::Closed)?;
        let text: String = parent.call("read", document)?;
        Ok(text.split_whitespace().count())
    });
    serve_countdown(&parent);
}

fn main() -> Result<()> {
    coprocess::init();

    let worker = coprocess::fork(worker)?;
    worker.try_serve("read", |document: String| match document.as_str() {
        "haiku" => Ok("the worker asks back\nwhile it answers a question\nthe parent answers"),
        _ => Err(format!("there is no document `{document}`")),
    });
    serve_countdown(&worker);

    let words: usize = worker.call("count_words", "haiku")?;
    println!("the haiku has {words} words");

    // The error crosses both processes, and both live on.
    let missing: Result<usize> = worker.call("count_words", "novel");
    if let Err(error) = missing {
        println!("no novel: {error}");
    }

    let steps: Vec<String> = worker.call("countdown", 5u32)?;
    println!("{}", steps.join("\n"));
    worker.close()?;
    Ok(())
}

/// Serves `countdown`, which names its process and leaves the rest of the count to the peer. Both
/// ends of the pair serve it.
fn serve_countdown(end: &Coprocess) {
    let other = end.downgrade();
    end.try_serve("countdown", move |n: u32| -> Result<Vec<String>> {
        let mut steps = vec![format!("process {} says {n}", std::process::id())];
        if n > 0 {
            let other = other.upgrade().ok_or(Error::Closed)?;
            let rest: Vec<String> = other.call("countdown", n - 1)?;
            steps.extend(rest);
        }
        Ok(steps)
    });
}
