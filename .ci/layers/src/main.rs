//! Checks that each folder uses only the folders that `docs/architecture.md` allows. [`HELP`] has
//! the format of the tables, and says what is a use.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use report::Report;
use sources::Files;
use tables::{DOCUMENT, Tables};

mod report;
mod sources;
mod tables;
mod uses;

const HELP: &str = "\
Checks that each folder uses only the folders that docs/architecture.md allows.

    coprocess-layers [--figures] [<repository>]

Prints each failure, and exits with 1 if there is one. --figures prints sizes, circles and counts.

The tables stand between `<!-- layers: begin -->` and `<!-- layers: end -->`. A heading with a name
in backticks names the source root of the tables below. Other columns than these are ignored:

    folder, may use       What a folder may use: `–` is nothing, `all above` is each row above;
                          else folders of rows above, separated by commas. Several folders of one
                          row may not use each other. `(root)` is the files beside the folders.
    type, impl only in    The folders, from the repository, in which `impl` blocks of a type stand.

A folder without a row belongs to the nearest folder around with a row. `name.rs` beside a folder
`name/` with a row belongs to that folder. A permission is not passed on.

A use is a `use` declaration, or a path in code, in attributes, or in the arguments of macros. A
path depends on the module that the path names and, through re-exports and imports, on the module
that defines the item. Calls of methods are not seen; the table of `impl` blocks stands in for them.
Files of one row must not use each other in a circle, where a re-export does not count.

Code under `#[cfg(test)]` is exempt. To `lib.rs` or `main.rs`, only circles are forbidden.
";

fn main() -> ExitCode {
    let mut figures = false;
    let mut repository = PathBuf::from(".");
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--figures" => figures = true,
            "--help" | "-h" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            option if option.starts_with('-') => {
                eprintln!("there is no option {option}; --help says which there are");
                return ExitCode::from(2);
            }
            path => repository = path.into(),
        }
    }
    let document = fs::read_to_string(repository.join(DOCUMENT)).unwrap_or_default();
    let tables = match Tables::read(&document) {
        Ok(tables) => tables,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut files = Files::new();
    for root in &tables.roots {
        read_sources(&repository, Path::new(&root.name), &mut files);
    }
    let report = Report::new(tables, &files);
    if figures {
        print!("{}", report.figures(&files));
        return ExitCode::SUCCESS;
    }
    report.failures.iter().for_each(|failure| println!("{failure}"));
    match report.failures.len() {
        0 => println!("{} files keep to the tables in {DOCUMENT}", files.len()),
        failures => println!("{failures} failures; --help says how {DOCUMENT} is read"),
    }
    ExitCode::from(u8::from(!report.failures.is_empty()))
}

/// Reads the files of a folder, and of the folders in it. What cannot be read is missing, which
/// the check reports: a `mod` leads nowhere, or a row has no folder.
fn read_sources(repository: &Path, folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(repository.join(folder)).into_iter().flatten().flatten() {
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            read_sources(repository, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            files.insert(path.display().to_string(), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "
<!-- layers: begin -->
### `src`
| folder | holds | may use |
|---|---|---|
| `(root)` | errors | – |
| `low/` | bytes | `(root)` |
| `mid/`, `side/` | state | all above |
| `end/` | the end | `(root)`, `mid/` |

| type | `impl` only in |
|---|---|
| `End` | `src/end/` |
<!-- layers: end -->";

    /// Checks a tree that keeps to the tables, but for one file with this text.
    fn failures(tables: &str, file: &str, text: &str) -> String {
        let root = "mod error; mod low; mod mid; mod side; mod end; pub use {end::End, error::E};";
        let mut files = Files::from(
            [
                ("src/lib.rs", &*format!("{root} pub use end::state::State as Other;")),
                ("src/error.rs", "pub struct E;"),
                ("src/low/mod.rs", "pub mod x; pub mod y; pub use y::Y; #[cfg(test)] mod tests;"),
                ("src/low/x.rs", ""),
                ("src/low/y.rs", "use crate::E; use super::x::X; pub struct Y(E);"),
                ("src/low/tests.rs", "use crate::end::End;"),
                ("src/mid.rs", "use crate::E as Z;"),
                ("src/side/mod.rs", ""),
                ("src/end/mod.rs", "pub mod state; pub struct End; impl End {}"),
                ("src/end/state.rs", "pub struct State;"),
            ]
            .map(|(path, text)| (path.to_string(), text.to_string())),
        );
        files.insert(file.to_string(), text.to_string());
        match Tables::read(tables) {
            Ok(tables) => Report::new(tables, &files).failures.join("\n"),
            Err(error) => error,
        }
    }

    #[test]
    fn uses_against_the_tables_are_found() {
        for (text, path) in [
            ("use crate::end::End;", "crate::end::End"),
            ("use crate::{E, end::{self, End}};", "crate::end"),
            ("use crate::end::*;", "crate::end"),
            ("fn f(x: &super::super::end::End) {}", "super::super::end::End"),
            ("fn f() { use self::super::super::end; }", "self::super::super::end"),
            ("fn f(x: <crate::end::End as T>::U) {}", "crate::end::End"),
            ("mod a { fn f() { for _ in 0..crate::end::LIMIT {} } }", "crate::end::LIMIT"),
            // Through re-exports, by another name, and through globs.
            ("use crate::End;", "crate::End"),
            ("fn f(x: crate::Other) {}", "crate::Other"),
            ("use crate::*; fn f(x: End) {}", "End"),
            // In macros and attributes.
            ("fn f() { assert!(g(1, crate::end::LIMIT)); }", "crate::end::LIMIT"),
            ("macro_rules! m { () => { $crate::end::f() } }", "crate::end::f"),
            ("#[derive(crate::end::End)] struct X;", "crate::end::End"),
            // What is not only for tests.
            ("#[cfg(not(test))] use crate::end::End;", "crate::end::End"),
            ("#[cfg(any(test, loom))] use crate::end::End;", "crate::end::End"),
            // To what `low/` may use, but through what it may not.
            ("use crate::mid::Z;", "crate::mid::Z"),
        ] {
            let found = failures(TABLES, "src/low/x.rs", text);
            assert!(
                found.starts_with(&format!("src/low/x.rs:1: `{path}` leads to src/")),
                "{found}"
            );
            assert!(found.contains("the row `low` does not allow"), "{found}");
            assert!(found.ends_with("(docs/architecture.md:7)"), "{found}");
        }
        for (file, folder) in [("src/mid.rs", "side"), ("src/end/state.rs", "low")] {
            let found = failures(TABLES, file, &format!("\n\nuse crate::{folder}::f;"));
            assert!(found.starts_with(&format!("{file}:3: `crate::{folder}::f`")), "{found}");
        }
    }

    #[test]
    fn what_the_tables_allow_is_no_failure() {
        for text in [
            "use crate::E; use super::y; use std::sync::Arc; use ::end::End;",
            "pub(in crate::end) struct X; // crate::end::End\nconst Y: &str = \"crate::end::End\";",
            "#[cfg(test)] mod tests { use crate::end::End; fn f() { crate::End; } }",
            "#[cfg(all(test, not(loom)))] mod tests { use crate::end::End; }",
            "#[cfg(test)] use crate::end::End; #[cfg(test)] fn f() { crate::end::f() }",
            "struct X; impl X { #[cfg(test)] fn f(x: crate::end::End) {} }",
            "trait X { #[cfg(test)] fn f(x: crate::end::End) {} }",
        ] {
            assert_eq!(failures(TABLES, "src/low/x.rs", text), "", "{text}");
        }
    }

    #[test]
    fn circles_stray_impl_blocks_and_stray_files_are_found() {
        for (file, text, failure) in [
            (
                "src/low/x.rs",
                "\nfn f(y: &super::Y) {}",
                "src/low/x.rs:2: `super::Y`, src/low/y.rs:1: `super::x::X` (2 files use each other \
                 in a circle)",
            ),
            ("src/low/x.rs", "pub use super::Y;", ""),
            (
                "src/side/mod.rs",
                "impl crate::End {}",
                "src/side/mod.rs:1: `impl End` may stand only in src/end (docs/architecture.md:13)",
            ),
            ("src/mid.rs", "use crate::low::Y as End; impl Drop for &End {}", ""),
            (
                "src/lib.rs",
                "mod error; mod low; mod mid; mod end; use end::End as X; impl X {}",
                "src/side/mod.rs:1: no `mod` leads to this file\n\
                 docs/architecture.md:8: src has no `side`\n\
                 src/lib.rs:1: `impl End` may stand only in src/end (docs/architecture.md:13)",
            ),
            (
                "src/end/mod.rs",
                "pub mod state; mod z;",
                "src/end/mod.rs:1: `mod z;` leads to no file\n\
                 docs/architecture.md:13: there is no `impl End` in the sources",
            ),
            ("src/low/x.rs", "\nfn 1() {}", "src/low/x.rs:2: expected identifier"),
        ] {
            let found = failures(TABLES, file, text);
            assert!(found.contains(failure), "{found}");
            assert_eq!(found.is_empty(), failure.is_empty(), "{found}");
        }
    }

    #[test]
    fn tables_that_mean_nothing_are_failures() {
        for (old, new, failure) in [
            ("layers: end", "layers", "docs/architecture.md: no table of folders"),
            ("### `src`", "###", "docs/architecture.md:6: no heading above names the source root"),
            ("### `src`", "### `lib`", "lib: has neither lib.rs nor main.rs"),
            ("may use |", "needs |", "docs/architecture.md:5: a row of a table with columns that"),
            (
                "| `low/` | bytes |",
                "| `low/` |",
                "docs/architecture.md:7: a row with more or fewer",
            ),
            ("`low/`", "`lower`", "src: `low` has no row in docs/architecture.md"),
            ("`mid/`, `side/`", "`mid/`", "src: `side` has no row"),
            ("`low/`", "`low`, `none`", "docs/architecture.md:7: src has no `none`"),
            ("`(root)`, `mid/`", "`mad/`", "docs/architecture.md:9: `mad` is no row above"),
            ("`mid/`, `side/`", "`mid/`, `side/`, `low`", "docs/architecture.md:8: a second row"),
        ] {
            let found = failures(&TABLES.replacen(old, new, 1), "src/low/x.rs", "");
            assert!(found.contains(failure), "{found}");
        }
    }
}
