//! The examples of README and of the pages in `docs` compile and run: here, in a package that has only the dependencies that they name.
//!
//! In the library's own package they could use what that depends on, which a program cannot.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/cookbook.md")]
struct Cookbook;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/migration.md")]
struct Migration;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/platform.md")]
struct Platform;
