//! The README's first example is the program that CI runs.

#[test]
fn the_first_example_is_quickstart() {
    let readme = include_str!("../../README.md");
    let (_, program) = include_str!("../../examples/quickstart.rs")
        .split_once("\n\n")
        .expect("a doc line, then the program");
    assert!(
        readme.contains(&format!("```rust\n{program}```")),
        "README.md and examples/quickstart.rs differ"
    );
}
