//! Tests that only the announced segment can be attached, and that its bytes lie where `layout`
//! says.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::shm::layout::{Header, MAGIC, SLOT_BYTES, segment_bytes};
use crate::tests::common::{is_foreign, message};
use crate::{
    ABI_VERSION, MAX_CAPACITY, MIN_CAPACITY, Receiver, Region, SegmentError, Sender, Side,
};
#[cfg(not(all(feature = "named", feature = "raw-sync")))]
use crate::{Backend, Segment, Wakeup};

const CAPACITY: usize = 8192;

/// Makes a header as `Region::create` writes it.
fn header() -> Header {
    Header {
        magic: MAGIC,
        abi: ABI_VERSION,
        slot_bytes: SLOT_BYTES as u32,
        capacity: CAPACITY as u64,
        segment_bytes: segment_bytes(CAPACITY) as u64,
        nonce: 0,
        wakeup: 0,
    }
}

/// Returns the seals that matter, and one more.
fn all_seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

fn file(header: Header, bytes: usize, seals: SealFlag) -> File {
    let file = File::from(
        memfd_create(c"test", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).expect("memfd"),
    );
    file.set_len(bytes as u64).expect("set its size");
    file.write_all_at(bytemuck::bytes_of(&header), 0).expect("write its header");
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("seal it");
    file
}

#[test]
fn what_was_created_can_be_attached() {
    for (asked, capacity) in [
        (0, MIN_CAPACITY),
        (1, MIN_CAPACITY),
        (4096, 4096),
        (4097, 8192),
        (5000, 8192),
        (1 << 20, 1 << 20),
    ] {
        let (region, file) = Region::create(asked).unwrap();
        assert_eq!(region.slots(0).len() * SLOT_BYTES, capacity);
        assert_eq!(
            File::from(file.try_clone().unwrap()).metadata().unwrap().len(),
            segment_bytes(capacity) as u64
        );
        let attached = Region::attach(&file, capacity).unwrap();
        assert_eq!(attached.slots(1).len() * SLOT_BYTES, capacity);
    }
}

#[test]
fn the_same_header_by_hand_can_be_attached() {
    // Each of the other tests changes one thing of this segment.
    Region::attach(file(header(), segment_bytes(CAPACITY), all_seals()), CAPACITY).unwrap();
}

#[test]
fn the_file_is_close_on_exec_and_cannot_change_its_size() {
    let (_region, file) = Region::create(CAPACITY).unwrap();
    let flags = fcntl(&file, FcntlArg::F_GETFD).unwrap();
    assert_ne!(flags & libc::FD_CLOEXEC, 0);
    let file = File::from(file);
    file.set_len(0).unwrap_err();
    file.set_len(1 << 20).unwrap_err();
}

#[test]
fn a_capacity_that_no_ring_has_is_refused_before_anything_else() {
    let (_region, file) = Region::create(CAPACITY).unwrap();
    for capacity in [
        0,
        1,
        128,
        2048,
        CAPACITY - 1,
        CAPACITY + 128,
        3 * 4096,
        2 * MAX_CAPACITY,
        usize::MAX,
        1 << 63,
    ] {
        is_foreign(Region::attach(&file, capacity), "announced capacity");
    }
}

#[test]
fn a_file_that_is_not_sealed_is_refused() {
    let bytes = segment_bytes(CAPACITY);
    let seals = [
        SealFlag::empty(),
        SealFlag::F_SEAL_SHRINK,
        SealFlag::F_SEAL_GROW,
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL,
        SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL,
    ];
    for seals in seals {
        is_foreign(Region::attach(file(header(), bytes, seals), CAPACITY), "sealed");
    }
    let unsealable = memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap();
    is_foreign(Region::attach(unsealable, CAPACITY), "sealed");
}

#[test]
fn a_file_of_another_size_is_refused() {
    for bytes in [
        32,
        4096,
        segment_bytes(CAPACITY) - 1,
        segment_bytes(CAPACITY) + 1,
        segment_bytes(2 * CAPACITY),
    ] {
        is_foreign(Region::attach(file(header(), bytes, all_seals()), CAPACITY), "size");
    }
    let (_region, larger) = Region::create(2 * CAPACITY).unwrap();
    is_foreign(Region::attach(&larger, CAPACITY), "size");
    let empty = memfd_create(c"test", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    fcntl(&empty, FcntlArg::F_ADD_SEALS(all_seals())).unwrap();
    is_foreign(Region::attach(empty, CAPACITY), "size");
}

#[test]
fn another_header_is_refused() {
    let attach = |header: Header| {
        Region::attach(file(header, segment_bytes(CAPACITY), all_seals()), CAPACITY)
    };
    for magic in [0, MAGIC.swap_bytes(), MAGIC ^ 1, u64::MAX] {
        is_foreign(attach(Header { magic, ..header() }), "magic");
    }
    for abi in [0, ABI_VERSION + 1, u32::MAX] {
        match attach(Header { abi, ..header() }) {
            Err(SegmentError::Abi { ours: ABI_VERSION, theirs }) => assert_eq!(theirs, abi),
            other => panic!("version {abi}: {other:?}"),
        }
    }
    for slot_bytes in [0, 64, 256, u32::MAX] {
        is_foreign(attach(Header { slot_bytes, ..header() }), "geometry");
    }
    for capacity in [0, CAPACITY as u64 - 1, 2 * CAPACITY as u64, u64::MAX] {
        is_foreign(attach(Header { capacity, ..header() }), "geometry");
    }
    for segment_bytes in [0, 4096, u64::MAX] {
        is_foreign(attach(Header { segment_bytes, ..header() }), "geometry");
    }
}

#[test]
fn what_is_no_memory_file_at_all_is_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    let others: [OwnedFd; 3] =
        [reader.into(), writer.into(), File::open("/proc/self/exe").unwrap().into()];
    for file in others {
        match Region::attach(file.as_fd(), CAPACITY) {
            Err(SegmentError::Os { action: "read the seals of the segment", .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A memory file that may not be written cannot be shared for writing, whichever process sealed it.
#[test]
fn a_file_sealed_against_writing_is_an_error() {
    let sealed =
        file(header(), segment_bytes(CAPACITY), SealFlag::F_SEAL_FUTURE_WRITE | all_seals());
    match Region::attach(sealed, CAPACITY) {
        Err(SegmentError::Os { action: "map the segment", .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_stays_while_any_handle_is_left() {
    let (region, file) = Region::create(CAPACITY).unwrap();
    drop(file);
    let mut sender = Sender::new(&region, Side::Parent);
    let mut receiver = Receiver::new(&region.clone(), Side::Worker, 1024);
    drop(region);
    let sent = message(1, 777);
    sender.send(&sent, 777).unwrap();
    drop(sender);
    let mut buffer = Vec::new();
    assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(777));
    assert_eq!(buffer, sent);
}

/// A worker program may have been built with fewer features than its parent.
#[cfg(not(all(feature = "named", feature = "raw-sync")))]
#[test]
fn what_was_left_out_of_this_build_is_told() {
    let (ours, segment) = Segment::create(Backend::Memfd, Wakeup::Futex, CAPACITY).unwrap();
    let file = || Some(segment.file().unwrap().try_clone_to_owned().unwrap());
    let named = Segment::attach(1, b"12345678/coprocess-1-1-1-1", None, CAPACITY);
    let events = Segment::attach(1 << 8, b"", file(), CAPACITY);
    for (feature, is_there, attached) in [
        ("named", cfg!(feature = "named"), named),
        ("raw-sync", cfg!(feature = "raw-sync"), events),
    ] {
        match attached {
            Err(SegmentError::FeatureMissing(missing)) => assert_eq!(missing, feature),
            Err(_) if is_there => {}
            other => panic!("{feature}: {other:?}"),
        }
    }
    drop(ours);
}

/// The layout is an agreement between two programs: bytes that move are a new version.
#[test]
fn bytes_lie_where_the_layout_says() {
    let (parent, file) = Region::create(CAPACITY).unwrap();
    let file = File::from(file);
    let word = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    assert_eq!(word(0).to_le_bytes(), *b"coproces");
    assert_eq!(word(8), 128 << 32 | 7);
    assert_eq!((word(32), word(40)), (0, 0), "no nonce without a name; futexes");
    assert_eq!((word(16), word(24)), (8192, 4096 + 2 * 8192));

    let worker = Region::attach(&file, CAPACITY).unwrap();
    for (side, other, control, slots) in
        [(Side::Parent, Side::Worker, 1024, 4096), (Side::Worker, Side::Parent, 2048, 4096 + 8192)]
    {
        let (ours, theirs) =
            if side == Side::Parent { (&parent, &worker) } else { (&worker, &parent) };
        let mut sender = Sender::new(ours, side);
        let mut receiver = Receiver::new(theirs, other, 1024);
        sender.send(&[11, 12], 16).unwrap();
        sender.send(&[13], 3).unwrap();
        assert_eq!([slots, slots + 8, slots + 16].map(word), [16 | 1 << 19, 11, 12]);
        assert_eq!([slots + 128, slots + 136].map(word), [3 | 2 << 19, 13]);
        let mut buffer = Vec::new();
        // The position is published after 16 slots in a ring of 64.
        for _ in 2..16 {
            sender.send(&[], 0).unwrap();
        }
        for _ in 0..16 {
            receiver.receive(&mut buffer).unwrap();
        }
        assert_eq!(word(control), 16);
        let watch = crate::Watch::new(theirs, other);
        watch.arm(crate::Sleeper::Driver);
        assert_eq!(word(control + 128), 1);
        watch.arm(crate::Sleeper::Waiter);
        assert_eq!(word(control + 128), 2);
        watch.disarm();
        assert_eq!(word(control + 128), 0);
        assert_eq!((watch.urged(), word(control + 512)), (0, 0));
        sender.urge();
        sender.urge();
        assert_eq!((watch.urged(), word(control + 512)), (2, 2));
        let sees = crate::Watch::new(ours, side);
        let report = |has_registered, unheard, undecodable, mistyped| crate::PeerReport {
            has_registered,
            unheard,
            undecodable,
            mistyped,
        };
        assert_eq!((sees.peer_report(), sees.taken()), (report(false, 0, 0, 0), 16));
        watch.report_registered();
        watch.report_unheard(3);
        watch.report_undecodable(1 << 40);
        watch.report_mistyped(5);
        assert_eq!([640, 648, 656, 664].map(|at| word(control + at)), [1, 3, 1 << 40, 5]);
        assert_eq!(sees.peer_report(), report(true, 3, 1 << 40, 5));
        crate::Watch::new(ours, side).arm_for_space();
        assert_eq!(word(control + 256), 2);
        crate::Watch::new(ours, side).disarm_for_space();
        assert_eq!(word(control + 256), 0);
        assert_eq!(word(control + 384), 0);
        sender.close().unwrap();
        assert_eq!(word(control + 384), 1);
    }
}
