//! Text in aligned columns, cut to the width of a terminal.

/// The least width of a column of numbers, so that a table that refreshes stands still.
const CELL: usize = 8;
/// The width to which the first column is cut before columns are left out.
const NAME: usize = 18;
const GAP: usize = 2;

/// Returns how many columns of numbers fit beside names of this length, at the least width.
pub(crate) fn columns_that_fit(width: usize, name: usize) -> usize {
    width.saturating_sub(name.clamp(NAME, 2 * NAME)) / (GAP + CELL)
}

/// Rows under a heading. The first column has names, aligned left; the others are aligned right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Table {
        let heading = heading.iter().map(|&title| title.to_owned()).collect();
        Table { rows: vec![heading] }
    }

    /// Adds a row: a name and its cells. A row of a name and one cell is a note. A note widens no
    /// column of numbers.
    pub(crate) fn row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Returns the lines, none wider than `width`. Columns that do not fit are left out from the
    /// right.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        let columns = self.rows[0].len();
        let mut widths = vec![CELL; columns];
        widths[0] = 0;
        for row in &self.rows {
            let is_note = row.len() < columns;
            for (width, cell) in widths.iter_mut().zip(row).take(if is_note { 1 } else { columns })
            {
                *width = (*width).max(length(cell));
            }
        }
        let natural = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * (widths.len() - 1);
        while widths.len() > 1
            && natural(&widths).saturating_sub(widths[0].saturating_sub(NAME)) > width
        {
            widths.pop();
        }
        widths[0] -= natural(&widths).saturating_sub(width).min(widths[0]);
        self.rows.iter().map(|row| line(row, &widths, columns)).collect()
    }
}

fn line(row: &[String], widths: &[usize], columns: usize) -> String {
    let is_note = row.len() < columns;
    let mut line = format!("{:<1$}", cut(&row[0], widths[0]), widths[0]);
    for (cell, &width) in row.iter().zip(widths).skip(1) {
        let gap = if is_note { GAP } else { GAP + width - length(cell) };
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(cell);
    }
    line
}

/// Cuts the text to at most `width` characters. If some are missing, the last one is an ellipsis.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.extend((width > 0).then_some('…'));
    cut
}

fn length(text: &str) -> usize {
    text.chars().count()
}
