//! Provides the attribute macro of [coprocess](https://docs.rs/coprocess), feature `interface`.
//!
//! Use the macro through that crate: the code that the macro generates names it.

mod expand;
mod parse;
mod signature;

use proc_macro::TokenStream;

/// Makes a typed client and server from a trait.
///
/// The server implements the trait, which stays as it is written and gets one more method: `serve`.
/// The macro adds a client that is named after the trait: `CalculatorClient` for `Calculator`.
///
/// The module [`coprocess::interface`] describes both, what a trait may contain, and what a new
/// client compares.
///
/// [`coprocess::interface`]: https://docs.rs/coprocess/latest/coprocess/interface/index.html
///
/// # Examples
///
/// ```
/// #[coprocess::interface]
/// pub trait Calculator {
///     /// Adds.
///     fn add(&self, a: i64, b: i64) -> i64;
/// }
///
/// struct Plain;
///
/// impl Calculator for Plain {
///     fn add(&self, a: i64, b: i64) -> i64 {
///         a + b
///     }
/// }
///
/// fn main() -> coprocess::Result<()> {
///     coprocess::init();
///     let co = coprocess::fork(|co| Plain.serve(&co))?;
///     let calculator = CalculatorClient::new(&co)?;
///     assert_eq!(calculator.add(1, 2)?, 3);
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn interface(options: TokenStream, item: TokenStream) -> TokenStream {
    parse::interface(options.into(), item.into())
        .map_or_else(|error| error.into_compile_error(), |interface| expand::expand(&interface))
        .into()
}
