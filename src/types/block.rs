//! Sends arrays of plain numbers as one block of bytes within any message: by a field with
//! `#[serde(with = "coprocess::block")]`, or by a [`Block`].
//!
//! serde hands over a `Vec<f32>` one number at a time, and takes the numbers back one at a time. As
//! a byte string, the whole array is copied at once. If a message is nothing but one array, the
//! array goes into the ring from where it lies.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::block_description::Description;
use crate::types::record::is_recorder;

/// Holds an array of plain numbers that is sent as one block and arrives aligned: a `Vec<T>` that
/// is sent ten times as fast, or faster.
///
/// `cargo bench -p coprocess-bench --bench report -- bulk` measures this for a million floats.
///
/// `T` is any type without padding or forbidden bit patterns, [`bytemuck::Pod`]: integers,
/// floating-point numbers, and arrays of them. A struct can derive `Pod`, with
/// `#[bytemuck(crate = "coprocess::bytemuck")]`. A block can be a field of any type that serde
/// encodes. It derefs to a slice.
///
/// A block is encoded as a byte string. [`block()`] of a slice and a field with
/// `#[serde(with = "coprocess::block")]` are equal on the wire, and so is a [`serde_bytes`] type.
/// So the peer must take a block of an equal `T`.
///
/// The name, the size and the alignment of `T` are compared when [types are](crate::TypeCheck): a
/// `Block<u32>` is not received as a `Block<f32>`. The fields of a `T` are never compared. If one
/// end has plain bytes, or types are not compared, a block is read as whatever its bytes are. The
/// bytes must be a whole number of `T`s. Types without a size, such as `()`, do not compile.
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
/// A block of structs. They derive the traits from the re-exported [`bytemuck`], so the program
/// need not depend on `bytemuck`:
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
///     co.serve("farthest", |points: Block<Point>| {
///         points.iter().map(|point| point.x.hypot(point.y)).fold(0.0, f32::max)
///     });
/// })?;
/// let points = [Point { x: 3.0, y: 4.0 }, Point { x: 0.0, y: 1.0 }];
/// assert_eq!(co.call::<f32>("farthest", coprocess::block(&points))?, 5.0);
/// # Ok(())
/// # }
/// ```
///
/// A type without a size is refused at compile time:
///
/// ```compile_fail,E0080
/// let nothing = coprocess::Block::from(vec![(), ()]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block<T>(Vec<T>);

impl<T> Block<T> {
    /// Returns the values as a vector, without a copy.
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

/// Borrows a slice of plain numbers that is sent as one block. [`block()`] makes it.
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

/// Borrows a slice of plain numbers as one block, to be sent without an intermediate copy: the
/// counterpart of [`Block`] for slices.
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

/// Serializes a field of type `Vec<T>` as one block: for `#[serde(with = "coprocess::block")]`.
///
/// # Errors
///
/// Returns the errors of the serializer.
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

/// Deserializes a field that [`serialize`] has serialized.
///
/// # Errors
///
/// Returns the errors of the deserializer. Fails if the input is no byte string, or its length is
/// not a whole number of `T`s.
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

/// Returns `true` if this is the visitor that reads a block.
pub(crate) fn reads_block<V>() -> bool {
    type_name::<Values<()>>()
        .strip_suffix("()>")
        .is_some_and(|ours| type_name::<V>().starts_with(ours))
}

impl<'de, T: Pod> Visitor<'de> for Values<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            // The text is for errors, and for comparison with the peer's description: both must be
            // equal.
            return write!(f, "block of {}", Description::<T>::new());
        }
        write!(f, "a block of whole values of {} bytes each", size_of::<T>())
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        let values = bytes.chunks_exact(size_of::<T>());
        if !values.remainder().is_empty() {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        // Compiles to an ordinary copy.
        Ok(values.map(bytemuck::pod_read_unaligned).collect())
    }

    /// Reads bytes from formats without byte strings, which write them as a sequence of numbers.
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
