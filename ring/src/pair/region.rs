//! The memory of a pair, and the bells in it, whatever the memory is made of.

use std::fmt;
#[cfg(not(loom))]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

#[cfg(not(loom))]
use crate::error::SegmentError;
#[cfg(any(loom, test))]
use crate::shm::layout::EventBlock;
use crate::shm::layout::{Control, Slot};
#[cfg(not(loom))]
use crate::shm::mapped::Mapped;
#[cfg(not(loom))]
use crate::shm::memfd;
use crate::shm::memory::Backing;
#[cfg(not(loom))]
use crate::side::Side;
use crate::wake::doorbell::Bell;
use crate::wake::doorbell_id::Place;
use crate::wake::primitive::Doorbell;
#[cfg(not(loom))]
use crate::wake::wakeup::Wakeup;

/// The two rings of a pair. Cheap to clone; the memory lives as long as the last clone.
#[derive(Clone)]
pub struct Region {
    backing: Arc<Backing>,
    doorbell: Doorbell,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("capacity", &size_of_val(self.slots(0))).field("doorbell", &self.doorbell).finish()
    }
}

impl Region {
    /// Makes a segment whose rings have room for `capacity` bytes each, rounded up to a power of two, at least [`MIN_CAPACITY`](crate::MIN_CAPACITY).
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
    #[cfg(not(loom))]
    pub fn create(capacity: usize) -> Result<(Region, OwnedFd), SegmentError> {
        let (mapped, file) = memfd::create(capacity)?;
        Ok((Region::made(mapped, Wakeup::Futex, 0)?, file))
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
    #[cfg(not(loom))]
    pub fn attach(file: impl AsFd, capacity: usize) -> Result<Region, SegmentError> {
        Region::found(memfd::attach(file, capacity)?, Wakeup::Futex, 0)
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
    #[cfg(not(loom))]
    pub fn seal_for_good(&self, file: impl AsFd) -> Result<(), SegmentError> {
        memfd::seal_for_good(file, self.capacity())
    }

    /// Over memory that this side, the parent, has made.
    #[cfg(not(loom))]
    pub(crate) fn made(mapped: Mapped, wakeup: Wakeup, nonce: u64) -> Result<Region, SegmentError> {
        let backing = Arc::new(Backing::Mapped(mapped));
        let region = Region { doorbell: Doorbell::new(wakeup, &backing, Side::Parent)?, backing };
        // Last: with it the segment is complete.
        match &*region.backing {
            Backing::Mapped(mapped) => mapped.publish(nonce, wakeup.word()),
            #[cfg(test)]
            Backing::Heap { .. } => {}
        }
        Ok(region)
    }

    /// Over memory that the parent has made.
    #[cfg(not(loom))]
    pub(crate) fn found(mapped: Mapped, wakeup: Wakeup, nonce: u64) -> Result<Region, SegmentError> {
        mapped.check(nonce, wakeup.word())?;
        let backing = Arc::new(Backing::Mapped(mapped));
        Ok(Region { doorbell: Doorbell::new(wakeup, &backing, Side::Worker)?, backing })
    }

    /// Says by what the end of the other side is known: a descriptor of its process that is readable then, if there is one, and a socket whose other end it
    /// holds. They are copied where they are needed: a futex wakes nobody, and hangs on nobody, who is not there.
    ///
    /// # Errors
    ///
    /// What the system says of the copy.
    #[cfg(not(loom))]
    #[cfg_attr(not(feature = "raw-sync"), expect(unused_variables, reason = "no event is there that could hang"))]
    pub fn mind(&self, process: Option<BorrowedFd<'_>>, lifeline: BorrowedFd<'_>) -> std::io::Result<()> {
        match &self.doorbell {
            Doorbell::Futex => {}
            #[cfg(feature = "raw-sync")]
            Doorbell::Event(relay) => relay.mind(crate::wake::event::proxy::Other {
                process: process.map(|fd| fd.try_clone_to_owned()).transpose()?,
                lifeline: lifeline.try_clone_to_owned()?,
            }),
        }
        Ok(())
    }

    /// The same over ordinary memory, for models and tests.
    #[cfg(any(loom, test))]
    pub fn heap(slots: usize) -> Region {
        let ring = || (0..slots).map(|_| Slot::new()).collect();
        let controls = Box::new([Control::new(), Control::new()]);
        let backing = Backing::Heap { controls, events: Box::new(EventBlock::new()), slots: [ring(), ring()] };
        Region { backing: Arc::new(backing), doorbell: Doorbell::Futex }
    }

    /// Says that nothing will be waited for any more, nor sent, but for what this process tells itself.
    #[cfg(not(loom))]
    pub(crate) fn retire(&self) {
        match &self.doorbell {
            Doorbell::Futex => {}
            #[cfg(feature = "raw-sync")]
            Doorbell::Event(relay) => relay.stop(),
        }
    }

    #[cfg(all(test, any(loom, feature = "raw-sync")))]
    pub(crate) fn backing(&self) -> Arc<Backing> {
        self.backing.clone()
    }

    /// The same memory, with other bells.
    #[cfg(all(loom, test))]
    pub(crate) fn with_events(&self, relay: crate::wake::event::proxy::Relay) -> Region {
        Region { backing: self.backing.clone(), doorbell: Doorbell::Event(relay) }
    }

    /// Bytes of each ring.
    #[cfg(not(loom))]
    pub fn capacity(&self) -> usize {
        size_of_val(self.slots(0))
    }

    #[inline]
    pub(crate) fn control(&self, ring: usize) -> &Control {
        self.backing.control(ring)
    }

    #[inline]
    pub(crate) fn slots(&self, ring: usize) -> &[Slot] {
        self.backing.slots(ring)
    }

    #[inline]
    pub(crate) fn data_bell(&self, ring: usize) -> Bell<'_> {
        Bell::new(&self.control(ring).data_bell.word, &self.doorbell, Place::data(ring))
    }

    #[inline]
    pub(crate) fn room_bell(&self, ring: usize) -> Bell<'_> {
        Bell::new(&self.control(ring).room_bell.word, &self.doorbell, Place::room(ring))
    }
}
