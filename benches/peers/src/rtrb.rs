//! Measures rtrb: a ring for one producer and one consumer, between two threads of one process. It
//! shows what memory can do where nothing is isolated.

use std::hint::black_box;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use coprocess_bench::{Host, Result, machine};
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::contender::{Contender, Side, Started};
use crate::item::{EPOCH, ITEMS, Item, WORDS, item, same};
use crate::look::look_for;

/// Counts the items that the chunk interface moves at once.
const CHUNK: usize = 64;

/// Sends a word there and back, through two rings.
pub(crate) const ROUND_TRIP: Contender = Contender {
    name: "rtrb, two rings, threads",
    note: "threads of one process: no isolation; never sleeps; no names, no codec",
    start: |host| {
        let (mut requests, mut asked) = RingBuffer::<u64>::new(WORDS);
        let (mut answers, mut responses) = RingBuffer::<u64>::new(WORDS);
        let other = Thread::start(host, move |count| {
            for _ in 0..count {
                push(&mut answers, pop(&mut asked)?)?;
            }
            Ok(count)
        })?;
        Ok(Started::round_trip(other, move |turn| {
            push(&mut requests, EPOCH + turn)?;
            same(pop(&mut responses)?, EPOCH + turn)
        }))
    },
};

/// Sends items one way, with one `push` and one `pop` each.
pub(crate) const STREAM: Contender = Contender {
    name: "rtrb, 64 B, threads",
    note: "threads of one process: no isolation; never sleeps; no names, no codec",
    start: |host| {
        let (mut sender, mut receiver) = RingBuffer::<Item>::new(ITEMS);
        let other = Thread::start(host, move |count| {
            let mut sum = 0;
            for _ in 0..count {
                sum += black_box(pop(&mut receiver)?)[0];
            }
            Ok(sum)
        })?;
        Ok(Started::stream(other, move |turn, _| push(&mut sender, item(turn))))
    },
};

/// Sends items one way, many at once.
pub(crate) const STREAM_OF_CHUNKS: Contender = Contender {
    name: "rtrb, 64 B in chunks of 64, threads",
    note: "an item waits until 64 are together; threads of one process: no isolation; \
           never sleeps; no names, no codec",
    start: |host| {
        let (mut sender, mut receiver) = RingBuffer::<Item>::new(ITEMS);
        let other = Thread::start(host, move |count| {
            let (mut sum, mut left) = (0, count);
            while left > 0 {
                let there = look_for("item in rtrb's ring", || {
                    Ok(Some(receiver.slots()).filter(|&there| there > 0))
                })?;
                for item in receiver.read_chunk(there)? {
                    sum += black_box(item)[0];
                }
                left -= there as u64;
            }
            Ok(sum)
        })?;
        let mut chunk = Vec::with_capacity(CHUNK);
        Ok(Started::stream(other, move |turn, last| {
            chunk.push(item(turn));
            if chunk.len() == CHUNK || last {
                look_for("space in rtrb's ring", || Ok(sender.push_entire_slice(&chunk).ok()))?;
                chunk.clear();
            }
            Ok(())
        }))
    },
};

fn push<T>(ring: &mut Producer<T>, item: T) -> Result<()> {
    let mut item = Some(item);
    look_for("space in rtrb's ring", || {
        if let Some(Err(PushError::Full(back))) = item.take().map(|item| ring.push(item)) {
            item = Some(back);
        }
        Ok(item.is_none().then_some(()))
    })
}

fn pop<T>(ring: &mut Consumer<T>) -> Result<T> {
    look_for("item in rtrb's ring", || Ok(ring.pop().ok()))
}

/// Holds the second thread.
struct Thread {
    orders: Option<Sender<u64>>,
    answers: Receiver<std::result::Result<u64, String>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts the thread on the CPU where the second processes are.
    fn start(
        host: &Host,
        mut work: impl FnMut(u64) -> Result<u64> + Send + 'static,
    ) -> Result<Thread> {
        let cpu = host.pinned().map(|(_, far)| far);
        let (orders, taken) = mpsc::channel();
        let (given, answers) = mpsc::channel();
        let handle = thread::Builder::new().name("rtrb".to_owned()).spawn(move || {
            let mut obey = |count| {
                cpu.map_or(Ok(()), |cpu| machine::pin(0, cpu))?;
                work(count)
            };
            for count in taken {
                let answer = obey(count).map_err(|error| error.to_string());
                if given.send(answer).is_err() {
                    return; // the first thread no longer waits
                }
            }
        })?;
        Ok(Thread { orders: Some(orders), answers, handle: Some(handle) })
    }
}

impl Side for Thread {
    fn process(&self) -> Option<u32> {
        None
    }

    fn order(&mut self, count: u64) -> Result<()> {
        let orders = self.orders.as_ref().ok_or("the second thread has been dismissed")?;
        Ok(orders.send(count)?)
    }

    fn answer(&mut self) -> Result<u64> {
        Ok(self.answers.recv_timeout(Duration::from_secs(30))??)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(handle) = self.handle.take() {
            let ended = handle.join();
            debug_assert!(ended.is_ok(), "the other thread panicked");
        }
    }
}
