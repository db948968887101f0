//! What is printed.

use coprocess_bench::budget::{Budget, Figure, Findings, difference};

/// A line for each path.
pub(crate) fn table(figures: &[Figure], budget: &Budget) -> String {
    let mut text = format!("{:<40} {:>12} {:>12} {:>12}\n", "instructions per message", "now", "budget", "difference");
    for figure in figures {
        let (recorded, more) = match budget.of(&figure.path) {
            Some(budget) => (format!("{budget:.3}"), format!("{:+.2} %", difference(figure.instructions, budget))),
            None => ("none".to_owned(), String::new()),
        };
        text += &format!("{:<40} {:>12.3} {recorded:>12} {more:>12}\n", figure.path, figure.instructions);
    }
    text
}

/// What is to be said about them, a line each.
pub(crate) fn findings(findings: &Findings) -> String {
    let Findings { failures, notes } = findings;
    let mut lines: Vec<_> = failures.iter().map(|failure| format!("FAILED: {failure}")).collect();
    lines.extend(notes.iter().map(|note| format!("Note: {note}")));
    lines.push(match failures.is_empty() {
        true => "Within the budget.".to_owned(),
        false => "If it is on purpose: cargo bench -p coprocess-bench --bench instructions -- --record".to_owned(),
    });
    lines.push(format!("Where the instructions go: callgrind_annotate {}/instructions/NAME.callgrind", env!("CARGO_TARGET_TMPDIR")));
    lines.join("\n")
}
