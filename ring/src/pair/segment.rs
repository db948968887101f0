//! Makes segments and attaches to them. No code above this file knows what a segment is made of.
//!
//! The parent creates a segment and gets the memory and a [`Segment`]: what it takes to attach. The
//! parts of the `Segment` go to the peer by whatever way there is. Once the peer has attached, no
//! other process shall: see [`Segment::attached`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::SegmentError;
use crate::pair::region::Region;
use crate::shm::memfd;
#[cfg(feature = "named")]
use crate::shm::named::{self, name::Name};
use crate::wake::wakeup::Wakeup;

/// Selects what the memory of a pair is made of.
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess_ring::Backend::default(), coprocess_ring::Backend::Memfd);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// A sealed memfd: the default. It has no name, its size cannot change, and it is gone with the
    /// last process that has it.
    Memfd,
    /// A named segment of the package `shared_memory`. Needs the feature `named`.
    ///
    /// The name exists until the peer has attached. The peer must be of the same user and see the
    /// same `/dev/shm`. Any process of that user can shorten the segment, and so end both processes
    /// by SIGBUS. Each end keeps a descriptor of the segment, which a child of a plain fork(2)
    /// inherits, and with it the memory.
    Named,
}

impl Default for Backend {
    fn default() -> Backend {
        // The tests are also built with the other default, so that all of them run over both
        // backends.
        if cfg!(coprocess_second_backend) { Backend::Named } else { Backend::Memfd }
    }
}

impl Backend {
    fn number(self) -> u8 {
        match self {
            Backend::Memfd => 0,
            Backend::Named => 1,
        }
    }

    fn from_number(number: u8) -> Option<Backend> {
        [Backend::Memfd, Backend::Named].into_iter().find(|backend| backend.number() == number)
    }
}

/// What it takes to attach to a segment that was made.
///
/// # Examples
///
/// ```
/// use coprocess_ring::{Backend, Segment, Wakeup};
///
/// let (ours, segment) = Segment::create(Backend::Memfd, Wakeup::Futex, 4096)?;
/// // These go to the peer, which calls `attach`:
/// let (kind, name) = (segment.kind(), segment.name());
/// let file = segment.file().map(|fd| fd.try_clone_to_owned()).transpose()?;
/// let theirs = Segment::attach(kind, name, file, ours.capacity())?;
/// segment.attached(&ours)?;
/// # let _ = theirs;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Segment {
    wakeup: Wakeup,
    access: Access,
}

#[derive(Debug)]
enum Access {
    File(OwnedFd),
    #[cfg(feature = "named")]
    Name(Name),
}

impl Segment {
    /// Makes a segment whose rings have space for `capacity` bytes each. The capacity is rounded up
    /// to a power of two, at least [`MIN_CAPACITY`](crate::MIN_CAPACITY).
    ///
    /// # Errors
    ///
    /// [`SegmentError::FeatureMissing`] if this library was compiled without what is asked for,
    /// [`SegmentError::Os`] if the system lacks memory, a descriptor or a thread. Nothing is left
    /// behind.
    ///
    /// # Examples
    ///
    /// See [`Segment`].
    pub fn create(
        backend: Backend,
        wakeup: Wakeup,
        capacity: usize,
    ) -> Result<(Region, Segment), SegmentError> {
        match backend {
            Backend::Memfd => {
                let (mapped, file) = memfd::create(capacity)?;
                let region = Region::from_created(mapped, wakeup, 0)?;
                Ok((region, Segment { wakeup, access: Access::File(file) }))
            }
            #[cfg(feature = "named")]
            Backend::Named => {
                let (mapped, name) = named::create(capacity)?;
                let region = Region::from_created(mapped, wakeup, name.nonce())?;
                Ok((region, Segment { wakeup, access: Access::Name(name) }))
            }
            #[cfg(not(feature = "named"))]
            Backend::Named => Err(SegmentError::FeatureMissing("named")),
        }
    }

    /// Checks that this library was compiled with what such a segment takes.
    ///
    /// # Errors
    ///
    /// [`SegmentError::FeatureMissing`] if it was not.
    pub fn check(backend: Backend, wakeup: Wakeup) -> Result<(), SegmentError> {
        match (backend, wakeup) {
            (Backend::Named, _) if !cfg!(feature = "named") => {
                Err(SegmentError::FeatureMissing("named"))
            }
            (_, Wakeup::Event) if !cfg!(feature = "raw-sync") => {
                Err(SegmentError::FeatureMissing("raw-sync"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the kind of the segment, for [`attach`](Self::attach). The default kind is zero.
    pub fn kind(&self) -> u32 {
        let backend = match &self.access {
            Access::File(_) => Backend::Memfd,
            #[cfg(feature = "named")]
            Access::Name(_) => Backend::Named,
        };
        u32::from_le_bytes([backend.number(), self.wakeup.number(), 0, 0])
    }

    /// Returns the name by which the segment is found, or nothing if it has none. The name has at
    /// most [`MAX_NAME`](crate::MAX_NAME) bytes.
    pub fn name(&self) -> &[u8] {
        match &self.access {
            Access::File(_) => &[],
            #[cfg(feature = "named")]
            Access::Name(name) => name.bytes(),
        }
    }

    /// Returns the file, if there is one to be passed on.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        match &self.access {
            Access::File(file) => Some(file.as_fd()),
            #[cfg(feature = "named")]
            Access::Name(_) => None,
        }
    }

    /// Attaches to a segment that another process made, by its [`kind`](Self::kind),
    /// [`name`](Self::name) and [`file`](Self::file) there.
    ///
    /// # Errors
    ///
    /// - [`SegmentError::Foreign`] or [`SegmentError::Abi`] if it is not a segment of this version,
    ///   of that kind and of `capacity` bytes a ring
    /// - [`SegmentError::FeatureMissing`] if this library was compiled without what the segment
    ///   takes
    /// - [`SegmentError::Os`] if the system refuses
    ///
    /// # Examples
    ///
    /// See [`Segment`].
    pub fn attach(
        kind: u32,
        name: &[u8],
        file: Option<OwnedFd>,
        capacity: usize,
    ) -> Result<Region, SegmentError> {
        let [backend, wakeup, 0, 0] = kind.to_le_bytes() else { return Err(UNKNOWN) };
        let (Some(backend), Some(wakeup)) =
            (Backend::from_number(backend), Wakeup::from_number(wakeup))
        else {
            return Err(UNKNOWN);
        };
        Segment::check(backend, wakeup)?;
        match (backend, file) {
            (Backend::Memfd, Some(file)) if name.is_empty() => {
                Region::from_attached(memfd::attach(file, capacity)?, wakeup, 0)
            }
            #[cfg(feature = "named")]
            (Backend::Named, None) => {
                let (mapped, nonce) = named::attach(name, capacity)?;
                Region::from_attached(mapped, wakeup, nonce)
            }
            _ => Err(UNKNOWN),
        }
    }

    /// Says that the peer has attached: from now on no other process can. Use the segment only
    /// after this.
    ///
    /// # Errors
    ///
    /// Those of [`Region::seal_for_good`], or the error of the system for the removal of the name.
    ///
    /// # Examples
    ///
    /// See [`Segment`].
    pub fn attached(self, region: &Region) -> Result<(), SegmentError> {
        match self.access {
            Access::File(file) => region.seal_for_good(file),
            #[cfg(feature = "named")]
            Access::Name(name) => name.remove(),
        }
    }
}

/// The longest [`name`](Segment::name), in bytes.
pub const MAX_NAME: usize = 128;

const UNKNOWN: SegmentError =
    SegmentError::Foreign("its kind is not known, or what was sent with it is not what it takes");
