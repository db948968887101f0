//! The attribute macro of [coprocess](https://docs.rs/coprocess), feature `interface`. Use it from there: what it generates names that crate.

mod expand;
mod parse;
mod signature;

use proc_macro::TokenStream;

/// Makes a typed client and server of a trait.
///
/// The trait stays as it is written, for the server to implement, with one method more: `serve`. Beside it comes a client, named after
/// the trait: `CalculatorClient` for `Calculator`. The module [`coprocess::interface`](https://docs.rs/coprocess/latest/coprocess/interface/index.html)
/// says what both have, what a trait may contain, and what is compared when a client is made.
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
