//! Measures shmem-ipc: a ring in a sealed memfd, with an eventfd for each side to sleep on.

#![expect(unsafe_code, reason = "raw pointers into the ring, and descriptors inherited by number")]

use std::fs::File;
use std::hint::black_box;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use coprocess_bench::Result;
use nix::unistd::dup;
use shmem_ipc::sharedring::{Receiver, Sender};

use crate::contender::{Contender, Started};
use crate::item::{EPOCH, ITEMS, Item, WORDS, item, same};
use crate::look::look_for;
use crate::second::{self, Second, argument};

pub(crate) const ECHO: &str = "shmem-ipc-echo";
pub(crate) const SWALLOW: &str = "shmem-ipc-swallow";

/// Sends a word there and back. Both sides sleep on the eventfds, as the documentation shows.
pub(crate) const ROUND_TRIP: Contender = Contender {
    name: "shmem-ipc, two rings, eventfds",
    note: "no methods, no codec (plain memory only), nothing ties an answer to its question",
    start: |_| round_trip(Wait::Sleep),
};

/// Sends a word there and back through the low-level access, which makes no system call.
pub(crate) const ROUND_TRIP_SPINNING: Contender = Contender {
    name: "shmem-ipc, two rings, spinning",
    note: "never sleeps; no methods, no codec (plain memory only), \
           nothing ties an answer to its question",
    start: |_| round_trip(Wait::Spin),
};

/// Sends items one way, and takes out as many at a time as have arrived. Both sides sleep on the
/// eventfds.
pub(crate) const STREAM: Contender = Contender {
    name: "shmem-ipc, 64 B, eventfds",
    note: "no names, no codec (plain memory only)",
    start: |_| stream(Wait::Sleep),
};

/// Sends items one way through the low-level access.
pub(crate) const STREAM_SPINNING: Contender = Contender {
    name: "shmem-ipc, 64 B, spinning",
    note: "never sleeps; no names, no codec (plain memory only)",
    start: |_| stream(Wait::Spin),
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Sleep,
    Spin,
}

impl Wait {
    fn name(self) -> &'static str {
        match self {
            Wait::Sleep => "sleep",
            Wait::Spin => "spin",
        }
    }

    fn named(name: &str) -> Wait {
        if name == Wait::Spin.name() { Wait::Spin } else { Wait::Sleep }
    }
}

fn round_trip(wait: Wait) -> Result<Started> {
    let mut requests = Sender::<[u64; 1]>::new(WORDS)?;
    let mut responses = Receiver::<[u64; 1]>::new(WORDS)?;
    let there =
        Handed::over(requests.memfd().as_file(), requests.empty_signal(), requests.full_signal())?;
    let back = Handed::over(
        responses.memfd().as_file(),
        responses.empty_signal(),
        responses.full_signal(),
    )?;
    let other = Second::start(ECHO, &[wait.name(), &there.numbers, &back.numbers])?.ready()?;
    Ok(Started::round_trip(other, move |turn| {
        send(&mut requests, wait, [EPOCH + turn])?;
        same(receive_word(&mut responses, wait)?, EPOCH + turn)
    }))
}

pub(crate) fn echo(args: &[String]) -> Result<()> {
    let wait = Wait::named(argument(args, 0, "way to wait")?);
    let [memory, empty, full] = inherited(argument(args, 1, "ring")?)?;
    let mut requests = Receiver::<[u64; 1]>::open(WORDS, memory, empty, full)?;
    let [memory, empty, full] = inherited(argument(args, 2, "ring")?)?;
    let mut responses = Sender::<[u64; 1]>::open(WORDS, memory, empty, full)?;
    second::obey(|count| {
        for _ in 0..count {
            let word = receive_word(&mut requests, wait)?;
            send(&mut responses, wait, [word])?;
        }
        Ok(count)
    })
}

fn stream(wait: Wait) -> Result<Started> {
    let mut items = Sender::<Item>::new(ITEMS)?;
    let handed = Handed::over(items.memfd().as_file(), items.empty_signal(), items.full_signal())?;
    let other = Second::start(SWALLOW, &[wait.name(), &handed.numbers])?.ready()?;
    Ok(Started::stream(other, move |turn, _| send(&mut items, wait, item(turn))))
}

pub(crate) fn swallow(args: &[String]) -> Result<()> {
    let wait = Wait::named(argument(args, 0, "way to wait")?);
    let [memory, empty, full] = inherited(argument(args, 1, "ring")?)?;
    let mut items = Receiver::<Item>::open(ITEMS, memory, empty, full)?;
    second::obey(|count| {
        let (mut sum, mut left) = (0, count);
        while left > 0 {
            left -= receive(&mut items, wait, left, |item| sum += black_box(item)[0])?;
        }
        Ok(sum)
    })
}

/// Waits for space and puts one item into the ring.
fn send<const N: usize>(ring: &mut Sender<[u64; N]>, wait: Wait, item: [u64; N]) -> Result<()> {
    let mut put = || {
        let mut sent = false;
        let write = |place: *mut [u64; N], _space| {
            // SAFETY: the ring calls this with a pointer to at least one free place, aligned for
            // the item.
            unsafe { place.write(item) };
            sent = true;
            1
        };
        match wait {
            Wait::Sleep => ring.send_raw(write)?,
            Wait::Spin => ring.sender_mut().send(write)?,
        };
        if !sent && wait == Wait::Sleep {
            ring.block_until_writable()?;
        }
        Ok(sent.then_some(()))
    };
    look_for("space in shmem-ipc's ring", &mut put)
}

/// Waits for items, takes out up to `most`, and hands them to `handle`.
fn receive<const N: usize>(
    ring: &mut Receiver<[u64; N]>,
    wait: Wait,
    most: u64,
    mut handle: impl FnMut([u64; N]),
) -> Result<u64> {
    let mut take = || {
        let mut taken = 0;
        let read = |first: *const [u64; N], there: usize| {
            taken = there.min(most as usize);
            for place in 0..taken {
                // SAFETY: the ring calls this with a pointer to `there` items.
                let place = unsafe { first.add(place) };
                // SAFETY: the sender has written the item, and leaves it alone until this closure
                // returns. Any bytes are an item.
                handle(unsafe { place.read() });
            }
            taken
        };
        match wait {
            Wait::Sleep => {
                ring.block_until_readable()?;
                ring.receive_raw(read)?
            }
            Wait::Spin => ring.receiver_mut().recv(read)?,
        };
        Ok(Some(taken as u64).filter(|&taken| taken > 0))
    };
    look_for("item in shmem-ipc's ring", &mut take)
}

/// Waits for exactly one word.
fn receive_word(ring: &mut Receiver<[u64; 1]>, wait: Wait) -> Result<u64> {
    let mut word = 0;
    receive(ring, wait, 1, |[value]| word = value)?;
    Ok(word)
}

/// Holds the descriptors of a ring for a process that is going to be started.
struct Handed {
    /// Lists the numbers of the descriptors, for [`inherited`].
    numbers: String,
    _open: [OwnedFd; 3],
}

impl Handed {
    fn over(memory: &File, empty: &File, full: &File) -> Result<Handed> {
        // Descriptors that `dup` makes stay open in a program that is executed. The ring's own
        // descriptors do not.
        let open = [dup(memory)?, dup(empty)?, dup(full)?];
        let numbers =
            open.each_ref().map(|descriptor| descriptor.as_raw_fd().to_string()).join(",");
        Ok(Handed { numbers, _open: open })
    }
}

/// Returns the descriptors that were handed over to this process.
fn inherited(numbers: &str) -> Result<[File; 3]> {
    let mut files = Vec::new();
    for number in numbers.split(',') {
        let number: RawFd = number.parse()?;
        // SAFETY: the parent left that descriptor open for this process, and each number is given
        // and used once.
        files.push(unsafe { File::from_raw_fd(number) });
    }
    files.try_into().map_err(|_| format!("{numbers:?} are not three descriptors").into())
}
