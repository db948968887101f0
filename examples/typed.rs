//! Shows a typed interface: a trait says what two programs send each other, and the compiler checks
//! both programs.
//!
//! Run it with `cargo run --release --features interface --example typed`.
//!
//! A worker keeps the books, so that no bug of its parent can touch them. The parent has a client
//! with a method for each method of the trait: wrong names, wrong arguments and forgotten results
//! do not compile. If the worker was built from another version of the trait, the client cannot be
//! made, and the error says what differs. To stay in one file, this example starts itself with the
//! argument `worker` or `old-worker`.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The books: accounts with names and money in them. Both programs are compiled with this trait.
#[coprocess::interface]
trait Ledger {
    /// Puts money into an account, opening it if there is none, and returns the new balance.
    fn deposit(&self, account: &str, cents: u64) -> u64;

    /// Moves money between accounts.
    fn transfer(&self, from: &str, to: &str, cents: u64) -> Result<(), TransferError>;

    /// Returns the balance of an account, if there is such an account.
    fn balance(&self, account: &str) -> Option<u64>;

    /// Writes a line for the audit. An event: one way, without an answer.
    #[event]
    fn remark(&self, text: &str);
}

/// Why money was not moved. The error crosses the processes as a value, like any result.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum TransferError {
    /// There is no account of this name.
    NoAccount(String),
    /// The account is short by this much.
    Short { cents: u64 },
}

/// The server, which implements the trait as it is written.
#[derive(Default)]
struct Books {
    accounts: Mutex<BTreeMap<String, u64>>,
}

impl Books {
    fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Books {
    fn deposit(&self, account: &str, cents: u64) -> u64 {
        let mut accounts = self.accounts();
        let balance = accounts.entry(account.to_owned()).or_default();
        *balance += cents;
        *balance
    }

    fn transfer(&self, from: &str, to: &str, cents: u64) -> Result<(), TransferError> {
        let mut accounts = self.accounts();
        let missing = |account: &str| TransferError::NoAccount(account.to_owned());
        let there = *accounts.get(from).ok_or_else(|| missing(from))?;
        let rest = there
            .checked_sub(cents)
            .ok_or(TransferError::Short { cents: cents.saturating_sub(there) })?;
        *accounts.get_mut(to).ok_or_else(|| missing(to))? += cents;
        accounts.insert(from.to_owned(), rest);
        Ok(())
    }

    fn balance(&self, account: &str) -> Option<u64> {
        self.accounts().get(account).copied()
    }

    fn remark(&self, text: &str) {
        println!("audit: {text}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match env::args().nth(1).as_deref() {
        Some("worker") => return Ok(worker()?),
        Some("old-worker") => return Ok(old::worker()?),
        _ => {}
    }
    let co = coprocess::spawn(this_program("worker")?)?;
    let ledger = LedgerClient::new(&co)?;

    ledger.deposit("ann", 500)?;
    ledger.deposit("bob", 100)?;
    ledger.remark("two accounts were opened")?;

    // The first `?` is for faults of the call, such as the death of the worker. The ledger's answer
    // is a value.
    match ledger.transfer("bob", "ann", 300)? {
        Ok(()) => println!("bob has paid"),
        Err(TransferError::Short { cents }) => println!("bob is {cents} cents short"),
        Err(TransferError::NoAccount(name)) => println!("there is no account of {name}"),
    }

    // A call with a deadline.
    let balance = ledger.within(Duration::from_secs(5)).balance("ann")?;
    println!("ann has {} cents", balance.unwrap_or(0));

    // A hundred calls are in flight at the same time: all are sent first, and waited for later.
    let deposits = (1..=100)
        .map(|cents| ledger.pipelined().deposit("bob", cents))
        .collect::<coprocess::Result<Vec<_>>>()?;
    let mut balance = 0;
    for deposit in deposits {
        balance = deposit.wait()?;
    }
    println!("bob has {balance} cents");

    // A worker that was built from an older version of the trait.
    let old = coprocess::spawn(this_program("old-worker")?)?;
    match LedgerClient::new(&old) {
        Ok(_) => println!("the old worker fits"),
        Err(error) => println!("{error}"),
    }
    old.close()?;
    co.close()?;
    Ok(())
}

/// Keeps the books for the parent. In the worker's own program, this would be `main`.
fn worker() -> coprocess::Result<()> {
    let parent = coprocess::parent()?;
    Books::default().serve(&parent);
    parent.run()
}

fn this_program(role: &str) -> std::io::Result<Command> {
    let mut program = Command::new(env::current_exe()?);
    program.arg(role);
    Ok(program)
}

/// Stands for the sources of a worker of last year.
mod old {
    #[coprocess::interface]
    pub(crate) trait Ledger {
        fn deposit(&self, account: &str, euros: f64) -> f64;
    }

    struct Books;

    impl Ledger for Books {
        fn deposit(&self, _: &str, euros: f64) -> f64 {
            euros
        }
    }

    pub(crate) fn worker() -> coprocess::Result<()> {
        let parent = coprocess::parent()?;
        Books.serve(&parent);
        parent.run()
    }
}
