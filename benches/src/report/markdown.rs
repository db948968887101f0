//! Tables as Markdown whose columns are aligned, so that they read as text, too.

/// The side of a column on which its cells begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Formats a table without the columns in which no line has anything. Every line has a cell for
/// each column.
pub(super) fn table(columns: &[(String, Align)], lines: &[Vec<String>]) -> String {
    let columns = columns
        .iter()
        .enumerate()
        .filter(|(place, _)| lines.iter().any(|line| !line[*place].is_empty()));
    let columns: Vec<_> = columns
        .map(|(place, (head, align))| {
            let cells: Vec<_> = lines.iter().map(|line| line[place].replace('|', "\\|")).collect();
            let width = cells
                .iter()
                .chain([head])
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3);
            let rule = match align {
                Align::Left => "-".repeat(width),
                Align::Right => "-".repeat(width - 1) + ":",
            };
            let cells = [head.clone(), rule].into_iter().chain(cells);
            let pad = |cell| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            };
            cells.map(pad).collect::<Vec<String>>()
        })
        .collect();
    let line = |place: usize| {
        let cells: Vec<_> = columns.iter().map(|column| column[place].as_str()).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    (0..lines.len() + 2).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Align, table};

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let columns = [("what", Align::Left), ("", Align::Left), ("ns", Align::Right)]
            .map(|(head, align)| (head.to_owned(), align));
        let lines = [["a|b", "", "1"], ["long name", "", "1234"]]
            .map(|line| line.map(str::to_owned).to_vec());
        let expected = "\
| what      |   ns |
| --------- | ---: |
| a\\|b      |    1 |
| long name | 1234 |
";
        assert_eq!(table(&columns, &lines), expected);
    }
}
