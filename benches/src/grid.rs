//! Cells in columns: what a table looks like, as text and as Markdown.

use std::fmt::Write;

/// Columns that are aligned, and a row of cells for each line.
#[derive(Debug)]
pub(crate) struct Grid {
    columns: Vec<(String, Align)>,
    lines: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl Grid {
    pub(crate) fn new(columns: Vec<(String, Align)>) -> Grid {
        Grid { columns, lines: Vec::new() }
    }

    /// Adds a line, a cell for each column.
    pub(crate) fn push(&mut self, line: Vec<String>) {
        debug_assert_eq!(line.len(), self.columns.len());
        self.lines.push(line);
    }

    /// Leaves out the columns in which no line has anything.
    pub(crate) fn without_empty_columns(mut self) -> Grid {
        for column in (0..self.columns.len()).rev() {
            if self.lines.iter().all(|line| line[column].is_empty()) {
                self.columns.remove(column);
                for line in &mut self.lines {
                    line.remove(column);
                }
            }
        }
        self
    }

    pub(crate) fn text(&self) -> String {
        let heads: Vec<&str> = self.columns.iter().map(|(head, _)| head.as_str()).collect();
        let cells = || self.lines.iter().map(|line| line.iter().map(String::as_str).collect::<Vec<_>>());
        let mut widths = vec![0; heads.len()];
        for line in cells().chain([heads.clone()]) {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for line in [heads.clone()].into_iter().chain(cells()) {
            let mut written = String::new();
            for ((cell, &width), (_, align)) in line.into_iter().zip(&widths).zip(&self.columns) {
                let _ = match align {
                    Align::Left => write!(written, "{cell:<width$}  "),
                    Align::Right => write!(written, "{cell:>width$}  "),
                };
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let escaped = |cell: &str| cell.replace('|', "\\|");
        let mut text = String::from("|");
        for (head, _) in &self.columns {
            let _ = write!(text, " {} |", escaped(head));
        }
        text.push_str("\n|");
        for (_, align) in &self.columns {
            text.push_str(if *align == Align::Left { "---|" } else { "---:|" });
        }
        text.push('\n');
        for line in &self.lines {
            text.push('|');
            for cell in line {
                let _ = write!(text, " {} |", escaped(cell));
            }
            text.push('\n');
        }
        text
    }
}
