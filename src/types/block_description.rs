//! Describes the type of the values of a block.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use bytemuck::Pod;

/// Displays the name, the size and the alignment of the values of a block.
pub(crate) struct Description<T>(PhantomData<T>);

impl<T: Pod> Description<T> {
    pub(crate) fn new() -> Description<T> {
        Description(PhantomData)
    }
}

impl<T: Pod> fmt::Display for Description<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = unqualified(type_name::<T>());
        write!(f, "{name}, {} bytes at multiples of {}", size_of::<T>(), align_of::<T>())
    }
}

/// Returns `true` if `D` is a [`Description`].
pub(crate) fn is_description<D: ?Sized>() -> bool {
    type_name::<Description<()>>()
        .strip_suffix("()>")
        .is_some_and(|ours| type_name::<D>().starts_with(ours))
}

/// Returns the name of a type without any paths, neither of the type nor of its parameters.
fn unqualified(name: &str) -> String {
    let ends_path =
        |mark: char| !(mark.is_alphanumeric() || matches!(mark, '_' | ':' | '{' | '}' | '#'));
    name.split_inclusive(ends_path).filter_map(|path| path.rsplit("::").next()).collect()
}
