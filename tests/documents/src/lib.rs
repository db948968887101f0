//! Tests the examples of README and of the pages in `docs`: they compile and run.
//!
//! This package has only the dependencies that the examples name. In the library's own package, an
//! example could use the library's dependencies, which a program cannot.

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
