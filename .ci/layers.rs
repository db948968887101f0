//! Checks that every folder uses only the folders that `docs/architecture.md` allows.
//!
//! ```text
//! layers [--figures | --uses] [<repository>]
//! ```
//!
//! Without an option, every failure is printed, and the exit code is 1 if there is one. `--figures`
//! prints sizes, circles and a few counts of prose. `--uses` prints each file that uses another
//! file, with the first line and path that do so.
//!
//! # The tables
//!
//! The tables stand between `<!-- layers: begin -->` and `<!-- layers: end -->`. A heading with a
//! name in backticks, such as `` ## `ring/src` ``, names the source root that the next table of
//! folders is about. The columns tell the tables apart; other columns are ignored. Names may stand
//! in backticks and may end in a slash. `(root)` is the files directly in a source root.
//!
//! - `folder`, `may use`: what a folder may use. `–` is nothing; `all above` is every row above
//!   this row; else folders of rows above, separated by commas. A row may name several folders,
//!   which may not use each other. A permission is not passed on: where `a` may use `b`, and `b`
//!   may use `c`, `a` may not use `c`. A folder may use `(root)` only where the row says so.
//! - `type`, `impl only in`: the folders in which `impl` blocks of a type may stand, from the
//!   repository and separated by commas, such as `src/end`. `src` is the files directly in `src`.
//! - `root`, `folder`, `uses`, `still`: a debt. So many pairs of files still break the table: a
//!   file of `folder` uses a file of the folder `uses`. Where both folders are one, the number is
//!   of files in circles. A smaller number fails, too, so that the number in the table falls.
//!
//! A folder without a row belongs to the row of the nearest folder around the folder; a folder
//! directly in a source root needs a row. The file `name.rs` beside a folder `name/` belongs to
//! that folder, unless the folder has only tests.
//!
//! # What is a use
//!
//! A use is a `use` declaration, or a path in code, in attributes, or in macros. A path depends on
//! the module that the path names and, through every re-export and import, on the module that
//! defines the item. Calls of methods are not seen; the table of `impl` blocks stands in for them.
//!
//! Files of one folder must not use each other in a circle. There a path counts only for the file
//! that defines the item, and a re-export does not count.
//!
//! Code under `#[cfg(test)]` is exempt. `lib.rs` or `main.rs`, which declares and re-exports the
//! rest, may use everything, but is no exception to circles.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

const DOCUMENT: &str = "docs/architecture.md";
const BEGIN: &str = "<!-- layers: begin -->";
const END: &str = "<!-- layers: end -->";
const ROOT: &str = "(root)";
/// The widest that a line with a comment should be, in columns.
const WIDTH: usize = 100;
/// Words that comments should not use for a thread or a process.
const NOBODY: [&str; 4] = ["who", "whoever", "somebody", "nobody"];

fn main() -> ExitCode {
    let (mut figures, mut uses) = (false, false);
    let mut repository = PathBuf::from(".");
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--figures" => figures = true,
            "--uses" => uses = true,
            option if option.starts_with('-') => {
                eprintln!("usage: layers [--figures | --uses] [<repository>]");
                return ExitCode::from(2);
            }
            path => repository = path.into(),
        }
    }
    let checked = match fs::read_to_string(repository.join(DOCUMENT)) {
        Ok(text) => Checked::new(&repository, &text),
        Err(error) => {
            eprintln!("{}: {error}", repository.join(DOCUMENT).display());
            return ExitCode::from(2);
        }
    };
    if figures || uses {
        print!("{}", if figures { checked.figures() } else { checked.all_uses() });
        return ExitCode::SUCCESS;
    }
    for failure in &checked.failures {
        println!("{failure}");
    }
    if checked.failures.is_empty() {
        println!("{}", checked.summary());
        return ExitCode::SUCCESS;
    }
    println!(
        "{} failures; the table and its format: {DOCUMENT} and .ci/layers.rs",
        checked.failures.len()
    );
    ExitCode::FAILURE
}

// Tokens

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// A word: an identifier or a keyword.
    Word(String),
    /// An identifier written as `r#name`, which is never a keyword.
    Raw(String),
    /// A string literal, with its text as it is written.
    Text(String),
    /// A character, a number, or a lifetime.
    Other,
    /// `::`
    Colons,
    /// `..`, `...`, `..=`
    Dots,
    Sign(char),
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    line: usize,
}

impl Token {
    fn is(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    /// Returns `true` if the token is this keyword.
    fn word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(name) if name == word)
    }

    /// Returns the name that the token is, keyword or not.
    fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(name) | Kind::Raw(name) => Some(name),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Lexed {
    tokens: Vec<Token>,
    lines: usize,
    /// Lines, from 1, on which there is code, and lines on which there is a comment.
    code: BTreeSet<usize>,
    comments: BTreeSet<usize>,
    /// The comments themselves, one after another.
    prose: String,
}

/// Splits the text of a file into tokens and comments.
fn lex(text: &str) -> Lexed {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut lexed = Lexed { lines: text.lines().count(), ..Lexed::default() };
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let (start, first) = (i, line);
        let c = chars[i];
        if c.is_whitespace() {
            line += usize::from(c == '\n');
            i += 1;
            continue;
        }
        let comment = c == '/' && (at(i + 1) == '/' || at(i + 1) == '*');
        let kind = if comment && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
            None
        } else if comment {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
            None
        } else if c.is_alphabetic() || c == '_' {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            let word: String = chars[start..i].iter().collect();
            let hashes = (i..).take_while(|&i| at(i) == '#').count();
            match word.as_str() {
                "r" | "br" | "cr" if at(i + hashes) == '"' => {
                    i += hashes + 1;
                    let begin = i;
                    while i < chars.len()
                        && !(chars[i] == '"' && (1..=hashes).all(|k| at(i + k) == '#'))
                    {
                        i += 1;
                    }
                    let text = chars[begin..i].iter().collect();
                    i += hashes + 1;
                    Some(Kind::Text(text))
                }
                "r" if hashes == 1 && (at(i + 1).is_alphabetic() || at(i + 1) == '_') => {
                    i += 1;
                    let begin = i;
                    while at(i).is_alphanumeric() || at(i) == '_' {
                        i += 1;
                    }
                    Some(Kind::Raw(chars[begin..i].iter().collect()))
                }
                "b" | "c" if at(i) == '"' => Some(string(&chars, &mut i)),
                "b" if at(i) == '\'' => {
                    character(&chars, &mut i);
                    Some(Kind::Other)
                }
                _ => Some(Kind::Word(word)),
            }
        } else if c.is_ascii_digit() {
            // The point of `1.5` belongs to the number, the points of `1..5` and `1.max(5)` do not.
            while at(i).is_alphanumeric()
                || at(i) == '_'
                || (at(i) == '.' && at(i + 1).is_ascii_digit() && at(i - 1) != '.')
            {
                i += 1;
            }
            Some(Kind::Other)
        } else if c == '"' {
            Some(string(&chars, &mut i))
        } else if c == '\'' {
            if at(i + 1) == '\\' || at(i + 2) == '\'' {
                character(&chars, &mut i);
            } else {
                i += 1;
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
            }
            Some(Kind::Other)
        } else if c == ':' && at(i + 1) == ':' {
            i += 2;
            Some(Kind::Colons)
        } else if c == '.' && at(i + 1) == '.' {
            i += 2 + usize::from(matches!(at(i + 2), '.' | '='));
            Some(Kind::Dots)
        } else {
            i += 1;
            Some(Kind::Sign(c))
        };
        i = i.min(chars.len());
        line += chars[start..i].iter().filter(|&&c| c == '\n').count();
        match kind {
            Some(kind) => {
                lexed.code.extend(first..=line);
                lexed.tokens.push(Token { kind, line: first });
            }
            None => {
                lexed.comments.extend(first..=line);
                lexed.prose.extend(&chars[start..i]);
                lexed.prose.push('\n');
            }
        }
    }
    lexed
}

/// Reads a string literal from its opening quotation mark.
fn string(chars: &[char], i: &mut usize) -> Kind {
    let begin = *i + 1;
    *i = begin;
    while *i < chars.len() && chars[*i] != '"' {
        *i += 1 + usize::from(chars[*i] == '\\');
    }
    let text = chars[begin..(*i).min(chars.len())].iter().collect();
    *i += 1;
    Kind::Text(text)
}

/// Skips a character literal from its opening quotation mark.
fn character(chars: &[char], i: &mut usize) {
    *i += 1;
    while *i < chars.len() && chars[*i] != '\'' {
        *i += 1 + usize::from(chars[*i] == '\\');
    }
    *i += 1;
}

// The tree of modules

/// A file below a source root.
struct File {
    /// From the repository.
    path: String,
    /// From the source root.
    inside: PathBuf,
    lexed: Lexed,
    wide: usize,
    /// The module that the file is, once a `mod` leads there.
    module: Option<usize>,
}

struct Module {
    file: usize,
    parent: Option<usize>,
    children: HashMap<String, usize>,
    scope: usize,
    test: bool,
}

/// What a pair of braces encloses: names are looked up from the inside to the module.
struct Scope {
    module: usize,
    outer: Option<usize>,
    imports: Vec<usize>,
    globs: Vec<usize>,
    /// Names that can stand before `::`, and other names, each with the module that defines it.
    types: HashMap<String, usize>,
    values: HashMap<String, usize>,
    /// An `impl` or a trait, whose functions and types are no names of the scope.
    associated: bool,
}

/// One name that a `use` declares, or all of them: the last is then `None`.
struct Import {
    scope: usize,
    path: Vec<String>,
    name: Option<String>,
    line: usize,
    test: bool,
    /// Has a visibility: the name is for other modules.
    visible: bool,
}

/// A path in code.
struct Mention {
    scope: usize,
    path: Vec<String>,
    line: usize,
    test: bool,
    is_macro: bool,
}

/// An `impl` block.
struct Implementation {
    scope: usize,
    path: Vec<String>,
    line: usize,
    test: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Found {
    Module(usize),
    /// An item, or what is not found but must be in this module.
    Item(usize, String),
    /// Something of another crate that this module imports.
    Foreign(usize),
}

impl Found {
    fn module(&self) -> usize {
        match self {
            Found::Module(module) | Found::Item(module, _) | Found::Foreign(module) => *module,
        }
    }
}

/// What stands before an item.
#[derive(Default)]
struct Attributes {
    /// The token that the attributes are about.
    item: usize,
    test: bool,
    path: bool,
    macro_use: bool,
    export: bool,
}

impl Attributes {
    /// Reads what is between the brackets of an attribute.
    fn read(tokens: &[Token]) -> Attributes {
        let has = |word: &str| tokens.iter().any(|token| token.word(word));
        let first = |word: &str| tokens.first().is_some_and(|token| token.word(word));
        let test = first("cfg") && implies_test(tokens, &mut 2);
        let path = first("path") || (first("cfg_attr") && has("path"));
        Attributes { item: 0, test, path, macro_use: has("macro_use"), export: has("macro_export") }
    }
}

#[derive(Default)]
struct Tree {
    /// The source root, from the repository.
    root: String,
    files: Vec<File>,
    by_path: HashMap<PathBuf, usize>,
    modules: Vec<Module>,
    scopes: Vec<Scope>,
    imports: Vec<Import>,
    mentions: Vec<Mention>,
    implementations: Vec<Implementation>,
    failures: Vec<String>,
}

impl Tree {
    /// Reads all files below a source root, and what they declare and mention.
    fn read(repository: &Path, root: &str) -> Tree {
        let mut tree = Tree { root: root.to_string(), ..Tree::default() };
        let mut paths = Vec::new();
        collect(&repository.join(root), Path::new(""), &mut paths);
        paths.sort();
        for inside in paths {
            let text = fs::read_to_string(repository.join(root).join(&inside)).unwrap_or_default();
            let lexed = lex(&text);
            let wide = text
                .lines()
                .enumerate()
                .filter(|(i, line)| {
                    lexed.comments.contains(&(i + 1)) && line.trim_end().chars().count() > WIDTH
                })
                .count();
            tree.by_path.insert(inside.clone(), tree.files.len());
            tree.files.push(File {
                path: format!("{root}/{}", inside.display()),
                inside,
                lexed,
                wide,
                module: None,
            });
        }
        let Some(&start) =
            ["lib.rs", "main.rs"].iter().find_map(|name| tree.by_path.get(Path::new(name)))
        else {
            tree.failures.push(format!("{root}: has neither lib.rs nor main.rs"));
            return tree;
        };
        let module = tree.module(start, None, false);
        tree.file(start, module, PathBuf::new());
        for file in &tree.files {
            if file.module.is_none() {
                tree.failures.push(format!("{}: no `mod` leads to this file", file.path));
            }
        }
        tree
    }

    fn scope(&mut self, module: usize, outer: Option<usize>, associated: bool) -> usize {
        self.scopes.push(Scope {
            module,
            outer,
            imports: Vec::new(),
            globs: Vec::new(),
            types: HashMap::new(),
            values: HashMap::new(),
            associated,
        });
        self.scopes.len() - 1
    }

    fn module(&mut self, file: usize, parent: Option<usize>, test: bool) -> usize {
        let module = self.modules.len();
        let scope = self.scope(module, None, false);
        self.modules.push(Module { file, parent, children: HashMap::new(), scope, test });
        module
    }

    /// Reads one file that is a module. `below` is the folder of the module's children.
    fn file(&mut self, file: usize, module: usize, below: PathBuf) {
        self.files[file].module = Some(module);
        let tokens = std::mem::take(&mut self.files[file].lexed.tokens);
        let scope = self.modules[module].scope;
        let place = Place { module, scope, below };
        let attributes = Attributes::default();
        Reader {
            tree: self,
            file,
            tokens: &tokens,
            i: 0,
            place,
            around: Vec::new(),
            associated: false,
            attributes,
            test_until: 0,
        }
        .read();
        self.files[file].lexed.tokens = tokens;
    }

    /// Finds the file of a `mod name;` and reads it.
    fn child(&mut self, here: &str, module: usize, below: &Path, name: &str, test: bool) {
        let folder = below.join(name);
        let files = [below.join(format!("{name}.rs")), folder.join("mod.rs")];
        let Some(&file) = files.iter().find_map(|file| self.by_path.get(file)) else {
            self.failures.push(format!("{here}: `mod {name};` leads to no file"));
            return;
        };
        // One of several declarations that are chosen by `#[cfg]`.
        if self.files[file].module.is_some() {
            return;
        }
        let child = self.module(file, Some(module), test);
        self.modules[module].children.insert(name.to_string(), child);
        self.file(file, child, folder);
    }

    // Names

    /// Finds what a path names, and the deepest module that is written in the path.
    fn resolve(
        &self,
        scope: usize,
        path: &[String],
        trail: &mut Vec<usize>,
    ) -> (Vec<Found>, Option<usize>) {
        let Some(first) = path.first() else { return (Vec::new(), None) };
        let module = self.scopes[scope].module;
        let mut found = match first.as_str() {
            "crate" => vec![Found::Module(0)],
            "self" => vec![Found::Module(module)],
            "super" => self.modules[module].parent.map(Found::Module).into_iter().collect(),
            name => self.first(scope, name, path.len() > 1, trail),
        };
        let mut written = None;
        for (i, name) in path.iter().enumerate().skip(1) {
            let mut next = Vec::new();
            for found in &found {
                match found {
                    Found::Module(module) => {
                        written = Some(*module);
                        match name.as_str() {
                            "self" => next.push(found.clone()),
                            "super" => next.extend(self.modules[*module].parent.map(Found::Module)),
                            name => match self.members(*module, name, trail) {
                                members if members.is_empty() => {
                                    next.push(Found::Item(*module, name.to_string()))
                                }
                                members => next.extend(members),
                            },
                        }
                    }
                    Found::Item(..) | Found::Foreign(_) => next.push(found.clone()),
                }
            }
            // Only a module or a type can stand before `::`, though a function may share its name.
            if i + 1 < path.len() && next.iter().any(|found| matches!(found, Found::Module(_))) {
                next.retain(|found| matches!(found, Found::Module(_)));
            }
            found = next;
        }
        if let [Found::Module(module), ..] = found[..] {
            written = Some(module);
        }
        (found, written)
    }

    /// Looks up the first name of a path, from the inside to the module.
    fn first(
        &self,
        mut scope: usize,
        name: &str,
        continues: bool,
        trail: &mut Vec<usize>,
    ) -> Vec<Found> {
        loop {
            let here = &self.scopes[scope];
            let mut found = self.imported(scope, name, trail);
            if let Some(&module) = here.types.get(name) {
                found.push(Found::Item(module, name.to_string()));
            }
            if !continues && let Some(&module) = here.values.get(name) {
                found.push(Found::Item(module, name.to_string()));
            }
            if here.outer.is_none()
                && let Some(&child) = self.modules[here.module].children.get(name)
            {
                found.insert(0, Found::Module(child));
            }
            if found.is_empty() {
                found = self.through_globs(scope, name, trail);
            }
            match here.outer {
                _ if !found.is_empty() => return found,
                Some(outer) => scope = outer,
                None => return Vec::new(),
            }
        }
    }

    /// Finds a name in a module: children, items, imports, and what globs bring.
    fn members(&self, module: usize, name: &str, trail: &mut Vec<usize>) -> Vec<Found> {
        let here = &self.modules[module];
        let scope = &self.scopes[here.scope];
        let mut found = Vec::new();
        found.extend(here.children.get(name).copied().map(Found::Module));
        found.extend(scope.types.get(name).map(|&definer| Found::Item(definer, name.to_string())));
        found.extend(scope.values.get(name).map(|&definer| Found::Item(definer, name.to_string())));
        found.extend(self.imported(here.scope, name, trail));
        if found.is_empty() {
            found = self.through_globs(here.scope, name, trail);
        }
        found
    }

    /// Follows the imports of a name. `trail` holds those that are being followed.
    fn imported(&self, scope: usize, name: &str, trail: &mut Vec<usize>) -> Vec<Found> {
        let mut found = Vec::new();
        for &import in &self.scopes[scope].imports {
            let read = &self.imports[import];
            if read.name.as_deref() != Some(name) || trail.contains(&import) {
                continue;
            }
            trail.push(import);
            let (targets, _) = self.resolve(scope, &read.path, trail);
            trail.pop();
            if targets.is_empty() {
                found.push(Found::Foreign(self.scopes[scope].module));
            }
            found.extend(targets);
        }
        found
    }

    fn through_globs(&self, scope: usize, name: &str, trail: &mut Vec<usize>) -> Vec<Found> {
        let mut found = Vec::new();
        for &glob in &self.scopes[scope].globs {
            if trail.contains(&glob) {
                continue;
            }
            trail.push(glob);
            for target in self.resolve(scope, &self.imports[glob].path, trail).0 {
                if let Found::Module(module) = target {
                    found.extend(self.members(module, name, trail));
                }
            }
            trail.pop();
        }
        found
    }

    /// Finds what a path of code names, of this crate.
    fn mentioned(&self, mention: &Mention) -> (Vec<Found>, Option<usize>) {
        if mention.path.len() > 1 {
            return self.resolve(mention.scope, &mention.path, &mut Vec::new());
        }
        let name = &mention.path[0];
        let found = self.first(mention.scope, name, false, &mut Vec::new());
        if !found.is_empty() || !mention.is_macro {
            // A name that an import declares is a use where the import stands.
            return (found, None);
        }
        // Macros of the modules around are in scope without a path.
        let mut module = self.modules[self.scopes[mention.scope].module].parent;
        while let Some(around) = module {
            let scope = &self.scopes[self.modules[around].scope];
            if let Some(&definer) = scope.values.get(name) {
                return (vec![Found::Item(definer, name.clone())], None);
            }
            module = self.modules[around].parent;
        }
        (Vec::new(), None)
    }

    fn file_of(&self, module: usize) -> usize {
        self.modules[module].file
    }

    fn is_test(&self, file: usize) -> bool {
        self.files[file].module.is_some_and(|module| self.modules[module].test)
    }

    /// Finds all uses of one file by another, outside tests.
    fn uses(&mut self) -> Vec<Use> {
        let mut uses = Vec::new();
        let mut unknown = Vec::new();
        for (index, import) in self.imports.iter().enumerate().filter(|(_, import)| !import.test) {
            let (found, written) = self.resolve(import.scope, &import.path, &mut vec![index]);
            let from = self.file_of(self.scopes[import.scope].module);
            let mut path = import.path.join("::");
            if import.name.is_none() {
                path += "::*";
            }
            let declaration = Use { from, to: from, line: import.line, path, in_circles: false };
            // A re-export is for others, unless the file itself says the name again.
            let again = import.name.as_ref().is_some_and(|name| self.says_again(from, name));
            let of_items = !import.visible || again;
            // A module that is imported is used where a path goes through the module.
            self.note(&declaration, &found, written, of_items, false, &mut uses);
            unknown.extend(self.unknown(&declaration, &found, written));
        }
        for mention in self.mentions.iter().filter(|mention| !mention.test) {
            let (found, written) = self.mentioned(mention);
            let from = self.file_of(self.scopes[mention.scope].module);
            let mentioned = Use {
                from,
                to: from,
                line: mention.line,
                path: mention.path.join("::"),
                in_circles: true,
            };
            self.note(&mentioned, &found, written, true, true, &mut uses);
            unknown.extend(self.unknown(&mentioned, &found, written));
        }
        self.failures.extend(unknown);
        uses.sort_by_key(|used| (used.from, used.line));
        uses
    }

    /// Notes to which files a path leads, and whether items and modules there count for circles.
    fn note(
        &self,
        path: &Use,
        found: &[Found],
        written: Option<usize>,
        items: bool,
        modules: bool,
        uses: &mut Vec<Use>,
    ) {
        let mut note = |to: usize, in_circles: bool| {
            if to != path.from {
                uses.push(Use { to, path: path.path.clone(), in_circles, ..*path });
            }
        };
        for found in found {
            match found {
                Found::Module(module) => note(self.file_of(*module), modules),
                Found::Item(module, _) => note(self.file_of(*module), items),
                // What the root of the crate re-exports of other crates is no use of the root.
                Found::Foreign(0) => {}
                Found::Foreign(module) => note(self.file_of(*module), items),
            }
        }
        // What the root of the crate re-exports is no use of the root, either.
        if let Some(module) = written
            .filter(|&module| module != 0 && !found.iter().any(|found| found.module() == module))
        {
            note(self.file_of(module), false);
        }
    }

    /// Reports a path that names nothing in the root of the crate: the path would hide a use.
    fn unknown(&self, path: &Use, found: &[Found], written: Option<usize>) -> Option<String> {
        if written != Some(0) {
            return None;
        }
        let root = &self.scopes[self.modules[0].scope];
        let name = found.iter().find_map(|found| match found {
            Found::Item(0, name)
                if !root.types.contains_key(name) && !root.values.contains_key(name) =>
            {
                Some(name)
            }
            _ => None,
        })?;
        let file = &self.files[path.from].path;
        Some(format!(
            "{file}:{}: `{}`: the root of the crate has no `{name}` that can be found",
            path.line, path.path
        ))
    }

    /// Returns `true` if code of the file outside of `use` declarations has this name.
    fn says_again(&self, file: usize, name: &str) -> bool {
        self.mentions.iter().any(|mention| {
            !mention.test
                && mention.path[0] == name
                && self.file_of(self.scopes[mention.scope].module) == file
        })
    }
}

/// Where in the tree a token stands.
#[derive(Clone)]
struct Place {
    module: usize,
    scope: usize,
    /// The folder in which a `mod name;` here finds its file, from the source root.
    below: PathBuf,
}

/// Reads the tokens of one file into the tree.
struct Reader<'a> {
    tree: &'a mut Tree,
    file: usize,
    tokens: &'a [Token],
    i: usize,
    place: Place,
    /// What each open brace goes back to.
    around: Vec<Place>,
    /// The next brace opens an `impl` or a trait.
    associated: bool,
    attributes: Attributes,
    /// The token after an item that is for tests only.
    test_until: usize,
}

impl Reader<'_> {
    fn read(mut self) {
        while self.i < self.tokens.len() {
            match &self.tokens[self.i].kind {
                Kind::Sign('#') => self.attribute(),
                Kind::Sign('{') => {
                    self.around.push(self.place.clone());
                    self.place.scope =
                        self.tree.scope(self.place.module, Some(self.place.scope), self.associated);
                    self.associated = false;
                    self.i += 1;
                }
                Kind::Sign('}') => {
                    if let Some(place) = self.around.pop() {
                        self.place = place;
                    }
                    self.i += 1;
                }
                Kind::Word(word) => self.word(word),
                Kind::Raw(_) => self.mention(),
                _ => self.i += 1,
            }
        }
    }

    fn is(&self, i: usize, kind: &Kind) -> bool {
        self.tokens.get(i).is_some_and(|token| token.kind == *kind)
    }

    fn sign(&self, i: usize, sign: char) -> bool {
        self.is(i, &Kind::Sign(sign))
    }

    fn name(&self, i: usize) -> Option<String> {
        self.tokens.get(i).and_then(Token::name).map(str::to_string)
    }

    fn line(&self) -> usize {
        self.tokens[self.i].line
    }

    fn test(&self) -> bool {
        self.i < self.test_until || self.tree.modules[self.place.module].test
    }

    /// Reads an attribute. The paths within are left to be read as those of code.
    fn attribute(&mut self) {
        let inner = self.sign(self.i + 1, '!');
        let open = self.i + 1 + usize::from(inner);
        if !self.sign(open, '[') {
            self.i += 1;
            return;
        }
        let close = closing(self.tokens, open);
        let within = self.tokens.get(open + 1..close).unwrap_or_default();
        let mut read = Attributes::read(within);
        if inner {
            self.tree.modules[self.place.module].test |= read.test;
        } else {
            // Several attributes are about one item: the last one finds the item.
            if self.attributes.item == self.i {
                read.test |= self.attributes.test;
                read.path |= self.attributes.path;
                read.macro_use |= self.attributes.macro_use;
                read.export |= self.attributes.export;
            }
            read.item = close + 1;
            if !self.sign(close + 1, '#') {
                read.item = past_visibility(self.tokens, close + 1);
                if read.test {
                    self.test_until = self.test_until.max(end_of_item(self.tokens, read.item));
                }
            }
            self.attributes = read;
        }
        // An attribute may name a function in a string: `#[serde(with = "crate::block")]`.
        for token in within {
            let Kind::Text(text) = &token.kind else { continue };
            let is_name = |part: &str| {
                !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_')
            };
            if text.contains("::") && text.split("::").all(is_name) {
                let path = text.split("::").map(str::to_string).collect();
                let (scope, test) = (self.place.scope, self.test());
                self.tree.mentions.push(Mention {
                    scope,
                    path,
                    line: token.line,
                    test,
                    is_macro: false,
                });
            }
        }
        self.i = open + 1;
    }

    fn word(&mut self, word: &str) {
        let i = self.i;
        let of_item = |reader: &Self| reader.attributes.item == i;
        match (word, self.name(i + 1)) {
            ("mod", Some(name)) => self.module(name),
            ("use", _) if !self.sign(i + 1, '<') => self.imports(),
            ("extern", Some(next)) if next == "crate" => {
                while self.i < self.tokens.len() && !self.sign(self.i, ';') {
                    self.i += 1;
                }
            }
            ("impl", _) if begins_item(self.tokens, i) => {
                self.associated = true;
                if let Some(path) = implemented(self.tokens, i + 1) {
                    let (scope, line, test) = (self.place.scope, self.line(), self.test());
                    self.tree.implementations.push(Implementation { scope, path, line, test });
                }
                self.i += 1;
            }
            ("macro_rules", None) if self.sign(i + 1, '!') => {
                if let Some(name) = self.name(i + 2) {
                    // Only the root of the crate has the name of an exported macro.
                    let exported = of_item(self) && self.attributes.export;
                    let scope =
                        if exported { self.tree.modules[0].scope } else { self.place.scope };
                    self.tree.scopes[scope].values.insert(name, self.place.module);
                }
                self.i += 3;
            }
            ("struct" | "enum" | "union" | "trait" | "type", Some(name)) => {
                let scope = &mut self.tree.scopes[self.place.scope];
                if !scope.associated {
                    scope.types.insert(name, self.place.module);
                }
                self.associated |= word == "trait";
                self.i += 2;
            }
            // Not a pointer, `*const u8`, nor the `const` of a `const fn`.
            ("fn" | "const" | "static", Some(name))
                if !["async", "extern", "fn", "mut", "unsafe"].contains(&name.as_str())
                    && (i == 0 || !self.sign(i - 1, '*')) =>
            {
                let scope = &mut self.tree.scopes[self.place.scope];
                if !scope.associated {
                    scope.values.insert(name, self.place.module);
                }
                self.i += 2;
            }
            // A visibility is no use: `pub(in crate::process)`.
            ("pub", _) => self.i = past_visibility(self.tokens, i),
            _ => self.mention(),
        }
    }

    /// Reads `mod name;`, or enters `mod name {`.
    fn module(&mut self, name: String) {
        let here = format!("{}:{}", self.tree.files[self.file].path, self.line());
        let test = self.test();
        let parent = self.place.module;
        if self.attributes.item == self.i && self.attributes.path {
            self.tree.failures.push(format!("{here}: `#[path]` hides in which folder `{name}` is"));
        } else if self.sign(self.i + 2, ';') {
            self.tree.child(&here, parent, &self.place.below, &name, test);
        }
        if self.attributes.item == self.i && self.attributes.macro_use {
            self.tree
                .failures
                .push(format!("{here}: `#[macro_use]` hides the uses of the macros of `{name}`"));
        }
        if self.sign(self.i + 2, '{') {
            self.around.push(self.place.clone());
            // Several that are chosen by `#[cfg]` are one module.
            let known = self.tree.modules[parent].children.get(&name).copied();
            let child = known.unwrap_or_else(|| self.tree.module(self.file, Some(parent), test));
            self.place.module = child;
            self.place.scope = self.tree.modules[child].scope;
            self.place.below.push(&name);
            self.tree.modules[parent].children.insert(name, child);
        }
        self.i += 3;
    }

    /// Reads a `use` declaration.
    fn imports(&mut self) {
        // After `pub`, or after `pub(crate)`.
        let visible =
            self.i > 0 && (self.tokens[self.i - 1].word("pub") || self.sign(self.i - 1, ')'));
        let (scope, test) = (self.place.scope, self.test());
        let mut read = Vec::new();
        self.i += 1;
        use_tree(self.tokens, &mut self.i, &[], &mut read);
        for (path, name, line) in read {
            let import = self.tree.imports.len();
            let scope_read = &mut self.tree.scopes[scope];
            let list = if name.is_some() { &mut scope_read.imports } else { &mut scope_read.globs };
            list.push(import);
            self.tree.imports.push(Import { scope, path, name, line, test, visible });
        }
    }

    /// Reads a path in code.
    fn mention(&mut self) {
        let (line, test) = (self.line(), self.test());
        let first = self.name(self.i).unwrap_or_default();
        let before = self.i.checked_sub(1).map(|i| &self.tokens[i].kind);
        let of_macro = before == Some(&Kind::Sign('$')) && first != "crate";
        let continued = matches!(before, Some(Kind::Colons | Kind::Sign('.')));
        self.i += 1;
        if continued || of_macro || first == "Self" {
            return;
        }
        let mut path = vec![first];
        while self.is(self.i, &Kind::Colons)
            && let Some(name) = self.name(self.i + 1)
        {
            path.push(name);
            self.i += 2;
        }
        let alone = path.len() == 1;
        let is_macro = alone && self.sign(self.i, '!') && !self.sign(self.i + 1, '=');
        // Other single names are of variables and fields, more often than not.
        if !alone || is_macro || self.sign(self.i, '(') || path[0].starts_with(char::is_uppercase) {
            self.tree.mentions.push(Mention {
                scope: self.place.scope,
                path,
                line,
                test,
                is_macro,
            });
        }
    }
}

/// One file that uses another.
struct Use {
    from: usize,
    to: usize,
    line: usize,
    path: String,
    /// Counts for circles: not only a name that is passed on.
    in_circles: bool,
}

fn collect(folder: &Path, inside: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, inside) = (entry.path(), inside.join(entry.file_name()));
        if path.is_dir() {
            collect(&path, &inside, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(inside);
        }
    }
}

/// Finds the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Sign('(' | '[' | '{') => depth += 1,
            Kind::Sign(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

fn past_visibility(tokens: &[Token], i: usize) -> usize {
    let is_pub = tokens.get(i).is_some_and(|token| token.word("pub"));
    match tokens.get(i + 1) {
        Some(next) if is_pub && next.is('(') && tokens.get(i + 2).is_some_and(is_visibility) => {
            closing(tokens, i + 1) + 1
        }
        _ => i + usize::from(is_pub),
    }
}

/// Returns `true` for what follows `pub(`; a field of a tuple may be `pub (A, B)`.
fn is_visibility(token: &Token) -> bool {
    ["crate", "self", "super", "in"].iter().any(|word| token.word(word))
}

/// Returns `true` if a condition, as in `#[cfg(...)]`, holds in tests only.
fn implies_test(tokens: &[Token], i: &mut usize) -> bool {
    let Some(name) = tokens.get(*i).and_then(Token::name) else { return false };
    *i += 1;
    if !tokens.get(*i).is_some_and(|token| token.is('(')) {
        // `test`, or `feature = "value"`, whose value is skipped.
        while tokens.get(*i).is_some_and(|token| !token.is(',') && !token.is(')')) {
            *i += 1;
        }
        return name == "test";
    }
    *i += 1;
    let mut parts = Vec::new();
    while tokens.get(*i).is_some_and(|token| !token.is(')')) {
        parts.push(implies_test(tokens, i));
        // Without progress this would not end: conditions start with a name.
        while tokens.get(*i).is_some_and(|token| token.name().is_none() && !token.is(')')) {
            *i += 1;
        }
    }
    *i += 1;
    match name {
        "all" => parts.contains(&true),
        "any" => !parts.is_empty() && !parts.contains(&false),
        _ => false,
    }
}

/// Finds the token after an item; for what is not an item, the item itself.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let Some(Kind::Word(word)) = tokens.get(start).map(|token| &token.kind) else { return start };
    let next_is_fn = tokens
        .get(start + 1)
        .is_some_and(|token| token.word("fn") || token.word("unsafe") || token.word("extern"));
    let to_semicolon = match word.as_str() {
        "use" | "static" | "type" => true,
        "const" => !next_is_fn,
        "mod" | "fn" | "struct" | "enum" | "union" | "trait" | "impl" | "unsafe" | "async"
        | "extern" | "macro_rules" => false,
        _ => return start,
    };
    let mut i = start;
    while i < tokens.len() {
        match tokens[i].kind {
            Kind::Sign(';') => return i + 1,
            Kind::Sign('{') if !to_semicolon => return closing(tokens, i) + 1,
            Kind::Sign('(' | '[' | '{') => i = closing(tokens, i),
            _ => {}
        }
        i += 1;
    }
    i
}

/// Returns `true` if an item can begin with this token.
fn begins_item(tokens: &[Token], i: usize) -> bool {
    let Some(before) = i.checked_sub(1).map(|i| &tokens[i]) else { return true };
    matches!(before.kind, Kind::Sign('{' | '}' | ';' | ']'))
        || ["unsafe", "default"].iter().any(|word| before.word(word))
}

/// Reads the path of the type from the head of an `impl` block.
fn implemented(tokens: &[Token], start: usize) -> Option<Vec<String>> {
    let mut i = start;
    let mut path = Vec::new();
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(i) {
        match &token.kind {
            Kind::Sign('<') => depth += 1,
            Kind::Sign('>') if !tokens[i - 1].is('-') => depth = depth.saturating_sub(1),
            Kind::Sign('{') if depth == 0 => break,
            Kind::Word(word) if depth == 0 && word == "where" => break,
            Kind::Word(word) if depth == 0 && word == "for" => path.clear(),
            Kind::Word(word) | Kind::Raw(word)
                if depth == 0 && !["mut", "const", "dyn"].contains(&word.as_str()) =>
            {
                if i == 0 || tokens[i - 1].kind != Kind::Colons {
                    path.clear();
                }
                path.push(word.clone());
            }
            _ => {}
        }
        i += 1;
    }
    (!path.is_empty()).then_some(path)
}

type Read = (Vec<String>, Option<String>, usize);

/// Reads the tree of a `use` declaration, up to the token after it.
fn use_tree(tokens: &[Token], i: &mut usize, prefix: &[String], read: &mut Vec<Read>) {
    let is = |i: usize, sign| tokens.get(i).is_some_and(|token| token.is(sign));
    let mut path = prefix.to_vec();
    // `use ::name` is of another crate.
    if prefix.is_empty() && tokens.get(*i).is_some_and(|token| token.kind == Kind::Colons) {
        path.push("::".to_string());
        *i += 1;
    }
    let line = tokens.get(*i).map_or(0, |token| token.line);
    loop {
        let Some(token) = tokens.get(*i) else { return };
        if let Some(name) = token.name() {
            *i += 1;
            if name == "self" && !path.is_empty() {
                // `{self, ...}` names what stands before the braces.
            } else {
                path.push(name.to_string());
            }
        } else if token.is('*') {
            *i += 1;
            read.push((path, None, line));
            break;
        } else if token.is('{') {
            *i += 1;
            while *i < tokens.len() && !is(*i, '}') {
                let before = *i;
                use_tree(tokens, i, &path, read);
                // Macros may have here what is not a tree.
                *i = (*i).max(before + usize::from(before == *i));
            }
            *i += 1;
            break;
        } else {
            // A `$name` of a macro, or the end.
            *i += usize::from(token.is('$'));
            return;
        }
        if tokens.get(*i).is_some_and(|token| token.kind == Kind::Colons) {
            *i += 1;
            continue;
        }
        let mut name = path.last().cloned();
        if tokens.get(*i).is_some_and(|token| token.word("as")) {
            name = tokens.get(*i + 1).and_then(Token::name).map(str::to_string);
            *i += 2;
        }
        read.push((path, Some(name.unwrap_or_default()), line));
        break;
    }
    if is(*i, ',') || (prefix.is_empty() && is(*i, ';')) {
        *i += 1;
    }
}

// The document

/// What a folder may use.
#[derive(Debug, PartialEq)]
struct Row {
    folder: String,
    may_use: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Document {
    /// The rows of each source root, in the order of the document.
    roots: Vec<(String, Vec<Row>)>,
    /// Each type, and the folders, from the repository, in which its `impl` blocks may stand.
    only_in: Vec<(String, Vec<String>)>,
    /// Source root, folder, the folder that is used, and how often.
    debts: Vec<(String, String, String, usize)>,
    failures: Vec<String>,
}

impl Document {
    fn read(text: &str) -> Document {
        let mut document = Document::default();
        let (Some(begin), Some(end)) = (
            text.find(BEGIN),
            text.find(END).filter(|&end| text.find(BEGIN).is_some_and(|begin| begin < end)),
        ) else {
            document
                .failures
                .push(format!("{DOCUMENT}: has no `{BEGIN}` with an `{END}` after it"));
            return document;
        };
        let mut columns: Vec<String> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let here = format!("{DOCUMENT}:{}", index + 1);
            let offset = line.as_ptr() as usize - text.as_ptr() as usize;
            if offset < begin || offset >= end {
                continue;
            }
            if !line.trim_start().starts_with('|') {
                columns.clear();
                let heading = line.starts_with('#').then(|| line.split('`').nth(1)).flatten();
                if let Some(root) = heading {
                    document.roots.push((root.trim_end_matches('/').to_string(), Vec::new()));
                }
                continue;
            }
            let cells: Vec<&str> =
                line.trim().trim_matches('|').split('|').map(str::trim).collect();
            if columns.is_empty() {
                columns = cells.iter().map(|cell| plain(cell)).collect();
                let known = [
                    &["folder", "may use"][..],
                    &["type", "impl only in"],
                    &["root", "folder", "uses", "still"],
                ];
                if !known.iter().any(|known| {
                    known.iter().all(|known| columns.iter().any(|column| column == known))
                }) {
                    document
                        .failures
                        .push(format!("{here}: a table with columns that mean nothing here"));
                }
                continue;
            }
            if cells
                .iter()
                .all(|cell| cell.chars().all(|c| matches!(c, '-' | ':')) && !cell.is_empty())
            {
                continue;
            }
            let cell = |column: &str| {
                columns.iter().position(|name| name == column).and_then(|i| cells.get(i)).copied()
            };
            if let (Some(folders), Some(may_use)) = (cell("folder"), cell("may use")) {
                document.row(&here, folders, may_use);
            } else if let (Some(name), Some(folders)) = (cell("type"), cell("impl only in")) {
                document.only_in.push((plain(name), names(folders)));
            } else if let (Some(root), Some(folder), Some(uses), Some(still)) =
                (cell("root"), cell("folder"), cell("uses"), cell("still"))
            {
                match plain(still).parse() {
                    Ok(still) => {
                        document.debts.push((plain(root), plain(folder), plain(uses), still))
                    }
                    Err(_) => document.failures.push(format!("{here}: `{still}` is not a number")),
                }
            }
        }
        document
    }

    fn row(&mut self, here: &str, folders: &str, may_use: &str) {
        let Some((_, rows)) = self.roots.last_mut() else {
            self.failures.push(format!("{here}: no heading above names the source root"));
            return;
        };
        let above: BTreeSet<String> = rows.iter().map(|row| row.folder.clone()).collect();
        let allowed: BTreeSet<String> = match plain(may_use).as_str() {
            "–" | "-" => BTreeSet::new(),
            "all above" => above.clone(),
            _ => names(may_use).into_iter().collect(),
        };
        for name in allowed.difference(&above) {
            self.failures.push(format!("{here}: `{name}` is no row above this row"));
        }
        for folder in names(folders) {
            if rows.iter().any(|row| row.folder == folder) {
                self.failures.push(format!("{here}: a second row for `{folder}`"));
            }
            rows.push(Row { folder, may_use: allowed.clone() });
        }
    }
}

/// Takes the backticks and the slash at the end off a name.
fn plain(cell: &str) -> String {
    cell.replace('`', "").trim().trim_end_matches('/').to_string()
}

fn names(cell: &str) -> Vec<String> {
    cell.split(',').map(plain).filter(|name| !name.is_empty()).collect()
}

// The checks

struct Checked {
    document: Document,
    trees: Vec<Tree>,
    uses: Vec<Vec<Use>>,
    /// The row of each file of each tree.
    rows: Vec<Vec<Option<String>>>,
    failures: Vec<String>,
    /// Folders that use others, and folders.
    arrows: usize,
    folders: usize,
    /// Uses against the tables, and files in circles, that are listed as debts.
    debt: usize,
}

impl Checked {
    fn new(repository: &Path, text: &str) -> Checked {
        let mut document = Document::read(text);
        let mut failures = std::mem::take(&mut document.failures);
        if document.roots.is_empty() {
            failures.push(format!("{DOCUMENT}: no heading names a source root"));
        }
        let mut checked = Checked {
            document,
            trees: Vec::new(),
            uses: Vec::new(),
            rows: Vec::new(),
            failures: Vec::new(),
            arrows: 0,
            folders: 0,
            debt: 0,
        };
        let mut owed = BTreeMap::new();
        for (root, rows) in &checked.document.roots {
            let mut tree = Tree::read(repository, root);
            let uses = if tree.modules.is_empty() { Vec::new() } else { tree.uses() };
            failures.append(&mut tree.failures);
            let folders = check_rows(&tree, rows, &mut failures);
            checked.folders += rows.len();
            let mut arrows = BTreeSet::new();
            for (from, to, failure) in against(&tree, rows, &folders, &uses, &mut arrows) {
                owed.entry((root.clone(), from, to)).or_insert_with(Vec::new).push(failure);
            }
            checked.arrows += arrows.len();
            for (folder, circle) in circles_in(&tree, &folders, &uses) {
                let text = show_circle(&tree, &uses, &circle);
                // Each file of a circle counts; the circle is told once.
                let entry =
                    owed.entry((root.clone(), folder.clone(), folder)).or_insert_with(Vec::new);
                entry.push(text);
                entry.extend(std::iter::repeat_n(String::new(), circle.len() - 1));
            }
            checked.trees.push(tree);
            checked.uses.push(uses);
            checked.rows.push(folders);
        }
        for (root, from, to, still) in &checked.document.debts {
            let key = (root.clone(), from.clone(), to.clone());
            let found = owed.remove(&key).unwrap_or_default();
            checked.debt += found.len();
            if found.len() == *still && *still > 0 {
                continue;
            }
            let what = if from == to { "files in circles" } else { "uses against the table" };
            let now = if found.is_empty() {
                "gone".to_string()
            } else {
                format!("{} {what}, not {still}", found.len())
            };
            failures.push(format!("{DOCUMENT}: the debt of `{root}`, `{from}`, `{to}` is {now}"));
            if found.len() > *still {
                failures.extend(found);
            }
        }
        failures.extend(owed.into_values().flatten());
        failures.retain(|failure| !failure.is_empty());
        checked.check_implementations(&mut failures);
        let mut seen = HashSet::new();
        failures.retain(|failure| seen.insert(failure.clone()));
        checked.failures = failures;
        checked
    }

    /// Finds the `impl` blocks of each type that may have them only in some folders.
    fn implementations(&self, name: &str) -> Vec<(&Tree, &Implementation, usize)> {
        let mut found = Vec::new();
        // A crate that the rule does not name may have a type of the same name.
        let folders: Vec<&String> = self
            .document
            .only_in
            .iter()
            .filter(|(only, _)| only == name)
            .flat_map(|(_, folders)| folders)
            .collect();
        for tree in &self.trees {
            if !folders.iter().any(|folder| Path::new(folder).starts_with(&tree.root)) {
                continue;
            }
            for implementation in
                tree.implementations.iter().filter(|implementation| !implementation.test)
            {
                let (targets, _) =
                    tree.resolve(implementation.scope, &implementation.path, &mut Vec::new());
                // The type may be imported by another name.
                let is_it = targets
                    .iter()
                    .any(|target| matches!(target, Found::Item(_, item) if item == name));
                let says_it = targets.is_empty()
                    && implementation.path.last().is_some_and(|last| last == name);
                if is_it || says_it {
                    found.push((
                        tree,
                        implementation,
                        tree.file_of(tree.scopes[implementation.scope].module),
                    ));
                }
            }
        }
        found
    }

    fn check_implementations(&self, failures: &mut Vec<String>) {
        for (name, allowed) in &self.document.only_in {
            let found = self.implementations(name);
            if found.is_empty() {
                failures.push(format!("{DOCUMENT}: there is no `impl {name}`"));
            }
            for (tree, implementation, file) in found {
                let folders = folders_of(tree);
                let place = match folder_of(tree, &folders, file).components().next() {
                    Some(_) => {
                        format!("{}/{}", tree.root, folder_of(tree, &folders, file).display())
                    }
                    None => tree.root.clone(),
                };
                let within = |folder: &String| {
                    place == *folder
                        || (place.starts_with(&format!("{folder}/"))
                            && !self.trees.iter().any(|tree| tree.root == *folder))
                };
                if !allowed.iter().any(within) {
                    let here = &tree.files[file].path;
                    failures.push(format!(
                        "{here}:{}: `impl {name}` may stand only in {}",
                        implementation.line,
                        allowed
                            .iter()
                            .map(|folder| format!("{folder}/"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ));
                }
            }
        }
    }

    fn summary(&self) -> String {
        let files: usize = self.trees.iter().map(|tree| tree.files.len()).sum();
        let debt = match self.debt {
            0 => String::new(),
            debt => format!("; {debt} exceptions are left"),
        };
        format!(
            "{files} files in {} folders of {} source roots: {} pairs of folders use each other as {DOCUMENT} allows{debt}",
            self.folders,
            self.trees.len(),
            self.arrows
        )
    }

    /// Prints each use of one file by another.
    fn all_uses(&self) -> String {
        let mut out = String::new();
        for (tree, uses) in self.trees.iter().zip(&self.uses) {
            let mut seen = BTreeSet::new();
            for used in
                uses.iter().filter(|used| seen.insert((used.from, used.to, used.in_circles)))
            {
                let (file, to) = (&tree.files[used.from].path, &tree.files[used.to].path);
                let only_passed_on = if used.in_circles { "" } else { " (names only)" };
                writeln!(out, "{file}:{}: `{}`: {to}{only_passed_on}", used.line, used.path)
                    .unwrap_or_default();
            }
        }
        out
    }

    /// Prints the size, the circles and the prose of each source root.
    fn figures(&self) -> String {
        let mut out = String::new();
        let mut say = |line: String| writeln!(out, "{line}").unwrap_or_default();
        for ((tree, uses), rows) in self.trees.iter().zip(&self.uses).zip(&self.rows) {
            let files = &tree.files;
            let tests = (0..files.len()).filter(|&file| tree.is_test(file)).count();
            let sum = |of: &dyn Fn(&File) -> usize| files.iter().map(of).sum::<usize>();
            say(format!("{}:", tree.root));
            say(format!("  .rs files                 {} (of them {tests} of tests)", files.len()));
            say(format!("  lines                     {}", sum(&|file| file.lexed.lines)));
            say(format!("  lines of code             {}", sum(&|file| file.lexed.code.len())));
            say(format!(
                "  lines of only comments    {}",
                sum(&|file| file.lexed.comments.difference(&file.lexed.code).count())
            ));
            if let Some(largest) = files.iter().max_by_key(|file| file.lexed.lines) {
                say(format!(
                    "  largest file              {} ({} lines)",
                    largest.path, largest.lexed.lines
                ));
            }
            say(format!("  comment lines over {WIDTH}    {}", sum(&|file| file.wide)));
            let words: Vec<String> = NOBODY
                .iter()
                .map(|word| format!("{word} {}", sum(&|file| count(&file.lexed.prose, word))))
                .collect();
            say(format!("  words in comments         {}", words.join(", ")));
            let folders = folders_of(tree);
            let circles = components(files.len(), uses.iter().filter(|used| used.in_circles));
            let sizes: Vec<String> =
                circles.iter().map(|circle| circle.len().to_string()).collect();
            say(format!(
                "  circles of files          {} (sizes: {})",
                circles.len(),
                if sizes.is_empty() { "–".into() } else { sizes.join(", ") }
            ));
            for circle in &circles {
                let names: Vec<String> =
                    circle.iter().map(|&file| files[file].inside.display().to_string()).collect();
                say(format!("    {}: {}", circle.len(), names.join(" ")));
            }
            let within: Vec<String> = circles_in(tree, rows, uses)
                .iter()
                .map(|(folder, circle)| format!("{} {}", folder, circle.len()))
                .collect();
            say(format!(
                "  of them within folders    {}",
                if within.is_empty() { "–".into() } else { within.join(", ") }
            ));
            for (name, _) in &self.document.only_in {
                let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
                let mut blocks = 0;
                for (_, _, file) in
                    self.implementations(name).iter().filter(|(of, ..)| of.root == tree.root)
                {
                    blocks += 1;
                    let folder = label(&folder_of(tree, &folders, *file));
                    places
                        .entry(folder)
                        .or_default()
                        .insert(files[*file].inside.display().to_string());
                }
                say(format!(
                    "  impl {name}: {blocks} blocks in {} files",
                    places.values().map(BTreeSet::len).sum::<usize>()
                ));
                for (folder, names) in places {
                    say(format!(
                        "    {folder}: {}",
                        names.into_iter().collect::<Vec<_>>().join(" ")
                    ));
                }
            }
        }
        out
    }
}

/// Returns how often a word stands in prose.
fn count(prose: &str, word: &str) -> usize {
    prose
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|part| part.eq_ignore_ascii_case(word))
        .count()
}

/// Finds the folders that have files other than those of tests.
fn folders_of(tree: &Tree) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for (index, file) in tree.files.iter().enumerate() {
        if !tree.is_test(index) {
            folders.extend(file.inside.ancestors().skip(1).map(Path::to_path_buf));
        }
    }
    folders
}

/// Finds the folder to which a file belongs. `name.rs` beside `name/` is the face of that folder.
fn folder_of(tree: &Tree, folders: &BTreeSet<PathBuf>, file: usize) -> PathBuf {
    let inside = &tree.files[file].inside;
    let beside = inside.with_extension("");
    if folders.contains(&beside) {
        beside
    } else {
        inside.parent().unwrap_or(Path::new("")).to_path_buf()
    }
}

fn label(folder: &Path) -> String {
    match folder.components().next() {
        Some(_) => format!("{}/", folder.display()),
        None => ROOT.to_string(),
    }
}

/// Finds the row of each file, and reports folders without rows and rows without folders.
fn check_rows(tree: &Tree, rows: &[Row], failures: &mut Vec<String>) -> Vec<Option<String>> {
    let folders = folders_of(tree);
    let mut of_files = Vec::new();
    let mut missing = BTreeSet::new();
    let mut used = BTreeSet::new();
    for index in 0..tree.files.len() {
        let folder = folder_of(tree, &folders, index);
        let nearest = |row: &&Row| folder.starts_with(&row.folder);
        let row = match folder.components().next() {
            None => rows.iter().find(|row| row.folder == ROOT),
            Some(_) => rows.iter().filter(nearest).max_by_key(|row| row.folder.len()),
        };
        let is_start = tree.modules.first().is_some_and(|module| module.file == index);
        match row {
            Some(row) if !tree.is_test(index) => _ = used.insert(row.folder.clone()),
            _ if is_start || tree.is_test(index) || tree.files[index].module.is_none() => {}
            _ => {
                let first =
                    folder.components().next().map(|first| PathBuf::from(first.as_os_str()));
                missing.insert(label(&first.unwrap_or_default()));
            }
        }
        of_files.push(row.map(|row| row.folder.clone()));
    }
    let root = &tree.root;
    failures.extend(
        missing
            .iter()
            .map(|folder| format!("{root}: the folder `{folder}` has no row in {DOCUMENT}")),
    );
    for row in rows.iter().filter(|row| !used.contains(&row.folder)) {
        failures.push(format!("{DOCUMENT}: the row `{}` of `{root}` has no folder", row.folder));
    }
    of_files
}

/// Finds the uses against the table: the folder, the folder that is used, and what to say.
fn against(
    tree: &Tree,
    rows: &[Row],
    folders: &[Option<String>],
    uses: &[Use],
    arrows: &mut BTreeSet<(String, String)>,
) -> Vec<(String, String, String)> {
    let (mut paths, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut failures = Vec::new();
    let start = tree.modules.first().map(|module| module.file);
    for used in uses {
        let (Some(from), Some(to)) = (&folders[used.from], &folders[used.to]) else { continue };
        if from == to || Some(used.from) == start {
            continue;
        }
        if rows.iter().any(|row| row.folder == *from && row.may_use.contains(to)) {
            arrows.insert((from.clone(), to.clone()));
            continue;
        }
        // One path is told once, and so is each file that a file uses.
        let told = !paths.insert((used.from, used.line, &used.path, to))
            || !seen.insert((used.from, used.to));
        if !told {
            let slash =
                |name: &str| if name == ROOT { name.to_string() } else { format!("{name}/") };
            let (file, defined) = (&tree.files[used.from].path, &tree.files[used.to].path);
            let failure = format!(
                "{file}:{}: `{}`: {} may not use {} ({defined})",
                used.line,
                used.path,
                slash(from),
                slash(to)
            );
            failures.push((from.clone(), to.clone(), failure));
        }
    }
    failures
}

/// Finds the circles of files within each folder.
fn circles_in(tree: &Tree, folders: &[Option<String>], uses: &[Use]) -> Vec<(String, Vec<usize>)> {
    let within =
        uses.iter().filter(|used| used.in_circles && folders[used.from] == folders[used.to]);
    let circles = components(tree.files.len(), within);
    circles.into_iter().filter_map(|circle| Some((folders[circle[0]].clone()?, circle))).collect()
}

/// Finds the strongly connected components of more than one file, the largest first.
fn components<'a>(files: usize, uses: impl Iterator<Item = &'a Use>) -> Vec<Vec<usize>> {
    let mut next = vec![BTreeSet::new(); files];
    for used in uses {
        next[used.from].insert(used.to);
    }
    let reach = |from: usize| {
        let mut reached = vec![false; files];
        let mut todo = vec![from];
        while let Some(file) = todo.pop() {
            for &to in &next[file] {
                if !std::mem::replace(&mut reached[to], true) {
                    todo.push(to);
                }
            }
        }
        reached
    };
    let reached: Vec<Vec<bool>> = (0..files).map(reach).collect();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (file, from) in reached.iter().enumerate() {
        let component: Vec<usize> =
            (0..files).filter(|&other| from[other] && reached[other][file]).collect();
        if component.len() > 1 && component[0] == file {
            found.push(component);
        }
    }
    found.sort_by_key(|component| std::cmp::Reverse(component.len()));
    found
}

/// Shows a shortest circle among these files, with the lines that make it.
fn show_circle(tree: &Tree, uses: &[Use], files: &[usize]) -> String {
    let within =
        |used: &&Use| used.in_circles && files.contains(&used.from) && files.contains(&used.to);
    let mut shortest: Vec<&Use> = Vec::new();
    for &start in files {
        // Each file that is reached, by the use that leads there.
        let mut by: HashMap<usize, &Use> = HashMap::new();
        let mut todo = VecDeque::from([start]);
        while let Some(file) = todo.pop_front() {
            for used in uses.iter().filter(within).filter(|used| used.from == file) {
                by.entry(used.to).or_insert_with(|| {
                    todo.push_back(used.to);
                    used
                });
            }
        }
        let mut way = Vec::new();
        let mut file = start;
        while let Some(used) = by.get(&file) {
            way.push(*used);
            file = used.from;
            if file == start {
                break;
            }
        }
        if shortest.is_empty() || way.len() < shortest.len() {
            shortest = way;
        }
    }
    let steps = shortest
        .iter()
        .rev()
        .map(|used| format!("{}:{} `{}`", tree.files[used.from].path, used.line, used.path));
    let back = shortest.last().map_or(String::new(), |used| tree.files[used.from].path.clone());
    let steps: Vec<String> = steps.chain([back]).collect();
    format!("a circle of {} files: {}", files.len(), steps.join(" → "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Writes a repository into a folder for temporary files, and checks it.
    fn checked(document: &str, files: &[(&str, &str)]) -> Checked {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("layers-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let repository = env::temp_dir().join(name);
        fs::create_dir_all(&repository).unwrap();
        for (path, text) in files {
            let path = repository.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let checked = Checked::new(&repository, document);
        fs::remove_dir_all(&repository).unwrap();
        checked
    }

    fn failures(tables: &str, files: &[(&str, &str)]) -> Vec<String> {
        checked(&format!("{BEGIN}\n{tables}\n{END}\n"), files).failures
    }

    const TABLE: &str = "
## `src`

| folder | holds | may use |
|---|---|---|
| `(root)` | errors | – |
| `low/` | bytes | `(root)` |
| `end/` | the end | all above |
";

    /// A tree that keeps to [`TABLE`], in which `low/x.rs` has this text.
    fn with_low(text: &str) -> Vec<String> {
        with_low_and_root(text, "")
    }

    fn with_low_and_root(text: &str, root: &str) -> Vec<String> {
        failures(
            TABLE,
            &[
                (
                    "src/lib.rs",
                    &format!(
                        "mod error;\nmod low;\nmod end;\npub use end::End;\npub use error::Error;\n{root}"
                    ),
                ),
                ("src/error.rs", "pub struct Error;"),
                ("src/low/mod.rs", "mod x; pub(crate) mod y; pub(crate) use x::X;"),
                ("src/low/x.rs", text),
                ("src/low/y.rs", "pub struct Y;"),
                (
                    "src/end/mod.rs",
                    "mod state; pub(crate) mod send; pub(crate) use state::State; pub struct End; impl End {}",
                ),
                (
                    "src/end/state.rs",
                    "use crate::Error; use crate::low::X; pub struct State(X, Error);",
                ),
                ("src/end/send.rs", "use super::State; pub fn send(state: State) {}"),
            ],
        )
    }

    #[track_caller]
    fn assert_caught(text: &str, wanted: &[&str]) {
        assert_eq!(with_low(text), wanted, "{text}");
    }

    fn words(text: &str) -> Vec<String> {
        lex(text).tokens.iter().filter_map(|token| token.name().map(str::to_string)).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        assert_eq!(words("a /* b /* c */ d */ e // f\ng"), ["a", "e", "g"]);
        assert_eq!(words("//! a\n/// b\n/** c */ d"), ["d"]);
        assert_eq!(
            words(r##"a "b \" c" d r"e\" f r#"g " h"# i b"j" c"k" br#"l"# m"##),
            ["a", "d", "f", "i", "m"]
        );
        assert_eq!(
            words(r"a 'b' c '\'' d b'e' f '\u{61}' g '\\' h '/' i"),
            ["a", "c", "d", "f", "g", "h", "i"]
        );
        assert_eq!(words("a \"// b\" c \"/*\" d"), ["a", "c", "d"]);
        assert_eq!(words("r#mod"), ["mod"]);
        assert!(!lex("r#mod").tokens[0].word("mod"));
    }

    #[test]
    fn lifetimes_are_no_characters() {
        assert_eq!(
            words("fn f<'a, 'b>(c: &'a str, d: &'static X<'_>) { 'e: loop {} }"),
            ["fn", "f", "c", "str", "d", "X", "loop"]
        );
        assert_eq!(words("'a' b ',' c"), ["b", "c"]);
    }

    #[test]
    fn numbers_end_before_points_that_are_not_theirs() {
        assert_eq!(lex("0..super::X").tokens[1].kind, Kind::Dots);
        assert_eq!(words("1.5e3 1.max(2) 0xff_u8 a.0.b"), ["max", "a", "b"]);
    }

    #[test]
    fn lines_are_counted_by_what_is_on_them() {
        let lexed = lex("// a\n\nlet b = 1; // c\nlet d = \"e\n\n// f\";\n/* g\n\n*/\n");
        assert_eq!(lexed.lines, 9);
        assert_eq!(lexed.code.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(lexed.comments.into_iter().collect::<Vec<_>>(), [1, 3, 7, 8, 9]);
        assert_eq!(count("// Who? whose; nobody's who\n", "who"), 2);
    }

    #[test]
    fn texts_that_are_not_closed_end_with_the_file() {
        for text in [
            "\"a",
            "/* a",
            "r#\"a",
            "'",
            "'\\",
            "b'",
            "#[",
            "use a::{b",
            "mod",
            "impl<",
            "pub(",
            "$",
            "use",
            "macro_rules!",
        ] {
            with_low(text);
        }
    }

    #[test]
    fn a_tree_that_keeps_to_the_table_has_no_failures() {
        assert_caught("pub struct X;", &[]);
        assert_caught(
            "use crate::Error; use super::y::Y; use std::sync::Arc; pub struct X(Error, Y, Arc<u8>);",
            &[],
        );
    }

    #[test]
    fn a_use_against_the_table_is_caught() {
        assert_caught(
            "\nuse crate::end::State;",
            &["src/low/x.rs:2: `crate::end::State`: low/ may not use end/ (src/end/state.rs)"],
        );
        let end = ["src/low/x.rs:1: `crate::end::End`: low/ may not use end/ (src/end/mod.rs)"];
        for text in [
            "use crate::{end::End};",
            "use crate::end::{State as e, End};",
            "use crate::end::End as Other;",
            "fn f(x: &crate::end::End) {}",
            "fn f() { let x: <crate::end::End as T>::U; }",
            "fn f() { for _ in 0..crate::end::End {} }",
            "fn f() { use crate::end::End; }",
            "macro_rules! m { () => { $crate::end::End } }",
            "#[serde(with = \"crate::end::End\")] struct X;",
            "#[derive(crate::end::End)] struct X;",
            "mod a { use crate::end::End; }",
            "#[cfg(not(test))] use crate::end::End;",
            "#[cfg(any(test, loom))] use crate::end::End;",
        ] {
            assert_eq!(with_low(text).last().map(String::as_str), Some(end[0]), "{text}");
        }
        assert_caught(
            "use super::super::end::End;",
            &["src/low/x.rs:1: `super::super::end::End`: low/ may not use end/ (src/end/mod.rs)"],
        );
        assert_caught(
            "use crate::end;",
            &["src/low/x.rs:1: `crate::end`: low/ may not use end/ (src/end/mod.rs)"],
        );
        assert_caught(
            "use crate::end::*;",
            &["src/low/x.rs:1: `crate::end::*`: low/ may not use end/ (src/end/mod.rs)"],
        );
    }

    #[test]
    fn re_exports_and_imports_hide_nothing() {
        assert_caught(
            "use crate::End;",
            &["src/low/x.rs:1: `crate::End`: low/ may not use end/ (src/end/mod.rs)"],
        );
        // The same file may pass on what it imports, in three ways.
        for root in [
            "use end::State as Other;",
            "pub use end::{State as Other};",
            "pub mod m { pub use crate::end::State as Other; } use m::*;",
        ] {
            let caught = "src/low/x.rs:1: `crate::Other`: low/ may not use end/ (src/end/state.rs)";
            assert_eq!(with_low_and_root("use crate::Other;", root), [caught], "{root}");
        }
        // A name that only a glob brings.
        let caught = with_low_and_root("use crate::*; fn f(x: End) {}", "");
        assert_eq!(caught, ["src/low/x.rs:1: `End`: low/ may not use end/ (src/end/mod.rs)"]);
        // A module by another name.
        let caught = with_low_and_root("use crate::e; fn f() { e::send::send() }", "use end as e;");
        assert_eq!(caught[0], "src/low/x.rs:1: `crate::e`: low/ may not use end/ (src/end/mod.rs)");
        assert_eq!(
            caught[1],
            "src/low/x.rs:1: `e::send::send`: low/ may not use end/ (src/end/send.rs)"
        );
    }

    #[test]
    fn what_a_facade_passes_on_is_a_use_of_the_facade_too() {
        let files = [
            ("src/lib.rs", "mod error; mod low; mod end; impl X for End {}"),
            ("src/error.rs", ""),
            ("src/low/mod.rs", "mod x; pub mod y; use crate::end::Y;"),
            ("src/low/x.rs", ""),
            ("src/low/y.rs", "pub struct Y;"),
            ("src/end/mod.rs", "pub use crate::low::y::Y;"),
        ];
        assert_eq!(
            failures(TABLE, &files),
            ["src/low/mod.rs:1: `crate::end::Y`: low/ may not use end/ (src/end/mod.rs)"]
        );
    }

    #[test]
    fn a_name_of_the_root_that_cannot_be_found_is_a_failure() {
        assert_caught(
            "use crate::missing::X;",
            &[
                "src/low/x.rs:1: `crate::missing::X`: the root of the crate has no `missing` that can be found",
            ],
        );
        // Exported macros, and what comes from other crates, are there.
        assert_eq!(
            with_low_and_root(
                "use crate::{m, Arc};",
                "pub use std::sync::Arc; #[macro_export] macro_rules! m { () => {} }"
            ),
            [""; 0]
        );
    }

    #[test]
    fn macros_of_the_modules_around_are_uses() {
        let files = [
            ("src/lib.rs", "mod error; mod low; mod end;"),
            ("src/error.rs", ""),
            ("src/low/mod.rs", "macro_rules! m { () => { x::f() } } mod x;"),
            ("src/low/x.rs", "fn f() { m!(); }"),
            ("src/end/mod.rs", ""),
        ];
        let circle =
            "a circle of 2 files: src/low/mod.rs:1 `x::f` → src/low/x.rs:1 `m` → src/low/mod.rs";
        assert_eq!(failures(TABLE, &files), [circle]);
    }

    #[test]
    fn tests_are_exempt() {
        for text in [
            "#[cfg(test)] mod tests { use crate::end::End; fn f() { crate::End; } }",
            "#[cfg(all(test, not(loom)))] mod tests { use crate::end::End; }",
            "#[cfg(test)] use crate::end::End;",
            "#[cfg(test)] #[allow(x)] pub(crate) fn f<A, B>() { crate::end::End; }",
            "#[cfg(test)] impl X { fn f(x: crate::end::End) {} }",
        ] {
            assert_caught(text, &[]);
        }
        assert_eq!(with_low("#[cfg(test)] fn f() {} use crate::end::End;").len(), 1);
        assert_eq!(with_low("#[cfg(test)] const X: u8 = { 1 }; use crate::end::End;").len(), 1);
        assert_eq!(with_low("#[cfg(feature = \"test\")] use crate::end::End;").len(), 1);
    }

    #[test]
    fn files_of_tests_need_no_row() {
        let files = [
            ("src/lib.rs", "mod error; mod low; mod end; #[cfg(test)] mod tests;"),
            ("src/error.rs", ""),
            ("src/low.rs", "mod x; #[cfg(test)] mod tests;"),
            ("src/low/x.rs", ""),
            ("src/low/tests.rs", "use crate::end::End;"),
            ("src/end.rs", "#[cfg(test)] mod tests;"),
            ("src/end/tests.rs", ""),
            ("src/tests/mod.rs", "mod more;"),
            ("src/tests/more.rs", "use crate::end::End;"),
        ];
        let caught = failures(TABLE, &files);
        // A file beside a folder that has only tests is none of that folder.
        assert_eq!(caught, [format!("{DOCUMENT}: the row `end` of `src` has no folder")]);
        let figures = checked(&format!("{BEGIN}{TABLE}{END}"), &files).figures();
        assert!(figures.contains("9 (of them 4 of tests)"), "{figures}");
    }

    #[test]
    fn folders_without_rows_and_rows_without_folders_are_caught() {
        let table = "# `src`\n| folder | may use |\n|--|--|\n| a, b/ | – |\n| `d` | all above |\n";
        let files = [
            ("src/lib.rs", "mod a; mod c; mod e;"),
            ("src/a/mod.rs", "mod deep;"),
            ("src/a/deep/mod.rs", ""),
            ("src/a/deep.rs", ""),
            ("src/c/mod.rs", ""),
            ("src/e.rs", ""),
        ];
        let wanted = [
            "src/a/deep/mod.rs: no `mod` leads to this file".to_string(),
            format!("src: the folder `(root)` has no row in {DOCUMENT}"),
            format!("src: the folder `c/` has no row in {DOCUMENT}"),
            format!("{DOCUMENT}: the row `b` of `src` has no folder"),
            format!("{DOCUMENT}: the row `d` of `src` has no folder"),
        ];
        assert_eq!(failures(table, &files), wanted);
    }

    #[test]
    fn folders_of_one_row_and_folders_within_folders_are_apart() {
        let table = "# `src`\n| folder | may use |\n|--|--|\n| a, b | – |\n| a/c | a |\n";
        let files = [
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a/mod.rs", "mod c; use c::C; use crate::b::B;"),
            ("src/a/c/mod.rs", "use super::super::b::B; pub struct C; mod d;"),
            ("src/a/c/d/mod.rs", "use crate::a::A;"),
            ("src/b/mod.rs", "pub struct B;"),
        ];
        let wanted = [
            "src/a/mod.rs:1: `c::C`: a/ may not use a/c/ (src/a/c/mod.rs)",
            "src/a/mod.rs:1: `crate::b::B`: a/ may not use b/ (src/b/mod.rs)",
            "src/a/c/mod.rs:1: `super::super::b::B`: a/c/ may not use b/ (src/b/mod.rs)",
        ];
        let mut caught = failures(table, &files);
        caught.sort();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(caught, wanted);
    }

    #[test]
    fn circles_are_caught_and_shown() {
        let files = [
            ("src/lib.rs", "mod error; mod low; mod end;"),
            ("src/error.rs", ""),
            ("src/low/mod.rs", "mod a; mod b; mod c; pub use a::A; pub use b::B; pub use c::C;"),
            ("src/low/a.rs", "use super::B;\npub struct A(B);"),
            ("src/low/b.rs", "pub struct B;\nfn f() { super::c::f(); }"),
            ("src/low/c.rs", "use crate::low::a;\nfn f() { a::A; }"),
            ("src/end/mod.rs", ""),
        ];
        let circle = "src/low/a.rs:1 `super::B` → src/low/b.rs:2 `super::c::f` → src/low/c.rs:2 `a::A` → src/low/a.rs";
        assert_eq!(failures(TABLE, &files), [format!("a circle of 3 files: {circle}")]);
        // A debt is a number that may only fall.
        let debt = |still: usize| {
            let debts = format!(
                "| root | folder | uses | still |\n|---|---|---|---:|\n| `src` | `low` | `low` | {still} |"
            );
            failures(&format!("{TABLE}\n{debts}"), &files)
        };
        assert_eq!(debt(3), [""; 0]);
        assert_eq!(
            debt(4),
            [format!("{DOCUMENT}: the debt of `src`, `low`, `low` is 3 files in circles, not 4")]
        );
        assert_eq!(debt(2).len(), 2);
        let gone =
            "| root | folder | uses | still |\n|---|---|---|---|\n| `src` | `low` | `end` | 0 |";
        let caught = failures(&format!("{TABLE}\n{gone}"), &files);
        assert_eq!(caught[0], format!("{DOCUMENT}: the debt of `src`, `low`, `end` is gone"));
    }

    #[test]
    fn names_that_are_only_passed_on_make_no_circle() {
        let files = |below: &'static str| {
            let x = "use super::Shared; pub struct X(Shared);";
            [
                ("src/lib.rs", "mod error; mod low; mod end;"),
                ("src/error.rs", ""),
                ("src/end.rs", ""),
                ("src/end/mod.rs", ""),
            ]
            .into_iter()
            .filter(|(path, _)| *path != "src/end.rs")
            .chain([("src/low/mod.rs", below), ("src/low/x.rs", x)])
            .collect::<Vec<_>>()
        };
        assert_eq!(failures(TABLE, &files("mod x; pub use x::X; pub struct Shared;")), [""; 0]);
        assert_eq!(
            failures(TABLE, &files("mod x; pub use x::X; pub struct Shared; fn f(x: X) {}")).len(),
            1
        );
    }

    #[test]
    fn impl_blocks_stand_only_where_they_may() {
        let table =
            format!("{TABLE}\n| type | `impl` only in |\n|---|---|\n| `End` | `src/end/` |");
        let check = |text: &str| {
            let files = [
                ("src/lib.rs", "mod error; mod low; mod end;\nimpl end::End {}"),
                ("src/error.rs", "pub struct Error;"),
                ("src/low/mod.rs", "pub struct Low;"),
                ("src/end/mod.rs", text),
            ];
            failures(&table, &files)
        };
        let caught = "src/lib.rs:2: `impl End` may stand only in src/end/";
        assert_eq!(check("pub struct End; impl End {}"), [caught]);
        assert_eq!(
            check(
                "pub struct End; unsafe impl<T: Fn() -> u8> Send for End {} fn f() -> impl End {}"
            ),
            [caught]
        );
        let none = failures(
            &table,
            &[
                ("src/lib.rs", "mod low; mod end; mod error;"),
                ("src/error.rs", ""),
                ("src/low/mod.rs", ""),
                ("src/end/mod.rs", ""),
            ],
        );
        assert_eq!(none, [format!("{DOCUMENT}: there is no `impl End`")]);
        // Other forms, and other types.
        let path = |text: &str| implemented(&lex(text).tokens, 1).unwrap_or_default().join("::");
        assert_eq!(path("impl<'a, T: X<Y>> Drop for super::End<'a, T> where T: Z {"), "super::End");
        assert_eq!(path("impl From<End> for Other {"), "Other");
        assert_eq!(path("impl X for &'a mut End {"), "End");
        assert_eq!(path("impl<F: Fn(End) -> End> X<F> {"), "X");
    }

    #[test]
    fn impl_blocks_by_another_name_are_caught() {
        let table = format!("{TABLE}\n| type | impl only in |\n|---|---|\n| `End` | `src/end` |");
        let files = [
            ("src/lib.rs", "mod error; mod low; mod end; use end::End as E; impl E {}"),
            ("src/error.rs", ""),
            ("src/low/mod.rs", ""),
            ("src/end/mod.rs", "pub struct End; #[cfg(test)] impl End {}"),
        ];
        assert_eq!(
            failures(&table, &files),
            ["src/lib.rs:1: `impl End` may stand only in src/end/"]
        );
    }

    #[test]
    fn paths_of_files_are_not_set_by_hand() {
        assert_caught(
            "#[path = \"../end/mod.rs\"] mod a;",
            &["src/low/x.rs:1: `#[path]` hides in which folder `a` is"],
        );
        assert_caught("mod a;", &["src/low/x.rs:1: `mod a;` leads to no file"]);
        assert_eq!(
            with_low("#[cfg_attr(loom, path = \"x.rs\")] #[doc(hidden)] pub(crate) mod a;").len(),
            1
        );
        assert_eq!(with_low("#[macro_use] mod a {}").len(), 1);
    }

    #[test]
    fn tables_that_mean_nothing_are_caught() {
        let one = |tables: &str| {
            let caught = Document::read(&format!("{BEGIN}\n{tables}\n{END}")).failures;
            assert_eq!(caught.len(), 1, "{caught:?}");
            caught[0].clone()
        };
        let start = "# `src`\n| folder | may use |\n|---|---|\n";
        assert_eq!(
            one("| folder | may use |\n|---|---|\n| a | – |"),
            format!("{DOCUMENT}:4: no heading above names the source root")
        );
        assert_eq!(
            one(&format!("{start}| a | b |\n| b | – |")),
            format!("{DOCUMENT}:5: `b` is no row above this row")
        );
        assert_eq!(
            one(&format!("{start}| a | – |\n| a | – |")),
            format!("{DOCUMENT}:6: a second row for `a`")
        );
        assert_eq!(
            one("| folder | needs |\n|---|---|\n| a | b |"),
            format!("{DOCUMENT}:2: a table with columns that mean nothing here")
        );
        assert_eq!(
            one("| root | folder | uses | still |\n|-|-|-|-|\n| a | b | c | few |"),
            format!("{DOCUMENT}:4: `few` is not a number")
        );
        assert!(Document::read("no marks").failures[0].contains("has no"));
        assert!(Document::read(&format!("{END}{BEGIN}")).failures[0].contains("has no"));
        assert_eq!(failures("", &[]), [format!("{DOCUMENT}: no heading names a source root")]);
    }

    #[test]
    fn all_above_is_every_row_above() {
        let rows = Document::read(&format!("{BEGIN}{TABLE}{END}")).roots.remove(0).1;
        let names = |row: &Row| row.may_use.iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            rows.iter().map(names).collect::<Vec<_>>(),
            [vec![], vec!["(root)"], vec!["(root)", "low"]]
        );
    }

    #[test]
    fn a_source_root_without_a_crate_is_caught() {
        assert_eq!(
            failures("# `lib`", &[("lib/x.rs", "")]),
            ["lib: has neither lib.rs nor main.rs"]
        );
    }
}
