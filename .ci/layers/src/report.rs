//! Compares the uses with the tables, finds circles, and counts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use crate::sources::{Files, Kind, Mention, Source, Tree};
use crate::tables::{DOCUMENT, OnlyIn, ROOT, Root, Row, Tables};
use crate::uses::{Found, Use};

/// The widest that a line with a comment should be, in columns.
const WIDTH: usize = 100;
/// Words that comments should not use for a thread or a process.
const NOBODY: [&str; 4] = ["who", "whoever", "somebody", "nobody"];

pub(crate) struct Report {
    tables: Tables,
    roots: Vec<Checked>,
    pub(crate) failures: Vec<String>,
}

/// One source root.
struct Checked {
    name: String,
    tree: Tree,
    /// The row of each file, as an index.
    rows: Vec<Option<usize>>,
    uses: Vec<Use>,
}

impl Report {
    pub(crate) fn new(tables: Tables, files: &Files) -> Report {
        let mut failures = Vec::new();
        let check = |root| Checked::new(root, files, &mut failures);
        let roots: Vec<Checked> = tables.roots.iter().map(check).collect();
        for only in &tables.only_in {
            let (name, row) = (&only.name, format!("{DOCUMENT}:{}", only.line));
            let blocks: Vec<_> = roots.iter().flat_map(|root| root.blocks_of(only)).collect();
            if blocks.is_empty() {
                failures.push(format!("{row}: there is no `impl {name}` in the sources"));
            }
            for (file, block) in blocks {
                let is_in = |folder: &String| file.path.starts_with(&format!("{folder}/"));
                if !only.folders.iter().any(is_in) {
                    let (path, line, folders) = (&file.path, block.line, only.folders.join(", "));
                    failures.push(format!(
                        "{path}:{line}: `impl {name}` may stand only in {folders} ({row})"
                    ));
                }
            }
        }
        let mut seen = HashSet::new();
        failures.retain(|failure| seen.insert(failure.clone()));
        Report { tables, roots, failures }
    }

    /// Returns the size, the circles and the prose of each source root, as lines of text.
    pub(crate) fn figures(&self, texts: &Files) -> String {
        let mut out = String::new();
        let mut say = |what: &str, figure: String| {
            writeln!(out, "  {what:<24}{figure}").unwrap_or_default();
        };
        for checked in &self.roots {
            let files = &checked.tree.files;
            let (mut lines, mut wide, mut largest) = (0, 0, (0, ""));
            let mut words = HashMap::new();
            for path in files.iter().map(|file| &file.path) {
                largest = largest.max((texts[path].lines().count(), path));
                for line in texts[path].lines() {
                    lines += 1;
                    let Some(comment) = comment_of(line) else { continue };
                    wide += usize::from(line.chars().count() > WIDTH);
                    for word in comment.split(|c: char| !c.is_alphanumeric() && c != '_') {
                        *words.entry(word.to_lowercase()).or_insert(0) += 1;
                    }
                }
            }
            let words = NOBODY.map(|word| format!("{word} {}", words.get(word).unwrap_or(&0)));
            let tests = files.iter().filter(|file| file.test == Some(true)).count();
            let circles = circles(checked.uses.iter().filter(|used| used.in_circles));
            say("source root", checked.name.clone());
            say(".rs files", format!("{} (of them {tests} of tests)", files.len()));
            say("lines", lines.to_string());
            say("largest file", format!("{} ({} lines)", largest.1, largest.0));
            say(&format!("comment lines over {WIDTH}"), wide.to_string());
            say("words in comments", words.join(", "));
            say("circles of files", circles.len().to_string());
            for circle in circles {
                let names: Vec<&str> = circle.iter().map(|&file| &*files[file].path).collect();
                say("", names.join(" "));
            }
            for only in &self.tables.only_in {
                let mut folders = BTreeMap::new();
                for (file, _) in checked.blocks_of(only) {
                    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    *folders.entry(folder).or_insert(0) += 1;
                }
                say(&format!("`impl {}` in", only.name), format!("{folders:?}"));
            }
        }
        out
    }
}

impl Checked {
    fn new(root: &Root, texts: &Files, failures: &mut Vec<String>) -> Checked {
        let tree = Tree::read(&root.name, texts);
        failures.extend(tree.failures.iter().cloned());
        let rows = tree.files.iter().map(|file| row_of(&root.rows, &file.inside)).collect();
        let (name, uses) = (root.name.clone(), tree.uses());
        let checked = Checked { name, tree, rows, uses };
        checked.check_rows(root, failures);
        checked.check_uses(&root.rows, failures);
        checked.check_circles(failures);
        checked
    }

    /// Reports folders without rows and rows without folders.
    fn check_rows(&self, root: &Root, failures: &mut Vec<String>) {
        let name = &root.name;
        let mut without_files: BTreeSet<usize> = (0..root.rows.len()).collect();
        for (index, file) in self.tree.files.iter().enumerate() {
            match self.rows[index] {
                _ if file.test != Some(false) => {}
                Some(row) => _ = without_files.remove(&row),
                None if self.is_start(index) => {}
                None => {
                    let folder = file.inside.split_once('/').map_or(ROOT, |(folder, _)| folder);
                    failures.push(format!("{name}: `{folder}` has no row in {DOCUMENT}"));
                }
            }
        }
        for row in without_files.iter().map(|&row| &root.rows[row]) {
            failures.push(format!("{DOCUMENT}:{}: {name} has no `{}`", row.line, row.folder));
        }
    }

    /// Reports uses against the table. One path is told once, and so is each file that a file uses.
    fn check_uses(&self, rows: &[Row], failures: &mut Vec<String>) {
        let (mut paths, mut pairs) = (HashSet::new(), HashSet::new());
        for used in &self.uses {
            let (Some(from), Some(to)) = (self.rows[used.from], self.rows[used.to]) else {
                continue;
            };
            let (row, to) = (&rows[from], &rows[to].folder);
            let is_allowed = row.folder == *to || row.may_use.contains(to);
            if is_allowed || self.is_start(used.from) {
                continue;
            }
            if paths.insert((used.from, used.line, &used.path, to))
                && pairs.insert((used.from, used.to))
            {
                failures.push(format!(
                    "{}: `{}` leads to {}: the row `{}` does not allow `{to}` ({DOCUMENT}:{})",
                    self.place(used),
                    used.path,
                    self.tree.files[used.to].path,
                    row.folder,
                    row.line
                ));
            }
        }
    }

    /// Reports circles within a folder, with a line of each file.
    fn check_circles(&self, failures: &mut Vec<String>) {
        let within = |used: &&Use| used.in_circles && self.rows[used.from] == self.rows[used.to];
        for circle in circles(self.uses.iter().filter(within)) {
            let in_circle = |used: &&Use| within(used) && circle.contains(&used.to);
            let first = |file: &usize| {
                let used = self.uses.iter().filter(in_circle).find(|used| used.from == *file)?;
                Some(format!("{}: `{}`", self.place(used), used.path))
            };
            let steps: Vec<String> = circle.iter().filter_map(first).collect();
            let (steps, files) = (steps.join(", "), steps.len());
            failures.push(format!("{steps} ({files} files use each other in a circle)"));
        }
    }

    fn place(&self, used: &Use) -> String {
        format!("{}:{}", self.tree.files[used.from].path, used.line)
    }

    fn is_start(&self, file: usize) -> bool {
        self.tree.modules.first().is_some_and(|module| module.file == file)
    }

    /// Finds the `impl` blocks of a type, which may be imported by another name. A source root
    /// that the row does not name may have a type of the same name.
    fn blocks_of(&self, only: &OnlyIn) -> Vec<(&Source, &Mention)> {
        let is_named =
            only.folders.iter().any(|folder| folder.starts_with(&format!("{}/", self.name)));
        let is_block = |block: &&Mention| {
            let found = self.tree.resolve(block.module, &block.path, &mut Vec::new()).0;
            let is_it = |found: &Found| matches!(found, Found::Item(_, name) if *name == only.name);
            block.kind == Kind::Impl && is_named && found.iter().any(is_it)
        };
        let file = |block: &Mention| &self.tree.files[self.tree.modules[block.module].file];
        let blocks = self.tree.mentions.iter().filter(is_block);
        blocks.map(|block| (file(block), block)).collect()
    }
}

/// Finds the row of the nearest folder around a file. `name.rs` beside `name/` is in that folder.
fn row_of(rows: &[Row], inside: &str) -> Option<usize> {
    let is_around = |row: &Row| format!("{inside}/").starts_with(&format!("{}/", row.folder));
    (0..rows.len())
        .filter(|&row| is_around(&rows[row]))
        .max_by_key(|&row| rows[row].folder.len())
        .or_else(|| rows.iter().position(|row| row.folder == ROOT && !inside.contains('/')))
}

/// Finds the files that reach each other: the strongly connected components of more than one file.
fn circles<'a>(uses: impl Iterator<Item = &'a Use>) -> BTreeSet<BTreeSet<usize>> {
    let mut next: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for used in uses {
        next.entry(used.from).or_default().insert(used.to);
    }
    let reached = |from: usize| {
        let (mut reached, mut todo) = (BTreeSet::new(), vec![from]);
        while let Some(file) = todo.pop() {
            todo.extend(next.get(&file).into_iter().flatten().filter(|to| reached.insert(**to)));
        }
        reached
    };
    let reached: BTreeMap<usize, _> = next.keys().map(|&file| (file, reached(file))).collect();
    let circle = |file: &usize| -> BTreeSet<usize> {
        let is_back = |to: &usize| reached.get(to).is_some_and(|back| back.contains(file));
        reached[file].iter().copied().filter(is_back).collect()
    };
    next.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

/// Returns the comment of a line. A string that looks like a comment counts as one.
fn comment_of(line: &str) -> Option<&str> {
    match line.trim_start().starts_with("//") {
        true => Some(line),
        false => line.split_once(" // ").map(|(_, comment)| comment),
    }
}
