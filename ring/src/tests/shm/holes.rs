//! Tests that the memory of a segment stays where it is. If a side could take it away, the other
//! side would touch nothing and get a SIGBUS.
#![expect(
    unsafe_code,
    reason = "mapping a segment as a program would that does without this library"
)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

use crate::shm::layout::segment_bytes;
use crate::tests::common::message;
use crate::{Progress, Receiver, Region, SegmentError, Sender, Side};

const CAPACITY: usize = 64 * 1024;
const BYTES: usize = segment_bytes(CAPACITY);

/// The whole file, mapped for writing.
struct Mapping(NonNull<libc::c_void>);

impl Mapping {
    fn new(file: &File) -> Result<Mapping, Errno> {
        let length = NonZeroUsize::new(BYTES).expect("it is not empty");
        // SAFETY: a new mapping at an address of the kernel's choice.
        unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file,
                0,
            )
        }
        .map(Mapping)
    }

    /// Gives all memory of the file back.
    fn remove(&self) -> Result<(), Errno> {
        // SAFETY: the mapping belongs to self. What others have mapped reads as zeros afterwards,
        // which is a value like any other to them.
        unsafe { madvise(self.0, BYTES, MmapAdvise::MADV_REMOVE) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to self, and nothing refers to it.
        unsafe { munmap(self.0, BYTES) }.expect("unmap it");
    }
}

fn punch(file: &File, from: usize, bytes: usize) -> Result<(), Errno> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(file, flags, from as libc::off_t, bytes as libc::off_t)
}

/// Returns the bytes of memory behind the file.
fn reserved(file: &File) -> usize {
    file.metadata().expect("stat").blocks() as usize * 512
}

fn create() -> (Region, File) {
    let (region, file) = Region::create(CAPACITY).expect("create a segment");
    (region, file.into())
}

/// Sends and receives through every slot.
fn is_usable(region: &Region) {
    let mut sender = Sender::new(region, Side::Parent);
    let mut receiver = Receiver::new(region, Side::Worker, 4096);
    let mut buffer = Vec::new();
    for seed in 0..200 {
        let sent = message(seed, 1000);
        assert_eq!(sender.send(&sent, 1000).unwrap(), Progress::Sent);
        assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(1000));
        assert_eq!(buffer, sent);
    }
}

#[test]
fn cannot_be_punched_for_good() {
    let (region, file) = create();
    let mapping = Mapping::new(&file).unwrap();
    region.seal_for_good(&file).unwrap();
    for from in [0, 4096, BYTES - 4096] {
        assert_eq!(punch(&file, from, 4096), Err(Errno::EPERM));
    }
    assert_eq!(mapping.remove(), Err(Errno::EPERM));
    assert_eq!(reserved(&file), BYTES);
    is_usable(&region);
}

#[test]
fn that_were_punched_before_are_filled() {
    let punched: [(usize, usize); 4] = [(0, 4096), (4096, 8192), (BYTES - 4096, 4096), (0, BYTES)];
    for (from, bytes) in punched {
        let (region, file) = create();
        punch(&file, from, bytes).unwrap();
        assert_eq!(reserved(&file), BYTES - bytes);
        region.seal_for_good(&file).unwrap();
        assert_eq!(reserved(&file), BYTES);
        is_usable(&region);
    }
    let (region, file) = create();
    Mapping::new(&file).unwrap().remove().unwrap();
    assert_eq!(reserved(&file), 0);
    region.seal_for_good(&file).unwrap();
    assert_eq!(reserved(&file), BYTES);
}

/// Not even another name of the same file brings new rights.
#[test]
fn need_a_mapping_that_no_process_gets_any_more() {
    let (region, file) = create();
    region.seal_for_good(&file).unwrap();
    let again = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)))
        .unwrap();
    for file in [&file, &again] {
        assert_eq!(Mapping::new(file).err(), Some(Errno::EPERM));
        file.write_all_at(&[1], 0).unwrap_err();
        file.set_len(0).unwrap_err();
        fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap_err();
    }
    match Region::attach(&file, CAPACITY) {
        Err(SegmentError::Os { action: "map the segment", .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// The peer has the file before it is sealed for good, and may seal it itself.
#[test]
fn are_not_kept_open_by_seals_of_others() {
    let (region, file) = create();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL)).unwrap();
    match region.seal_for_good(&file) {
        Err(SegmentError::Foreign(what)) => assert!(what.contains("sealed"), "{what}"),
        other => panic!("{other:?}"),
    }
    // A seal with the same effect does no harm.
    let (region, file) = create();
    punch(&file, 0, BYTES).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE)).unwrap();
    region.seal_for_good(&file).unwrap();
    assert_eq!(reserved(&file), BYTES);
    // A seal against writing by existing mappings is refused while there are any, such as that of
    // this side.
    let (_region, file) = create();
    assert_eq!(fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)), Err(Errno::EBUSY));
}
