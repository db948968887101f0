//! Refuses systems that this package was not written for, before the compiler lists all that they
//! lack.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if system != "linux" {
        println!(
            "cargo::error=coprocess runs on Linux only; docs/porting.md in its repository says \
             what {system} would have to provide"
        );
    }
}
