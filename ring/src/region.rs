//! The memory of a pair: a sealed memfd, mapped. The only file that turns addresses into references, and only into references to atomics.

use std::fmt;
use std::sync::Arc;

use crate::layout::{Control, Slot};
use crate::sync::atomic::AtomicU32;

/// Which side of the pair a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Writes ring 0, reads ring 1.
    Parent,
    /// Writes ring 1, reads ring 0.
    Worker,
}

impl Side {
    pub(crate) fn outgoing(self) -> usize {
        match self {
            Side::Parent => 0,
            Side::Worker => 1,
        }
    }
    pub(crate) fn incoming(self) -> usize {
        match self {
            Side::Parent => 1,
            Side::Worker => 0,
        }
    }
}

/// What makes a segment: this is the seam behind which another kind of memory would go.
enum Backing {
    #[cfg(not(loom))]
    Mapped(mapped::Mapped),
    #[cfg(any(loom, test))]
    Heap { controls: Box<[Control; 2]>, slots: [Box<[Slot]>; 2] },
}

/// The two rings of a pair. Cheap to clone; the memory lives as long as the last clone.
#[derive(Clone)]
pub struct Region {
    backing: Arc<Backing>,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("capacity", &size_of_val(self.slots(0))).finish()
    }
}

impl Region {
    #[cfg(not(loom))]
    pub(crate) fn from_mapped(mapped: mapped::Mapped) -> Region {
        Region { backing: Arc::new(Backing::Mapped(mapped)) }
    }

    /// The same over ordinary memory, for models and tests.
    #[cfg(any(loom, test))]
    pub fn heap(slots: usize) -> Region {
        let ring = || (0..slots).map(|_| Slot::new()).collect();
        Region { backing: Arc::new(Backing::Heap { controls: Box::new([Control::new(), Control::new()]), slots: [ring(), ring()] }) }
    }

    /// Bytes of each ring.
    #[cfg(not(loom))]
    pub fn capacity(&self) -> usize {
        size_of_val(self.slots(0))
    }

    #[inline]
    pub(crate) fn control(&self, ring: usize) -> &Control {
        match &*self.backing {
            #[cfg(not(loom))]
            Backing::Mapped(m) => m.control(ring),
            #[cfg(any(loom, test))]
            Backing::Heap { controls, .. } => &controls[ring],
        }
    }

    #[inline]
    pub(crate) fn slots(&self, ring: usize) -> &[Slot] {
        match &*self.backing {
            #[cfg(not(loom))]
            Backing::Mapped(m) => m.slots(ring),
            #[cfg(any(loom, test))]
            Backing::Heap { slots, .. } => &slots[ring],
        }
    }

    pub(crate) fn data_bell(&self, ring: usize) -> &AtomicU32 {
        &self.control(ring).data_bell.word
    }

    pub(crate) fn room_bell(&self, ring: usize) -> &AtomicU32 {
        &self.control(ring).room_bell.word
    }
}

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "mapping memory, and forming references to the atomics in it")]
mod mapped {
    use std::io;
    use std::num::NonZeroUsize;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::ptr::NonNull;
    use std::sync::atomic::Ordering;

    use nix::errno::Errno;
    use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
    use nix::sys::resource::{Resource, getrlimit};
    use nix::sys::signal::{SigSet, SigmaskHow};
    use nix::sys::stat::fstat;
    use nix::unistd::ftruncate;

    use super::Region;
    use crate::error::SegmentError;
    use crate::layout::*;

    /// What a segment has from the start: nobody can change its size.
    const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);
    /// What it gets once both sides have mapped it: nobody can map it anew for writing, nor take pages out of it.
    const FINAL_SEALS: SealFlag = SealFlag::F_SEAL_FUTURE_WRITE.union(SealFlag::F_SEAL_SEAL);

    /// The unit in which a file's memory is counted, whatever the size of a page.
    const BLOCK_BYTES: usize = 512;

    /// A mapped segment.
    ///
    /// # Invariants
    ///
    /// `base` is the start of a shared, readable and writable mapping of `segment_bytes(capacity)` bytes, page-aligned, that stays in
    /// place until drop, in the process `owner`. The file behind it cannot shrink (sealed), and all of it is backed by memory, so no access
    /// fails; that it stays so whatever the other side does is what [`Region::seal_for_good`] sees to.
    /// `capacity` is a power of two between `MIN_CAPACITY` and `MAX_CAPACITY`.
    #[derive(Debug)]
    pub(crate) struct Mapped {
        base: NonNull<u8>,
        capacity: usize,
        /// The process that has mapped it. In a forked child the range is not mapped, or something else is there.
        owner: u32,
    }

    // SAFETY: the mapping belongs to no thread, and everything in it is accessed through atomics.
    unsafe impl Send for Mapped {}
    // SAFETY: as above; no method hands out anything but references to atomics.
    unsafe impl Sync for Mapped {}

    fn os(action: &'static str) -> impl Fn(nix::Error) -> SegmentError {
        move |e| SegmentError::Os { action, source: io::Error::from(e) }
    }

    fn file_size(bytes: usize) -> Result<libc::off_t, SegmentError> {
        libc::off_t::try_from(bytes).map_err(|_| SegmentError::Foreign("its size exceeds what a file can have"))
    }

    /// Has the kernel give the file all its memory, as far as it does not have it; undisturbed by signals: older kernels stop at each and give
    /// back what they have, so that frequent ones would let it never come to an end.
    fn reserve(file: impl AsFd, bytes: usize) -> Result<(), SegmentError> {
        let size = file_size(bytes)?;
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(os("hold signals back"))?;
        let reserved = fallocate(file, FallocateFlags::empty(), 0, size);
        before.thread_set_mask().map_err(os("let signals through again"))?;
        reserved.map_err(os("reserve the shared memory"))
    }

    impl Region {
        /// Makes a segment whose rings have room for `capacity` bytes each, rounded up to a power of two, at least [`MIN_CAPACITY`].
        ///
        /// The returned file is close-on-exec and sealed: nobody who gets hold of it can shrink or grow it. All its memory is
        /// reserved, so that a lack of memory is an error here and never a SIGBUS later. Once the other side has attached, call
        /// [`seal_for_good`](Self::seal_for_good): it may have given memory back meanwhile.
        ///
        /// # Errors
        ///
        /// [`SegmentError::Os`] if the system has no memory or no descriptor left. Nothing is left behind.
        ///
        /// # Examples
        ///
        /// ```
        /// let (region, file) = coprocess_ring::Region::create(64 * 1024)?;
        /// # let _ = (region, file);
        /// # Ok::<(), coprocess_ring::SegmentError>(())
        /// ```
        pub fn create(capacity: usize) -> Result<(Region, OwnedFd), SegmentError> {
            let capacity = capacity.clamp(MIN_CAPACITY, MAX_CAPACITY).next_power_of_two();
            let bytes = segment_bytes(capacity);
            let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
            // Beyond this limit the kernel does not only refuse: it sends SIGXFSZ, which ends the process.
            let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).map_err(os("read the limit of the size of files"))?;
            if bytes as u64 > limit {
                return Err(os("size the memory file")(nix::Error::EFBIG));
            }
            let file = memfd_create(c"coprocess", flags).map_err(os("make a memory file"))?;
            ftruncate(&file, file_size(bytes)?).map_err(os("size the memory file"))?;
            reserve(&file, bytes)?;
            fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(os("seal the memory file"))?;
            let mapped = Mapped::map(&file, capacity)?;
            let header = Header {
                magic: MAGIC,
                abi: ABI_VERSION,
                slot_bytes: SLOT_BYTES as u32,
                capacity: capacity as u64,
                segment_bytes: bytes as u64,
            };
            let words: [u64; HEADER_WORDS] = bytemuck::cast(header);
            // The magic comes last, so that a half-made segment is refused. Release: pairs with the Acquire in `attach`.
            for (word, value) in mapped.header().words.iter().zip(words).rev() {
                word.store(value, Ordering::Release);
            }
            Ok((Region::from_mapped(mapped), file))
        }

        /// Makes sure that the segment stays as it was made, once the other side has attached to it.
        ///
        /// Until then it must be possible to map the file for writing, and who can do that can also punch holes into it: the memory is
        /// given back, and whoever touches it next must get new memory, or a SIGBUS where there is none. From here on the kernel refuses
        /// holes and new writable mappings to everybody, this side included; holes that were punched before are filled. Use the segment
        /// only after this.
        ///
        /// The seal is as old as Linux 5.1. Where the host gives huge pages to all shared memory (`shmem_enabled` is `always`), pages beyond
        /// the end are counted, too, and the memory is reserved anew, which takes longer.
        ///
        /// # Errors
        ///
        /// [`SegmentError::Foreign`] if somebody else has sealed the file, [`SegmentError::Os`] if there is no memory to fill a hole with.
        ///
        /// # Examples
        ///
        /// ```
        /// use coprocess_ring::Region;
        ///
        /// let (ours, file) = Region::create(4096)?;
        /// let _theirs = Region::attach(&file, 4096)?;
        /// ours.seal_for_good(&file)?;
        /// assert!(Region::attach(&file, 4096).is_err(), "nobody can map it for writing any more");
        /// # Ok::<(), coprocess_ring::SegmentError>(())
        /// ```
        pub fn seal_for_good(&self, file: impl AsFd) -> Result<(), SegmentError> {
            let file = file.as_fd();
            match fcntl(file, FcntlArg::F_ADD_SEALS(FINAL_SEALS)) {
                Err(Errno::EPERM) => return Err(SegmentError::Foreign("somebody else has sealed it")),
                other => other.map_err(os("seal the memory file for good"))?,
            };
            // Counting is quick, filling takes a look at each page. Pages beyond the end, which might make up for a hole, are counted only
            // where pages are huge.
            let bytes = segment_bytes(self.capacity());
            let blocks = fstat(file).map_err(os("read the size of the segment"))?.st_blocks;
            if usize::try_from(blocks) != Ok(bytes / BLOCK_BYTES) { reserve(file, bytes) } else { Ok(()) }
        }

        /// Maps a segment that another process made.
        ///
        /// Seals, size, magic, version and geometry are checked first; the geometry is never read again.
        ///
        /// # Errors
        ///
        /// [`SegmentError::Foreign`] or [`SegmentError::Abi`] if it is not a sealed segment of this version and of `capacity` bytes a
        /// ring, [`SegmentError::Os`] if it cannot be mapped.
        ///
        /// # Examples
        ///
        /// ```
        /// use coprocess_ring::Region;
        ///
        /// let (_ours, file) = Region::create(4096)?;
        /// let _theirs = Region::attach(&file, 4096)?;
        /// # Ok::<(), coprocess_ring::SegmentError>(())
        /// ```
        pub fn attach(file: impl AsFd, capacity: usize) -> Result<Region, SegmentError> {
            if !capacity.is_power_of_two() || !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
                return Err(SegmentError::Foreign("the announced capacity is not one a ring can have"));
            }
            let file: BorrowedFd<'_> = file.as_fd();
            let seals = fcntl(file, FcntlArg::F_GET_SEALS).map_err(os("read the seals of the segment"))?;
            if !SealFlag::from_bits_retain(seals).contains(SEALS) {
                return Err(SegmentError::Foreign("it is not sealed against a change of size"));
            }
            let size = fstat(file).map_err(os("read the size of the segment"))?.st_size;
            if usize::try_from(size) != Ok(segment_bytes(capacity)) {
                return Err(SegmentError::Foreign("its size is not the announced one"));
            }
            let mapped = Mapped::map(file, capacity)?;
            // Acquire: pairs with the Release in `create`.
            let words: [u64; HEADER_WORDS] = mapped.header().words.each_ref().map(|word| word.load(Ordering::Acquire));
            let header: Header = bytemuck::cast(words);
            if header.magic != MAGIC {
                return Err(SegmentError::Foreign("its magic number is wrong"));
            }
            if header.abi != ABI_VERSION {
                return Err(SegmentError::Abi { ours: ABI_VERSION, theirs: header.abi });
            }
            let expected = (SLOT_BYTES as u32, capacity as u64, segment_bytes(capacity) as u64);
            if (header.slot_bytes, header.capacity, header.segment_bytes) != expected {
                return Err(SegmentError::Foreign("its geometry is not the announced one"));
            }
            Ok(Region::from_mapped(mapped))
        }
    }

    impl Mapped {
        fn map(file: impl AsFd, capacity: usize) -> Result<Mapped, SegmentError> {
            let length = NonZeroUsize::new(segment_bytes(capacity)).ok_or(SegmentError::Foreign("it is empty"))?;
            let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing that exists.
            let base = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, file, 0) }.map_err(os("map the segment"))?;
            let mapped = Mapped { base: base.cast(), capacity, owner: std::process::id() };
            // A child of a plain fork(2) has no business in these rings.
            // SAFETY: the range is the mapping just made.
            unsafe { madvise(base, length.get(), MmapAdvise::MADV_DONTFORK) }.map_err(os("keep the segment from forked children"))?;
            // Pages are mapped in where they are first used: a pair that keeps up uses one of each ring.
            Ok(mapped)
        }

        fn header(&self) -> &HeaderWords {
            // SAFETY: by the invariants the address is valid for the lifetime of self, aligned, and only ever accessed atomically.
            unsafe { self.base.cast().as_ref() }
        }

        #[inline]
        #[expect(clippy::indexing_slicing, reason = "the number of a ring comes from a `Side`: 0 or 1")]
        pub(crate) fn control(&self, ring: usize) -> &Control {
            // SAFETY: both offsets are below `SLOTS_OFFSET`, which every mapping exceeds.
            let at = unsafe { self.base.add(CONTROL_OFFSET[ring]) };
            // SAFETY: as in `header`; the offset keeps the alignment of 128.
            unsafe { at.cast().as_ref() }
        }

        #[inline]
        pub(crate) fn slots(&self, ring: usize) -> &[Slot] {
            assert!(ring < 2, "a segment has two rings");
            // SAFETY: with ring at most 1 the offset is within the mapping of `segment_bytes(capacity)`.
            let at = unsafe { self.base.add(SLOTS_OFFSET.wrapping_add(ring.wrapping_mul(self.capacity))) };
            // SAFETY: `capacity` bytes follow, aligned to 128 since offset and capacity are multiples of it, accessed atomically only.
            unsafe { std::slice::from_raw_parts(at.cast::<Slot>().as_ptr(), self.capacity / SLOT_BYTES) }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            if self.owner != std::process::id() {
                return;
            }
            // SAFETY: the mapping is ours, and no reference into it outlives self.
            let unmapped = unsafe { munmap(self.base.cast(), segment_bytes(self.capacity)) };
            debug_assert!(unmapped.is_ok(), "munmap of one's own mapping cannot fail: {unmapped:?}");
        }
    }
}
