//! What an idle pair costs, seen from outside.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::measure::{Bound, Plan, Verdict, progress};
use crate::subjects::household::{Household, Kind};

/// Waits until all threads have gone to sleep.
const SETTLING: Duration = Duration::from_millis(500);

pub(super) fn measure(plan: &Plan) -> Result<Vec<Verdict>> {
    let time = Duration::from_secs(if plan.quick { 2 } else { 10 });
    let household = Household::start(Path::new("/proc/self/exe"), Kind::Pairs, 1)?;
    thread::sleep(SETTLING);
    progress(&format!("an idle pair: {time:?}"));
    let before = Activity::of(&household)?;
    thread::sleep(time);
    let after = Activity::of(&household)?;
    progress("");
    if before.threads != after.threads {
        return Err(format!("{} threads have become {}", before.threads, after.threads).into());
    }
    let detail = format!(
        "{} threads of two processes, both ends with handlers, over {time:?}",
        after.threads
    );
    Ok(vec![
        Verdict::new(
            "wake-ups of an idle pair",
            (after.switches - before.switches) as f64,
            "switches",
        )
        .must(Bound::AtMost(0.0))
        .detail(detail.clone()),
        Verdict::new("CPU of an idle pair", (after.nanos - before.nanos) as f64, "ns")
            .must(Bound::AtMost(0.0))
            .detail(detail),
    ])
}

/// The activity of all threads of all processes of a household, since their start.
struct Activity {
    threads: usize,
    /// Counts context switches, voluntary or not.
    switches: u64,
    /// Counts nanoseconds on a processor.
    nanos: u64,
}

impl Activity {
    fn of(household: &Household) -> Result<Activity> {
        let mut sum = Activity { threads: 0, switches: 0, nanos: 0 };
        for process in household.processes() {
            for task in fs::read_dir(format!("/proc/{process}/task"))? {
                let task = task?.path();
                let status = fs::read_to_string(task.join("status"))?;
                let switches = status.lines().filter_map(|line| {
                    line.split_once("voluntary_ctxt_switches:")?.1.trim().parse::<u64>().ok()
                });
                sum.switches += switches.sum::<u64>();
                let schedule = fs::read_to_string(task.join("schedstat"))?;
                sum.nanos += schedule
                    .split_whitespace()
                    .next()
                    .ok_or("the kernel does not say how long a thread ran")?
                    .parse::<u64>()?;
                sum.threads += 1;
            }
        }
        Ok(sum)
    }
}
