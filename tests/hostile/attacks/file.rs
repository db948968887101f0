//! The file behind the memory: a worker that has the file may try to cut it off, extend it, seal
//! it, punch holes into it, or map it anew.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};

use super::survives;
use crate::common::{AT_ONCE, LIMIT, inbox, within};
use crate::kit::lifeline::{Lifeline, verdict};
use crate::kit::memory::Memory;
use crate::kit::wire::{Message, Reader, Writer};
use crate::kit::{Captive, for_ever};
use crate::parent::Parent;
use crate::program;

fn punch(file: &File) -> Result<(), Errno> {
    let size = file.metadata().expect("stat").len();
    fallocate(
        file,
        FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
        0,
        size as libc::off_t,
    )
}

/// Tries to change the size of the file, and returns what could be done.
fn try_sizes(file: &File) -> Vec<String> {
    let size = file.metadata().expect("stat").len();
    let mut done = Vec::new();
    for wanted in [0, 1, size - 4096, size + 1, 2 * size] {
        if file.set_len(wanted).is_ok() {
            done.push(format!("set the size to {wanted}"));
        }
    }
    if fallocate(file, FallocateFlags::empty(), 0, 2 * size as libc::off_t).is_ok() {
        done.push("reserved more".to_owned());
    }
    if fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, size as libc::off_t, 1 << 20).is_ok() {
        done.push("reserved something behind the end".to_owned());
    }
    done
}

/// Tries everything before it attaches, and again afterwards, and tells the parent what has worked.
pub(crate) fn tries_everything() -> ! {
    let lifeline = Lifeline::from_environment();
    let given = lifeline.hello();
    let memory = Memory::map(&given.segment, given.capacity).expect("map it");
    let file = File::from(given.segment.try_clone().expect("copy it"));
    let mut done = try_sizes(&file);
    if fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_ok() {
        done.push("sealed it against the parent's writing".to_owned());
    }
    // The parent cannot keep a worker from this before the worker has mapped the file.
    punch(&file).expect("punch a hole");
    memory.remove().expect("give the memory back");
    assert_eq!(file.metadata().expect("stat").blocks(), 0);

    lifeline.send(&verdict(coprocess_ring::ABI_VERSION, 1, b""), &[]).expect("answer");
    // The first message of the parent says that it has done what it does then.
    let mut reader = Reader::new(memory, 0);
    reader.wait(std::time::Instant::now() + LIMIT).expect("a message");
    done.extend(try_sizes(&file));
    if punch(&file).is_ok() {
        done.push("punched a hole".to_owned());
    }
    if memory.remove().is_ok() {
        done.push("gave the memory back".to_owned());
    }
    if Memory::map(&given.segment, given.capacity).is_ok() {
        done.push("mapped it anew".to_owned());
    }
    if file.write_at(&[1], 0).is_ok() {
        done.push("wrote to the file".to_owned());
    }
    for seal in [
        SealFlag::F_SEAL_WRITE,
        SealFlag::F_SEAL_FUTURE_WRITE,
        SealFlag::F_SEAL_SHRINK,
        SealFlag::empty(),
    ] {
        if fcntl(&file, FcntlArg::F_ADD_SEALS(seal)).is_ok() {
            done.push(format!("added {seal:?}"));
        }
    }
    let again = File::options()
        .write(true)
        .read(true)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .expect("open it anew");
    if punch(&again).is_ok() || again.set_len(0).is_ok() {
        done.push("changed it by another descriptor".to_owned());
    }
    let size = file.metadata().expect("stat");
    if size.blocks() * 512 != size.len() {
        done.push(format!("{} bytes of {} are there", size.blocks() * 512, size.len()));
    }
    let report = done.join(", ");
    let value =
        [&[report.len() as u8 & 0x7f][..], &report.as_bytes()[..report.len().min(0x7f)]].concat();
    Writer::new(memory, 1).message(&Message::event("report", &value).encode());
    if memory.grow(&file) {
        std::process::abort();
    }
    for_ever()
}

/// Seals the file before the parent does.
pub(crate) fn seals_first() -> ! {
    let lifeline = Lifeline::from_environment();
    let given = lifeline.hello();
    let _memory = Memory::map(&given.segment, given.capacity).expect("map it");
    fcntl(&given.segment, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL)).expect("seal it");
    lifeline.send(&verdict(coprocess_ring::ABI_VERSION, 1, b""), &[]).expect("answer");
    for_ever()
}

/// Punches holes all the time, from before it has attached.
pub(crate) fn punches_for_ever() -> ! {
    let lifeline = Lifeline::from_environment();
    let given = lifeline.hello();
    let memory = Memory::map(&given.segment, given.capacity).expect("map it");
    let file = File::from(given.segment.try_clone().expect("copy it"));
    std::thread::spawn(move || {
        loop {
            let _ = (punch(&file), memory.remove());
        }
    });
    lifeline.send(&verdict(coprocess_ring::ABI_VERSION, 1, b""), &[]).expect("answer");
    let (writer, reader) = (Writer::new(memory, 1), Reader::new(memory, 0));
    Captive { lifeline, memory, writer, reader }.be_honest(LIMIT);
    for_ever()
}

#[test]
fn neither_size_nor_seals_nor_memory_can_be_changed() {
    within(LIMIT, || {
        let worker = Parent::default()
            .builder()
            .ring_capacity(64 << 10)
            .spawn(program("tries everything"))
            .unwrap();
        let report = inbox::<String>(&worker, "report");
        worker.emit("go", ()).unwrap();
        let done = report.recv_timeout(AT_ONCE).expect("a report");
        assert_eq!(done, "", "what a worker could do");
        assert!(worker.is_connected());
        worker.close().unwrap();
    });
}

#[test]
fn a_worker_that_seals_it_first_is_refused() {
    survives!("seals first", Parent::default(), |seen| {
        assert!(
            seen.ended.keys().any(|how| how.contains("another process has sealed it")),
            "{seen}"
        );
    });
}

/// A hole that is punched in the last moment is filled like all others. What was written there is
/// gone, for both sides.
#[test]
fn holes_punched_all_the_time() {
    survives!(
        "punches for ever",
        Parent { ring_capacity: 64 << 10, time: Duration::from_millis(200), ..Parent::default() },
        |_| {}
    );
}
