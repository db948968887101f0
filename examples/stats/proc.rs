//! Reads `/proc`: each call reads one round.
//!
//! A file that is missing or makes no sense is `None` in the batch, never an error. Containers hide
//! much of `/proc`, and processes end while they are read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use procfs::net::InterfaceDeviceStatus;
use procfs::process::Stat;
use procfs::{Current, DiskStats, FromRead, LoadAverage, Meminfo};

use crate::protocol::{Batch, CpuTime, Cpus, Memory, Process, ProcessId, Traffic};

/// Bytes of a sector in `/proc/diskstats`, whatever the device's own sectors are.
const SECTOR: u64 = 512;

/// State that one round leaves for the next.
#[derive(Debug)]
pub(crate) struct Reader {
    began: Instant,
    page_size: u64,
    buffer: Vec<u8>,
    /// Whether a block device is a partition. The disk of a partition counts its traffic, too.
    partitions: HashMap<String, bool>,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader {
            began: Instant::now(),
            page_size: procfs::page_size(),
            buffer: vec![0; 4096],
            partitions: HashMap::new(),
        }
    }

    pub(crate) fn round(&mut self, number: u64) -> Batch {
        Batch {
            number,
            at: self.began.elapsed(),
            cpus: self.cpus().ok(),
            memory: memory(),
            load: LoadAverage::current().ok().map(|load| load.one),
            disks: self.disks(),
            networks: networks(),
            processes: self.processes().ok(),
        }
    }

    /// Reads the processors' times, from the `cpu` lines at the start of the file.
    ///
    /// procfs would also parse the long line of interrupt counts after them, and drop the numbers
    /// of the processors.
    fn cpus(&mut self) -> io::Result<Cpus> {
        let text = read(&mut self.buffer, "/proc/stat")?;
        let text = str::from_utf8(text).map_err(io::Error::other)?;
        let mut cpus = Cpus { all: CpuTime::default(), each: Vec::new() };
        for line in text.lines().take_while(|line| line.starts_with("cpu")) {
            let mut fields = line["cpu".len()..].split(' ');
            let number = fields.next().unwrap_or_default();
            let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
            let [user, nice, system, idle, ref rest @ ..] = ticks[..] else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            // Old kernels end the line earlier. The last two fields, guest and guest_nice, are part
            // of user and nice.
            let later = |index: usize| rest.get(index).copied().unwrap_or(0);
            let time = CpuTime {
                user: user + nice,
                system: system + later(1) + later(2),
                steal: later(3),
                idle: idle + later(0),
            };
            match number.parse() {
                Ok(number) => cpus.each.push((number, time)),
                Err(_) => cpus.all = time,
            }
        }
        Ok(cpus)
    }

    fn disks(&mut self) -> Option<Vec<Traffic>> {
        let mut disks = Vec::new();
        for disk in DiskStats::current().ok()?.0 {
            // Most machines list a dozen loop and RAM devices that are not in use.
            if disk.reads == 0 && disk.writes == 0 || self.is_partition(&disk.name) {
                continue;
            }
            disks.push(Traffic {
                device: disk.name,
                inward: disk.sectors_read * SECTOR,
                outward: disk.sectors_written * SECTOR,
            });
        }
        Some(disks)
    }

    fn is_partition(&mut self, device: &str) -> bool {
        if let Some(&known) = self.partitions.get(device) {
            return known;
        }
        let is_partition =
            Path::new("/sys/class/block").join(device.replace('/', "!")).join("partition").exists();
        self.partitions.insert(device.to_owned(), is_partition);
        is_partition
    }

    /// Reads all processes, with one open and one read for each.
    ///
    /// The iterator of procfs also opens and examines each directory.
    fn processes(&mut self) -> io::Result<Vec<Process>> {
        let mut processes = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(name) =
                name.to_str().filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            else {
                continue;
            };
            // If this fails, the process has ended since the directory was read, or is hidden.
            let Ok(text) = read(&mut self.buffer, &format!("/proc/{name}/stat")) else {
                continue;
            };
            let Ok(stat) = Stat::from_read(text) else {
                continue;
            };
            processes.push(Process {
                id: ProcessId { pid: stat.pid, started: stat.starttime },
                name: stat.comm,
                ticks: stat.utime + stat.stime,
                resident: stat.rss * self.page_size,
            });
        }
        Ok(processes)
    }
}

fn memory() -> Option<Memory> {
    let info = Meminfo::current().ok()?;
    Some(Memory {
        total: info.mem_total,
        available: info.mem_available.unwrap_or(info.mem_free),
        swap_total: info.swap_total,
        swap_free: info.swap_free,
    })
}

fn networks() -> Option<Vec<Traffic>> {
    let interfaces = InterfaceDeviceStatus::current().ok()?.0;
    let mut networks: Vec<Traffic> = interfaces
        .into_values()
        .filter(|interface| interface.recv_packets != 0 || interface.sent_packets != 0)
        .map(|interface| Traffic {
            device: interface.name,
            inward: interface.recv_bytes,
            outward: interface.sent_bytes,
        })
        .collect();
    networks.sort_by(|a, b| a.device.cmp(&b.device));
    Some(networks)
}

/// Reads a whole file.
///
/// The standard library asks for the size of a file first. This function does not: under `/proc`,
/// the size is always 0.
fn read<'a>(buffer: &'a mut Vec<u8>, path: &str) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..])? {
            0 => return Ok(&buffer[..filled]),
            n => filled += n,
        }
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
    }
}
