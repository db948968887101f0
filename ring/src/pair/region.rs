//! Owns the memory of a pair, with the doorbells in it.

use std::fmt;
#[cfg(not(loom))]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

#[cfg(not(loom))]
use crate::error::SegmentError;
use crate::shm::layout::{Control, Slot};
#[cfg(not(loom))]
use crate::shm::mapped::Mapped;
#[cfg(not(loom))]
use crate::shm::memfd;
use crate::shm::memory::Memory;
#[cfg(not(loom))]
use crate::side::Side;
use crate::wake::doorbell::Doorbell;
use crate::wake::doorbell_id::DoorbellId;
#[cfg(all(loom, test))]
use crate::wake::event::proxy::Proxy;
use crate::wake::primitive::Primitive;
#[cfg(not(loom))]
use crate::wake::wakeup::Wakeup;

/// The two rings of a pair.
///
/// A region is cheap to clone. The memory lives as long as the last clone.
#[derive(Clone)]
pub struct Region {
    memory: Arc<Memory>,
    primitive: Primitive,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("capacity", &size_of_val(self.slots(0)))
            .field("primitive", &self.primitive)
            .finish()
    }
}

impl Region {
    /// Makes a segment whose rings have space for `capacity` bytes each. The capacity is rounded up
    /// to a power of two, at least [`MIN_CAPACITY`](crate::MIN_CAPACITY).
    ///
    /// The returned file is close-on-exec and sealed: a process that gets hold of it cannot shrink
    /// or grow it. All its memory is reserved, so a lack of memory is an error here and never a
    /// SIGBUS later. Once the peer has attached, call [`seal_for_good`](Self::seal_for_good): the
    /// peer may have given memory back meanwhile.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Os`] if the system has no memory or no descriptor left. Nothing is left
    /// behind.
    ///
    /// # Examples
    ///
    /// ```
    /// let (region, file) = coprocess_ring::Region::create(64 * 1024)?;
    /// # let _ = (region, file);
    /// # Ok::<(), coprocess_ring::SegmentError>(())
    /// ```
    #[cfg(not(loom))]
    pub fn create(capacity: usize) -> Result<(Region, OwnedFd), SegmentError> {
        let (mapped, file) = memfd::create(capacity)?;
        Ok((Region::from_created(mapped, Wakeup::Futex, 0)?, file))
    }

    /// Maps a segment that another process made.
    ///
    /// Seals, size, magic, version and geometry are checked first. The geometry is never read
    /// again.
    ///
    /// # Errors
    ///
    /// - [`SegmentError::Foreign`] or [`SegmentError::Abi`] if the file is not a sealed segment of
    ///   this version and of `capacity` bytes a ring
    /// - [`SegmentError::Os`] if the file cannot be mapped
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
    #[cfg(not(loom))]
    pub fn attach(file: impl AsFd, capacity: usize) -> Result<Region, SegmentError> {
        Region::from_attached(memfd::attach(file, capacity)?, Wakeup::Futex, 0)
    }

    /// Makes sure that the segment stays as it was made, once the peer has attached to it. Use the
    /// segment only after this.
    ///
    /// Until then it must be possible to map the file for writing. A process that can do that can
    /// also punch holes into the file. A hole gives memory back: the next access must get new
    /// memory, or a SIGBUS where there is none. From here on the kernel refuses holes and new
    /// writable mappings to every process, this one included. Holes that were punched before are
    /// filled.
    ///
    /// The seal is as old as Linux 5.1. Where the host gives huge pages to all shared memory
    /// (`shmem_enabled` is `always`), pages beyond the end are counted, too. The memory is then
    /// reserved anew, which takes longer.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Foreign`] if another process has sealed the file, [`SegmentError::Os`] if
    /// there is no memory to fill a hole with.
    ///
    /// # Examples
    ///
    /// ```
    /// use coprocess_ring::Region;
    ///
    /// let (ours, file) = Region::create(4096)?;
    /// let _theirs = Region::attach(&file, 4096)?;
    /// ours.seal_for_good(&file)?;
    /// assert!(Region::attach(&file, 4096).is_err(), "no process can map it for writing any more");
    /// # Ok::<(), coprocess_ring::SegmentError>(())
    /// ```
    #[cfg(not(loom))]
    pub fn seal_for_good(&self, file: impl AsFd) -> Result<(), SegmentError> {
        memfd::seal_for_good(file, self.capacity())
    }

    /// Makes a region over memory that this side, the parent, has made.
    #[cfg(not(loom))]
    pub(crate) fn from_created(
        mapped: Mapped,
        wakeup: Wakeup,
        nonce: u64,
    ) -> Result<Region, SegmentError> {
        let memory = Arc::new(Memory::Mapped(mapped));
        let region = Region { primitive: Primitive::new(wakeup, &memory, Side::Parent)?, memory };
        // Last: with the header the segment is complete.
        match &*region.memory {
            Memory::Mapped(mapped) => mapped.publish(nonce, wakeup.word()),
            #[cfg(test)]
            Memory::Heap { .. } => {}
        }
        Ok(region)
    }

    /// Makes a region over memory that the parent has made.
    #[cfg(not(loom))]
    pub(crate) fn from_attached(
        mapped: Mapped,
        wakeup: Wakeup,
        nonce: u64,
    ) -> Result<Region, SegmentError> {
        mapped.check(nonce, wakeup.word())?;
        let memory = Arc::new(Memory::Mapped(mapped));
        Ok(Region { primitive: Primitive::new(wakeup, &memory, Side::Worker)?, memory })
    }

    /// Says by what the end of the peer is known.
    ///
    /// `process` is a descriptor of the peer's process that is readable once the process has ended,
    /// if there is one. `lifeline` is a socket whose other end the peer holds. Both are copied
    /// where they are needed: a futex waits for no process, and needs neither.
    ///
    /// # Errors
    ///
    /// The error of the system for the copy.
    #[cfg(not(loom))]
    pub fn set_peer_liveness(
        &self,
        process: Option<BorrowedFd<'_>>,
        lifeline: BorrowedFd<'_>,
    ) -> std::io::Result<()> {
        self.primitive.set_peer_liveness(process, lifeline)
    }

    /// Makes a region over ordinary memory, for models and tests.
    #[cfg(any(loom, test))]
    pub fn heap(slots: usize) -> Region {
        Region { memory: Arc::new(Memory::heap(slots)), primitive: Primitive::Futex }
    }

    /// Says that only threads of this process will wake or be woken any more.
    #[cfg(not(loom))]
    pub(crate) fn retire(&self) {
        self.primitive.retire();
    }

    #[cfg(all(test, any(loom, feature = "raw-sync")))]
    pub(crate) fn memory(&self) -> Arc<Memory> {
        self.memory.clone()
    }

    /// Makes a region over the same memory, with another primitive.
    #[cfg(all(loom, test))]
    pub(crate) fn with_events(&self, proxy: Proxy) -> Region {
        Region { memory: self.memory.clone(), primitive: Primitive::Event(proxy) }
    }

    /// Returns the bytes of each ring.
    #[cfg(not(loom))]
    pub fn capacity(&self) -> usize {
        size_of_val(self.slots(0))
    }

    #[inline]
    pub(crate) fn control(&self, ring: usize) -> &Control {
        self.memory.control(ring)
    }

    #[inline]
    pub(crate) fn slots(&self, ring: usize) -> &[Slot] {
        self.memory.slots(ring)
    }

    #[inline]
    pub(crate) fn data_doorbell(&self, ring: usize) -> Doorbell<'_> {
        Doorbell::new(
            &self.control(ring).data_doorbell.word,
            &self.primitive,
            DoorbellId::data(ring),
        )
    }

    #[inline]
    pub(crate) fn space_doorbell(&self, ring: usize) -> Doorbell<'_> {
        Doorbell::new(
            &self.control(ring).space_doorbell.word,
            &self.primitive,
            DoorbellId::space(ring),
        )
    }
}
