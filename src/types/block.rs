//! Arrays of plain numbers, as one block of bytes within any message: a field with `#[serde(with = "coprocess::block")]`, or a [`Block`].
//!
//! serde hands over a `Vec<f32>` one number at a time, and takes it back one at a time. As a byte string the whole array is copied at once; and
//! an array that is all there is to a message goes into the ring from where it lies.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::block_description::Description;
use crate::types::record::is_recorder;

/// An array of plain numbers that travels as one block and comes back aligned: a `Vec<T>` that is sent ten times as fast.
///
/// For values of any type without padding or forbidden bit patterns, [`bytemuck::Pod`]: integers, floating-point numbers, arrays of them, and structs
/// that derive it, with `#[bytemuck(crate = "coprocess::bytemuck")]`. It can be a field of any type that serde encodes. Where the values are, it is a slice, by `Deref`.
///
/// Encoded it is a byte string: [`block()`] of a slice and a field with `#[serde(with = "coprocess::block")]` are the same on the wire, and so
/// is a [`serde_bytes`] type. So the other end must take a block of the same `T`.
///
/// The name, the size and the alignment of `T` are compared when [types are](crate::TypeCheck): a
/// `Block<u32>` is not received as a `Block<f32>`. If one end has plain bytes, or types are not
/// compared, a block is read as whatever its bytes are. They must be a whole number of `T`s. The fields of a `T` are never compared. Types without a size, such as `()`, do not compile.
///
/// # Examples
///
/// ```
/// use coprocess::Block;
/// use serde::{Deserialize, Serialize};
///
/// coprocess::init_in_tests!();
///
/// #[derive(Serialize, Deserialize)]
/// struct Signal {
///     rate: u32,
///     samples: Block<f32>,
/// }
///
/// # fn main() -> coprocess::Result<()> {
/// let co = coprocess::fork(|co| {
///     co.serve("louder", |mut signal: Signal| {
///         signal.samples.iter_mut().for_each(|sample| *sample *= 2.0);
///         signal
///     });
/// })?;
/// let quiet = Signal { rate: 48_000, samples: vec![0.1, 0.2].into() };
/// let loud: Signal = co.call("louder", &quiet)?;
/// assert_eq!(loud.samples[..], [0.2, 0.4]);
/// # Ok(())
/// # }
/// ```
///
/// Of structs, which derive what that takes from the re-exported [`bytemuck`], so that the program need not depend on it:
///
/// ```
/// use coprocess::Block;
/// use coprocess::bytemuck::{Pod, Zeroable};
///
/// coprocess::init_in_tests!();
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "coprocess::bytemuck")]
/// #[repr(C)] // the same layout in both programs
/// struct Point {
///     x: f32,
///     y: f32,
/// }
///
/// # fn main() -> coprocess::Result<()> {
/// let co = coprocess::fork(|co| {
///     co.serve("farthest", |points: Block<Point>| points.iter().map(|point| point.x.hypot(point.y)).fold(0.0, f32::max));
/// })?;
/// let points = [Point { x: 3.0, y: 4.0 }, Point { x: 0.0, y: 1.0 }];
/// assert_eq!(co.call::<f32>("farthest", coprocess::block(&points))?, 5.0);
/// # Ok(())
/// # }
/// ```
///
/// A type without a size is no number:
///
/// ```compile_fail,E0080
/// let nothing = coprocess::Block::from(vec![(), ()]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block<T>(Vec<T>);

impl<T> Block<T> {
    /// The values as a vector, without a copy.
    ///
    /// # Examples
    ///
    /// ```
    /// let values: Vec<u64> = coprocess::Block::from(vec![1, 2, 3]).into_vec();
    /// ```
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T: Pod> From<Vec<T>> for Block<T> {
    fn from(values: Vec<T>) -> Block<T> {
        const { assert_sized::<T>() };
        Block(values)
    }
}

impl<T: Pod> From<&[T]> for Block<T> {
    fn from(values: &[T]) -> Block<T> {
        values.to_vec().into()
    }
}

impl<T: Pod> FromIterator<T> for Block<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Block<T> {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> From<Block<T>> for Vec<T> {
    fn from(block: Block<T>) -> Vec<T> {
        block.0
    }
}

impl<T> Deref for Block<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Block<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> AsRef<[T]> for Block<T> {
    fn as_ref(&self) -> &[T] {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Block<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Pod> Serialize for Block<T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Block<T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Block<T>, D::Error> {
        deserialize(deserializer).map(Block)
    }
}

/// A slice of plain numbers, to be sent as one block; by [`block()`].
///
/// # Examples
///
/// ```
/// let samples = [0.5_f32; 512];
/// let block: coprocess::BlockRef<'_, f32> = coprocess::block(&samples);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BlockRef<'a, T>(&'a [T]);

impl<T: Pod> Serialize for BlockRef<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self.0, serializer)
    }
}

/// Sends a slice of plain numbers as one block, without a copy of its own: what [`Block`] is for a vector.
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// let samples = [0.5_f32; 512];
/// co.emit("samples", coprocess::block(&samples))?;
/// # Ok::<(), coprocess::Error>(())
/// ```
pub fn block<T: Pod>(values: &[T]) -> BlockRef<'_, T> {
    BlockRef(values)
}

/// For a field of type `Vec<T>`: `#[serde(with = "coprocess::block")]`.
///
/// # Errors
///
/// What the serializer says.
///
/// # Examples
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Signal {
///     rate: u32,
///     #[serde(with = "coprocess::block")]
///     samples: Vec<f32>,
/// }
/// ```
#[inline]
pub fn serialize<T: Pod, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    const { assert_sized::<T>() };
    if is_recorder::<S>() {
        return serializer.collect_str(&Description::<T>::new());
    }
    serializer.serialize_bytes(bytemuck::cast_slice(values))
}

/// The other half of [`serialize`].
///
/// # Errors
///
/// What the deserializer says; and if what comes is no byte string, or not of a whole number of `T`s.
///
/// # Examples
///
/// See [`serialize`].
#[inline]
pub fn deserialize<'de, T: Pod, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    const { assert_sized::<T>() };
    deserializer.deserialize_bytes(Values(PhantomData))
}

const fn assert_sized<T>() {
    assert!(size_of::<T>() > 0, "a block is of values that take memory");
}

struct Values<T>(PhantomData<T>);

/// Whether this is what reads a block.
pub(crate) fn reads_block<V>() -> bool {
    type_name::<Values<()>>()
        .strip_suffix("()>")
        .is_some_and(|ours| type_name::<V>().starts_with(ours))
}

impl<'de, T: Pod> Visitor<'de> for Values<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            // For people and other ends that must have the same.
            return write!(f, "block of {}", Description::<T>::new());
        }
        write!(f, "a block of whole values of {} bytes each", size_of::<T>())
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        let values = bytes.chunks_exact(size_of::<T>());
        if !values.remainder().is_empty() {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        // An ordinary copy, once compiled.
        Ok(values.map(bytemuck::pod_read_unaligned).collect())
    }

    /// As some formats write bytes that have no bytes of their own.
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element::<u8>()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<T>, E> {
        self.visit_bytes(&bytes)
    }
}
