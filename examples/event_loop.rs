//! Shows an event loop of your own: one thread waits for its clients and for its worker.
//!
//! Run it with `cargo run --release --example event_loop`.
//!
//! A shop has a socket for its customers, and a worker that knows the prices. The loop watches the
//! socket and the descriptor of `readiness`. `poll` handles answers, events and calls of the
//! worker, on the thread of the loop only. So the loop needs no locks. Then the example does the
//! same in a runtime, by tokio's `AsyncFd`.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use coprocess::{Coprocess, Readiness};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Serves prices, in a process of its own.
fn worker(parent: Coprocess) {
    let weak = parent.downgrade();
    parent.try_serve("price", move |article: u64| -> coprocess::Result<u64> {
        let parent = weak.upgrade().ok_or(coprocess::Error::Closed)?;
        // The shop decides on the discount, in its loop.
        let discount: u64 = parent.call("discount", article)?;
        parent.emit("asked for", article)?;
        Ok(100 * article - discount)
    });
}

/// Registers the shop's handlers. Each of them runs on the thread of the loop.
fn open(worker: &Coprocess) {
    let this = thread::current().id();
    worker.serve("discount", move |article: u64| {
        assert_eq!(thread::current().id(), this);
        article % 10
    });
    worker.listen("asked for", move |article: u64| {
        assert_eq!(thread::current().id(), this);
        println!("shop: a customer has asked for article {article}");
    });
}

fn main() -> Result<()> {
    coprocess::init();
    by_poll()?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(by_runtime())
}

/// Runs the shop in an event loop over poll(2).
fn by_poll() -> Result<()> {
    let worker = coprocess::fork(worker)?;
    // While `readiness` exists, the library's own thread dispatches nothing.
    let readiness = worker.readiness()?;
    open(&worker);

    let (mut socket, client) = UnixStream::pair()?;
    let customer = thread::spawn(move || shop_by_socket(client));
    loop {
        let mut descriptors = [
            PollFd::new(readiness.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let [from_worker, from_socket] =
            descriptors.map(|descriptor| descriptor.any().unwrap_or(true));
        if from_worker {
            // Handlers and callbacks run in here. Do not read from the descriptor: `poll` does
            // that.
            worker.poll()?;
        }
        if from_socket {
            let mut article = [0; 8];
            match socket.read_exact(&mut article) {
                // The customer is gone.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                other => other?,
            }
            // `call` would block the loop.
            let mut answers = socket.try_clone()?;
            worker.call_with(
                "price",
                u64::from_le_bytes(article),
                move |price: coprocess::Result<u64>| {
                    let told = answers.write_all(&price.unwrap_or(u64::MAX).to_le_bytes());
                    told.unwrap_or_else(|error| {
                        println!("shop: the customer does not listen: {error}")
                    });
                },
            )?;
        }
    }
    customer.join().expect("the customer does not panic")?;
    // Without a `Readiness`, the library dispatches again.
    drop(readiness);
    worker.close()?;
    Ok(())
}

/// Asks for prices through the socket, as a client that knows nothing of workers.
fn shop_by_socket(mut shop: UnixStream) -> std::io::Result<()> {
    for article in [7_u64, 20, 33] {
        shop.write_all(&article.to_le_bytes())?;
        let mut price = [0; 8];
        shop.read_exact(&mut price)?;
        println!("customer: article {article} is {} cents", u64::from_le_bytes(price));
    }
    Ok(())
}

/// Runs the shop in a tokio runtime.
async fn by_runtime() -> Result<()> {
    let worker = coprocess::fork(worker)?;
    #[expect(
        unsafe_code,
        reason = "tokio has no other way to register a descriptor that is not its own"
    )]
    // SAFETY: the descriptor is open as long as the `Readiness`, and is always the same descriptor.
    let readiness =
        unsafe { AsyncFd::register_with_interest(worker.readiness()?, Interest::READABLE)? };
    open(&worker);
    // The `poll` in `dispatch` wakes the futures of calls, so the two futures run at the same time.
    tokio::select! {
        asked = shop_by_task(&worker) => asked?,
        over = dispatch(&worker, &readiness) => over?,
    }
    drop(readiness);
    worker.close()?;
    Ok(())
}

/// Asks for prices from a task of the runtime.
async fn shop_by_task(worker: &Coprocess) -> Result<()> {
    for article in [8_u64, 21] {
        let price: u64 = worker.call_async("price", article).await?;
        println!("task: article {article} is {price} cents");
    }
    Ok(())
}

/// Runs the handlers of an end until the pair is over.
async fn dispatch(end: &Coprocess, readiness: &AsyncFd<Readiness>) -> Result<()> {
    loop {
        // Clear before the poll: a message that arrives during the poll makes it ready again.
        readiness.readable().await?.clear_ready();
        end.poll()?;
    }
}
