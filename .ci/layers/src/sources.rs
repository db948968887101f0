//! Reads the sources of a crate: the tree of modules, the names that each module declares, and the
//! paths that each module mentions.

use std::collections::{BTreeMap, HashMap, HashSet};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, Meta, Token, TraitItem, Type, UseTree, Visibility};

/// The text of each file, by the path from the repository.
pub(crate) type Files = BTreeMap<String, String>;

/// The crate of one source root. The first module is `lib.rs` or `main.rs`.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<Source>,
    pub(crate) modules: Vec<Module>,
    pub(crate) mentions: Vec<Mention>,
    pub(crate) failures: Vec<String>,
}

pub(crate) struct Source {
    pub(crate) path: String,
    /// The path from the source root, without `.rs`.
    pub(crate) inside: String,
    /// Only tests have the file. `None` until a `mod` leads to the file.
    pub(crate) test: Option<bool>,
}

pub(crate) struct Module {
    pub(crate) file: usize,
    pub(crate) parent: Option<usize>,
    /// Several modules may have one name, chosen by `cfg`.
    pub(crate) children: HashMap<String, Vec<usize>>,
    /// The names of items. Those within functions are among them.
    pub(crate) items: HashSet<String>,
    /// The name that each import declares, or `None` for a glob, and the index of its mention.
    pub(crate) imports: Vec<(Option<String>, usize)>,
    /// The folder in which `mod name;` finds its file, from the source root, with a slash.
    below: String,
    test: bool,
}

/// A path of the code, outside tests.
pub(crate) struct Mention {
    pub(crate) module: usize,
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Import,
    /// A `use` with a visibility: the name is for other modules.
    ReExport,
    Code,
    /// The type of an `impl` block.
    Impl,
}

impl Tree {
    pub(crate) fn read(root: &str, texts: &Files) -> Tree {
        let mut tree = Tree::default();
        let inside = |path: &str| {
            Some(path.strip_prefix(root)?.strip_prefix('/')?.strip_suffix(".rs")?.to_string())
        };
        for path in texts.keys() {
            if let Some(inside) = inside(path) {
                tree.files.push(Source { path: path.clone(), inside, test: None });
            }
        }
        match tree.find("lib").or_else(|| tree.find("main")) {
            Some(start) => {
                let module = tree.add(start, None, String::new(), false);
                Reader { tree: &mut tree, texts, module }.file();
            }
            None => tree.failures.push(format!("{root}: has neither lib.rs nor main.rs")),
        }
        for file in tree.files.iter().filter(|file| file.test.is_none()) {
            tree.failures.push(format!("{}:1: no `mod` leads to this file", file.path));
        }
        tree
    }

    fn find(&self, inside: &str) -> Option<usize> {
        self.files.iter().position(|file| file.inside == inside)
    }

    fn add(&mut self, file: usize, parent: Option<usize>, below: String, test: bool) -> usize {
        let (children, items, imports) = Default::default();
        self.modules.push(Module { file, parent, children, items, imports, below, test });
        self.modules.len() - 1
    }
}

/// Reads one module into the tree.
struct Reader<'a> {
    tree: &'a mut Tree,
    texts: &'a Files,
    module: usize,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        &mut self.tree.modules[self.module]
    }

    fn file(&mut self) {
        let index = self.here().file;
        let path = self.tree.files[index].path.clone();
        let read = syn::parse_file(&self.texts[&path]);
        if let Ok(read) = &read {
            self.here().test |= read.attrs.iter().any(only_in_tests);
        }
        self.tree.files[index].test = Some(self.here().test);
        match read {
            Ok(read) => read.items.iter().for_each(|item| self.visit_item(item)),
            Err(error) => {
                let line = error.span().start().line;
                self.tree.failures.push(format!("{path}:{line}: {error}"));
            }
        }
    }

    fn child(&mut self, item: &ItemMod, test: bool) {
        let (parent, name) = (self.module, item.ident.unraw().to_string());
        let below = format!("{}{name}", self.here().below);
        let of_file = self.tree.find(&below).or_else(|| self.tree.find(&format!("{below}/mod")));
        let file = match of_file {
            _ if item.content.is_some() => self.here().file,
            // One of several declarations that are chosen by `cfg`.
            Some(file) if self.tree.files[file].test.is_some() => return,
            Some(file) => file,
            None => {
                let (path, line) = (self.here().file, item.ident.span().start().line);
                let path = &self.tree.files[path].path;
                let failure = format!("{path}:{line}: `mod {name};` leads to no file");
                return self.tree.failures.push(failure);
            }
        };
        let child = self.tree.add(file, Some(parent), format!("{below}/"), test);
        if !test {
            self.here().children.entry(name).or_default().push(child);
        }
        self.module = child;
        match &item.content {
            Some((_, items)) => items.iter().for_each(|item| self.visit_item(item)),
            None => self.file(),
        }
        self.module = parent;
    }

    fn mention(&mut self, path: Vec<String>, span: Span, kind: Kind) {
        let line = span.start().line;
        self.tree.mentions.push(Mention { module: self.module, path, line, kind });
    }

    /// Reads a path. `::name` is of another crate.
    fn path(&mut self, path: &syn::Path, kind: Kind) {
        if let (Some(first), None) = (path.segments.first(), &path.leading_colon) {
            let names = path.segments.iter().map(|segment| segment.ident.unraw().to_string());
            self.mention(names.collect(), first.ident.span(), kind);
        }
    }

    fn imports(&mut self, tree: &UseTree, mut path: Vec<String>, kind: Kind) {
        let (last, name) = match tree {
            UseTree::Path(next) => {
                path.push(next.ident.unraw().to_string());
                return self.imports(&next.tree, path, kind);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.imports(tree, path.clone(), kind));
            }
            UseTree::Glob(glob) => return self.import(None, path, glob.star_token.spans[0], kind),
            UseTree::Name(last) => (&last.ident, &last.ident),
            UseTree::Rename(last) => (&last.ident, &last.rename),
        };
        // `{self, ...}` names what stands before the braces.
        if last != "self" {
            path.push(last.unraw().to_string());
        }
        let name = Some(name.unraw().to_string()).filter(|name| name != "self");
        self.import(name.or_else(|| path.last().cloned()), path, last.span(), kind);
    }

    fn import(&mut self, name: Option<String>, path: Vec<String>, span: Span, kind: Kind) {
        let index = self.tree.mentions.len();
        self.here().imports.push((name, index));
        self.mention(path, span, kind);
    }

    /// Reads the paths in tokens that have no grammar: the arguments of macros and attributes.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |i: usize| tokens.get(i).is_some_and(|token| token.to_string() == ":");
        let mut i = 0;
        while let Some(token) = tokens.get(i) {
            i += 1;
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.unraw().to_string()];
                    while let Some(TokenTree::Ident(next)) = tokens.get(i + 2)
                        && is_colon(i)
                        && is_colon(i + 1)
                    {
                        path.push(next.unraw().to_string());
                        i += 3;
                    }
                    self.mention(path, first.span(), Kind::Code);
                }
                _ => {}
            }
        }
    }
}

/// Returns a field that these variants of an enum have.
macro_rules! field {
    ($of:expr, $kind:ident { $($variant:ident)+ }, $field:ident) => {
        match $of { $($kind::$variant(of) => Some(&of.$field),)+ _ => None }
    };
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = field!(
            item,
            Item { Const Enum Fn ForeignMod Impl Macro Mod Static Struct Trait Type Union Use },
            attrs
        );
        let test = self.here().test || attributes.into_iter().flatten().any(only_in_tests);
        match item {
            Item::Mod(child) => return self.child(child, test),
            _ if test => return,
            Item::Use(declaration) => {
                let path = declaration.leading_colon.iter().map(|_| "::".to_string()).collect();
                let inherited = matches!(declaration.vis, Visibility::Inherited);
                let kind = if inherited { Kind::Import } else { Kind::ReExport };
                self.imports(&declaration.tree, path, kind);
            }
            Item::Impl(block) => {
                let mut of = &*block.self_ty;
                while let Type::Reference(reference) = of {
                    of = &reference.elem;
                }
                if let Type::Path(of) = of {
                    self.path(&of.path, Kind::Impl);
                }
            }
            _ => {}
        }
        let name = match item {
            Item::Fn(function) => Some(&function.sig.ident),
            Item::Macro(rules) => rules.ident.as_ref(),
            item => field!(item, Item { Const Enum Static Struct Trait Type Union }, ident),
        };
        self.here().items.extend(name.map(|name| name.unraw().to_string()));
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = field!(item, ImplItem { Const Fn Type Macro }, attrs);
        if !attributes.into_iter().flatten().any(only_in_tests) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        let attributes = field!(item, TraitItem { Const Fn Type Macro }, attrs);
        if !attributes.into_iter().flatten().any(only_in_tests) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(path, Kind::Code);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.path(&called.path, Kind::Code);
        self.tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    /// A visibility is no use: `pub(in crate::process)`.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

/// Returns `true` for `#[cfg(...)]` of a condition that holds in tests only.
fn only_in_tests(attribute: &Attribute) -> bool {
    fn implies_test(condition: &Meta) -> bool {
        let Meta::List(list) = condition else { return condition.path().is_ident("test") };
        let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        let Ok(parts) = parts else { return false };
        (list.path.is_ident("all") && parts.iter().any(implies_test))
            || (list.path.is_ident("any") && parts.iter().all(implies_test))
    }
    attribute.path().is_ident("cfg")
        && attribute.parse_args().is_ok_and(|condition| implies_test(&condition))
}
