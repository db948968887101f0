//! Reads the tables of `docs/architecture.md`.

use std::collections::BTreeSet;

pub(crate) const DOCUMENT: &str = "docs/architecture.md";
/// The name of the files directly in a source root.
pub(crate) const ROOT: &str = "(root)";
const BEGIN: &str = "<!-- layers: begin -->";
const END: &str = "<!-- layers: end -->";

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) roots: Vec<Root>,
    pub(crate) only_in: Vec<OnlyIn>,
}

/// The rows of one source root, in the order of the document.
pub(crate) struct Root {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
}

/// What a folder may use.
pub(crate) struct Row {
    pub(crate) folder: String,
    pub(crate) may_use: BTreeSet<String>,
    pub(crate) line: usize,
}

/// The folders, from the repository, in which `impl` blocks of a type may stand.
pub(crate) struct OnlyIn {
    pub(crate) name: String,
    pub(crate) folders: Vec<String>,
    pub(crate) line: usize,
}

impl Tables {
    /// Reads the tables, or says what is the first error in them.
    pub(crate) fn read(text: &str) -> Result<Tables, String> {
        let mut tables = Tables::default();
        let mut columns: Vec<String> = Vec::new();
        let (mut begun, mut ended) = (false, false);
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            begun |= text == BEGIN;
            ended |= begun && text == END;
            if !begun || ended {
                continue;
            }
            if !text.starts_with('|') {
                columns.clear();
                if let (true, Some(name)) = (text.starts_with('#'), text.split('`').nth(1)) {
                    tables.roots.push(Root { name: plain(name), rows: Vec::new() });
                }
                continue;
            }
            let cells: Vec<String> = text.trim_matches('|').split('|').map(plain).collect();
            let cell = |name: &str| columns.iter().position(|column| column == name);
            let is_rule = cells.iter().all(|cell| cell.chars().all(|c| "-:".contains(c)));
            let read = if columns.is_empty() {
                columns = cells;
                Ok(())
            } else if cells.len() != columns.len() {
                Err("a row with more or fewer cells than its table has columns".to_string())
            } else if let (Some(folder), Some(may_use)) = (cell("folder"), cell("may use")) {
                if is_rule { Ok(()) } else { tables.row(line, &cells[folder], &cells[may_use]) }
            } else if let (Some(name), Some(folders)) = (cell("type"), cell("impl only in")) {
                let (name, folders) = (cells[name].clone(), names(&cells[folders]));
                tables.only_in.extend((!is_rule).then_some(OnlyIn { name, folders, line }));
                Ok(())
            } else {
                Err("a row of a table with columns that mean nothing here".to_string())
            };
            read.map_err(|what| format!("{DOCUMENT}:{line}: {what}"))?;
        }
        if !ended || tables.roots.iter().all(|root| root.rows.is_empty()) {
            return Err(format!("{DOCUMENT}: no table of folders between `{BEGIN}` and `{END}`"));
        }
        Ok(tables)
    }

    fn row(&mut self, line: usize, folders: &str, may_use: &str) -> Result<(), String> {
        let root = self.roots.last_mut().ok_or("no heading above names the source root")?;
        let above: BTreeSet<String> = root.rows.iter().map(|row| row.folder.clone()).collect();
        let may_use = match may_use {
            "–" | "-" => BTreeSet::new(),
            "all above" => above.clone(),
            list => names(list).into_iter().collect(),
        };
        if let Some(name) = may_use.difference(&above).next() {
            return Err(format!("`{name}` is no row above this row"));
        }
        for folder in names(folders) {
            if root.rows.iter().any(|row| row.folder == folder) {
                return Err(format!("a second row for `{folder}`"));
            }
            root.rows.push(Row { folder, may_use: may_use.clone(), line });
        }
        Ok(())
    }
}

/// Takes the backticks and the slash at the end off a name.
fn plain(cell: &str) -> String {
    cell.replace('`', "").trim().trim_end_matches('/').to_string()
}

fn names(cell: &str) -> Vec<String> {
    cell.split(',').map(plain).filter(|name| !name.is_empty()).collect()
}
