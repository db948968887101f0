//! Finds which file uses which: follows each path, through imports and re-exports.

use crate::sources::{Kind, Tree};

/// One file that uses another, as indexes of files.
pub(crate) struct Use {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) line: usize,
    pub(crate) path: String,
    /// Counts for circles: not only a name that is passed on, or a module on the way.
    pub(crate) in_circles: bool,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Found {
    Module(usize),
    /// An item of the module, or something of another crate that the module imports.
    Item(usize, String),
}

impl Tree {
    /// Finds all uses of one file by another.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (index, mention) in self.mentions.iter().enumerate() {
            let mut note = |module: usize, in_circles: bool| {
                let from = self.modules[mention.module].file;
                let to = self.modules[module].file;
                if to != from {
                    let (line, path) = (mention.line, mention.path.join("::"));
                    uses.push(Use { from, to, line, path, in_circles });
                }
            };
            let is_code = matches!(mention.kind, Kind::Code | Kind::Impl);
            let (found, through) = self.resolve(mention.module, &mention.path, &mut vec![index]);
            for found in found {
                match found {
                    // A single word is no module: a variable may have the name of one.
                    Found::Module(_) if is_code && mention.path.len() == 1 => {}
                    // An imported module is used where a path goes through the module.
                    Found::Module(module) => note(module, is_code),
                    // A re-export is for others. If the file uses the name, its code mentions it.
                    Found::Item(module, _) => note(module, mention.kind != Kind::ReExport),
                }
            }
            // What the root of the crate passes on is no use of the root.
            if let Some(module) = through.filter(|&module| module != 0) {
                note(module, false);
            }
        }
        uses.sort_by_key(|used| (used.from, used.line));
        uses
    }

    /// Finds what a path names, and the module that the path writes before the last name. `trail`
    /// holds the imports that are being followed.
    pub(crate) fn resolve(
        &self,
        module: usize,
        path: &[String],
        trail: &mut Vec<usize>,
    ) -> (Vec<Found>, Option<usize>) {
        let (mut found, mut through) = (vec![Found::Module(module)], None);
        for (i, name) in path.iter().enumerate() {
            let mut next = Vec::new();
            for at in found {
                let Found::Module(module) = at else {
                    next.push(at);
                    continue;
                };
                through = Some(module).filter(|_| i > 0);
                match name.as_str() {
                    "crate" => next.push(Found::Module(0)),
                    "self" => next.push(Found::Module(module)),
                    "super" => next.extend(self.modules[module].parent.map(Found::Module)),
                    name => match self.members(module, name, trail) {
                        members if i > 0 && members.is_empty() => {
                            next.push(Found::Item(module, name.to_string()));
                        }
                        members => next.extend(members),
                    },
                }
            }
            // Only a module or a type can stand before `::`, though a function may share its name.
            if i + 1 < path.len() && next.iter().any(|at| matches!(at, Found::Module(_))) {
                next.retain(|at| matches!(at, Found::Module(_)));
            }
            found = next;
        }
        (found, through)
    }

    /// Finds a name in a module: children, items, imports; if there are none, what globs bring.
    fn members(&self, module: usize, name: &str, trail: &mut Vec<usize>) -> Vec<Found> {
        let here = &self.modules[module];
        let item = Found::Item(module, name.to_string());
        let children = here.children.get(name).into_iter().flatten();
        let mut found: Vec<Found> = children.copied().map(Found::Module).collect();
        found.extend(here.items.contains(name).then(|| item.clone()));
        for (declared, import) in &here.imports {
            if declared.as_deref() == Some(name) && !trail.contains(import) {
                trail.push(*import);
                let targets = self.resolve(module, &self.mentions[*import].path, trail).0;
                found.extend(if targets.is_empty() { vec![item.clone()] } else { targets });
                trail.pop();
            }
        }
        if !found.is_empty() {
            return found;
        }
        for (declared, glob) in &here.imports {
            if declared.is_none() && !trail.contains(glob) {
                trail.push(*glob);
                for target in self.resolve(module, &self.mentions[*glob].path, trail).0 {
                    if let Found::Module(from) = target {
                        found.extend(self.members(from, name, trail));
                    }
                }
                trail.pop();
            }
        }
        found
    }
}
