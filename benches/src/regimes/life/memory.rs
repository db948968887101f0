//! Memory of a pair: the difference to the same processes without a pair.

use std::fs;
use std::io;
use std::ops::Sub;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::measure::{Bound, Plan, Verdict, median, progress};
use crate::subjects::household::{Household, Kind};

/// Counts the pairs of the larger household, which shows what a further pair takes.
const MANY: usize = 8;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Verdict>> {
    let executable = ExecutableCopy::make()?;
    let times = if plan.quick { 3 } else { 9 };
    let mut first = Vec::new();
    let mut further = Vec::new();
    for time in 0..times {
        progress(&format!("memory of a pair: {} of {times}", time + 1));
        let of = |kind, children| Memory::of(&Household::start(executable.path(), kind, children)?);
        let one = of(Kind::Pairs, 1)? - of(Kind::Strangers, 1)?;
        let many = of(Kind::Pairs, MANY)? - of(Kind::Strangers, MANY)?;
        first.push(one);
        further.push((many - one).divided_by((MANY - 1) as f64));
    }
    progress("");
    Ok(vec![
        verdict("memory of a pair with default settings", &first)
            .must(Bound::AtMost(1024.0))
            .aim(Bound::AtMost(700.0)),
        verdict("memory of each further pair", &further),
    ])
}

fn verdict(what: &str, samples: &[Memory]) -> Verdict {
    let median_of = |part: fn(&Memory) -> f64| median(samples.iter().map(part));
    let detail = format!(
        "proportional set size of both processes, over the same without it: {:.0} anonymous, \
         {:.0} shared, {:.0} of files; both ends have handlers, \
         thousands of messages went each way",
        median_of(|memory| memory.anonymous),
        median_of(|memory| memory.shared),
        median_of(|memory| memory.file),
    );
    Verdict::new(what, median_of(Memory::total), "KiB").detail(detail)
}

/// Proportional set size, in KiB.
#[derive(Clone, Copy)]
struct Memory {
    anonymous: f64,
    file: f64,
    shared: f64,
}

impl Memory {
    fn of(household: &Household) -> Result<Memory> {
        let mut sum = Memory { anonymous: 0.0, file: 0.0, shared: 0.0 };
        for process in household.processes() {
            let path = format!("/proc/{process}/smaps_rollup");
            let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let field = |name: &str| -> Result<f64> {
                let value =
                    rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
                Ok(value.ok_or_else(|| format!("{path} has no {name}"))?.trim().parse()?)
            };
            sum.anonymous += field("Pss_Anon:")?;
            sum.file += field("Pss_File:")?;
            sum.shared += field("Pss_Shmem:")?;
        }
        Ok(sum)
    }

    fn total(&self) -> f64 {
        self.anonymous + self.file + self.shared
    }

    fn divided_by(self, number: f64) -> Memory {
        Memory {
            anonymous: self.anonymous / number,
            file: self.file / number,
            shared: self.shared / number,
        }
    }
}

impl Sub for Memory {
    type Output = Memory;

    fn sub(self, other: Memory) -> Memory {
        Memory {
            anonymous: self.anonymous - other.anonymous,
            file: self.file - other.file,
            shared: self.shared - other.shared,
        }
    }
}

/// A copy of this executable, which is removed when this is dropped. Of the original this process
/// has pages in use, and would take a share of what they cost the measured processes.
struct ExecutableCopy(PathBuf);

impl ExecutableCopy {
    fn make() -> io::Result<ExecutableCopy> {
        let mut path = std::env::temp_dir();
        path.push(format!("coprocess-bench-{}", std::process::id()));
        // Before the copy is made, so that the copy is removed whatever happens.
        let copy = ExecutableCopy(path);
        fs::copy("/proc/self/exe", &copy.0)?;
        Ok(copy)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ExecutableCopy {
    fn drop(&mut self) {
        // A copy that cannot be removed is left to the system's cleaning of temporary files.
        let _ = fs::remove_file(&self.0);
    }
}
