//! What is printed.

use coprocess_bench::budget::{Budget, Figure, Findings, difference};

/// Returns a line for each path: the figure, the budget and their difference, in each build.
pub(crate) fn table(figures: &[Figure], budget: &Budget) -> String {
    let mut text = format!("{:<40}", "instructions per message");
    for build in ["bench", "release"] {
        text += &format!(" | {build:>10} {:>10} {:>9}", "budget", "");
    }
    text.push('\n');
    for figure in figures {
        let recorded = budget.of(&figure.path).map(Figure::builds);
        text += &format!("{:<40}", figure.path);
        for (place, (_, now)) in figure.builds().into_iter().enumerate() {
            let (budget, more) = match recorded {
                Some(budgets) => (
                    format!("{:.3}", budgets[place].1),
                    format!("{:+.2} %", difference(now, budgets[place].1)),
                ),
                None => ("none".to_owned(), String::new()),
            };
            text += &format!(" | {now:>10.3} {budget:>10} {more:>9}");
        }
        text.push('\n');
    }
    text
}

/// Returns what is to be said about the figures, a line each.
pub(crate) fn findings(findings: &Findings) -> String {
    let Findings { failures, notes } = findings;
    let mut lines: Vec<_> = failures.iter().map(|failure| format!("FAILED: {failure}")).collect();
    lines.extend(notes.iter().map(|note| format!("Note: {note}")));
    lines.push(match failures.is_empty() {
        true => "Within the budget.".to_owned(),
        false => {
            "If it is on purpose: cargo bench -p coprocess-bench --bench instructions -- --record"
                .to_owned()
        }
    });
    lines.push(format!(
        "Where the instructions go: callgrind_annotate {}/instructions/BUILD/NAME.callgrind",
        env!("CARGO_TARGET_TMPDIR")
    ));
    lines.join("\n")
}
