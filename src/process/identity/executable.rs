//! The program's own executable: which object file in memory it is, and whether executing
//! `/proc/self/exe` would run it again.
//!
//! A worker of `fork` is the executable, run again, so its function must be in there, and so must the
//! copy of this library that its `main` calls. In a plug-in that is not so: the executable is then a
//! foreign host.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, io};

use crate::process::Own;

/// The program itself, whatever has become of its file since it was started.
pub(crate) const ITSELF: &str = "/proc/self/exe";

/// The executable in the memory of this process.
#[derive(Debug, Default)]
struct Executable {
    /// What is added to the addresses that are in the file.
    base: usize,
    /// Where its code is.
    code: Vec<Range<usize>>,
}

static EXECUTABLE: OnceLock<Executable> = OnceLock::new();

/// Finds out where the executable is. `init` does so, before there are threads: the search takes a lock
/// of the dynamic linker that a child of fork(2) may find locked for ever.
///
/// Not inlined: its address says where this copy of the library is.
#[inline(never)]
pub(crate) fn learn() {
    EXECUTABLE.get_or_init(|| {
        let mut executable = Executable::default();
        // SAFETY: the C library calls `look` with `executable`, before this returns, and keeps neither.
        unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut executable).cast()) };
        executable
    });
}

/// Looks at one object: returns nonzero to end the search.
unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: libc::size_t, found: *mut c_void) -> c_int {
    // SAFETY: the C library passes a description that is valid during the call.
    let info = unsafe { &*info };
    // SAFETY: these are the program headers of an object that stays loaded during the call.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let base = usize::try_from(info.dlpi_addr).unwrap_or(0);
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).map(|header| {
        let from = base.wrapping_add(usize::try_from(header.p_vaddr).unwrap_or(0));
        let to = from.wrapping_add(usize::try_from(header.p_memsz).unwrap_or(0));
        (from..to, header.p_flags & libc::PF_X != 0)
    });
    let entry = entry_point();
    if !loaded.clone().any(|(range, _)| range.contains(&entry)) {
        return 0;
    }
    // SAFETY: `learn` passes its own, which nothing else uses meanwhile.
    let found = unsafe { &mut *found.cast::<Executable>() };
    *found = Executable { base, code: loaded.filter(|(_, is_code)| *is_code).map(|(range, _)| range).collect() };
    1
}

/// Where the program begins to run: an address in the executable, wherever this library is.
fn entry_point() -> usize {
    // SAFETY: reads a number that the kernel gave this process when it was executed.
    usize::try_from(unsafe { libc::getauxval(libc::AT_ENTRY) }).unwrap_or(0)
}

/// Whether the executable has code at this address. Nothing has before [`learn`].
pub(crate) fn has_code_at(address: usize) -> bool {
    EXECUTABLE.get().is_some_and(|executable| executable.code.iter().any(|range| range.contains(&address)))
}

/// Where the executable's own addresses begin.
pub(crate) fn base() -> usize {
    EXECUTABLE.get().map_or(0, |executable| executable.base)
}

/// What executing [`ITSELF`] would run.
#[derive(Debug, PartialEq, Eq)]
enum Itself {
    /// The executable, whatever has become of its file since it was started.
    Executable,
    /// An emulator or a checker, such as valgrind, which runs the executable as its guest: at this path.
    Host { guest: PathBuf },
    /// Another file, such as the dynamic linker, where the program was started through it.
    StandIn(PathBuf),
}

impl Default for Itself {
    fn default() -> Itself {
        // What cannot be read is no reason to refuse: executing it says more.
        examine().unwrap_or(Itself::Executable)
    }
}

fn itself() -> &'static Itself {
    static ITSELF: Own<Itself> = Own::new();
    ITSELF.get()
}

/// Another file that would run in place of the executable, if there is one.
pub(crate) fn stand_in() -> Option<&'static Path> {
    match itself() {
        Itself::StandIn(path) => Some(path),
        Itself::Executable | Itself::Host { .. } => None,
    }
}

/// What to execute in order to run this program again.
pub(crate) fn path() -> &'static Path {
    match itself() {
        Itself::Host { guest } => guest,
        Itself::Executable | Itself::StandIn(_) => Path::new(ITSELF),
    }
}

fn examine() -> io::Result<Itself> {
    // A host answers this with the name of its guest, and leaves all else to the kernel.
    let link = fs::read_link(ITSELF)?;
    let maps = fs::read("/proc/self/maps")?;
    let Some((inode, name)) = file_mapped_at(&maps, entry_point()) else { return Ok(Itself::Executable) };
    // Both are what the kernel says of the same kind of reference: a file that was removed, or that
    // is out of reach by its name, is named alike. In a table of lines a line's end is escaped.
    let linked: Vec<u8> = link.as_os_str().as_bytes().iter().flat_map(escaped).copied().collect();
    if name != linked {
        return Ok(Itself::StandIn(link));
    }
    // A guest's file is only executed by its name if it still is the one that was mapped. Some
    // filesystems number devices in another way in the table of mappings.
    let is_host = fs::metadata(ITSELF)?.ino() != inode && fs::metadata(&link).is_ok_and(|named| named.ino() == inode);
    Ok(if is_host { Itself::Host { guest: link } } else { Itself::Executable })
}

fn escaped(byte: &u8) -> &[u8] {
    if *byte == b'\n' { b"\\012" } else { std::slice::from_ref(byte) }
}

/// The inode and the name of the file that is mapped at an address, in the form of `/proc/self/maps`.
/// Code that was copied to memory without a file, for larger pages, has none.
fn file_mapped_at(maps: &[u8], address: usize) -> Option<(u64, &[u8])> {
    maps.split(|byte| *byte == b'\n').find_map(|line| {
        // The range, the rights, the offset, the device, the inode; spaces; the name.
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let range = range(fields.next()?)?;
        if !range.contains(&address) {
            return None;
        }
        let inode = std::str::from_utf8(fields.nth(3)?).ok()?.parse().ok()?;
        let name = fields.next()?.trim_ascii_start();
        name.starts_with(b"/").then_some((inode, name))
    })
}

fn range(text: &[u8]) -> Option<Range<usize>> {
    let (from, to) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"1000-2000 r-xp 00000000 08:01 17      /usr/bin/a b\\012c (deleted)\n\
        2000-3000 rw-p 00000000 00:00 0 \n\
        3000-4000 r-xp 00000000 00:00 0       [vdso]";

    #[test]
    fn what_is_mapped_where() {
        assert_eq!(file_mapped_at(MAPS, 0x1000), Some((17, &b"/usr/bin/a b\\012c (deleted)"[..])));
        for address in [0xfff, 0x2000, 0x3000, 0x4000] {
            assert_eq!(file_mapped_at(MAPS, address), None, "{address:#x}");
        }
    }

    #[test]
    fn this_test_is_in_the_executable() {
        learn();
        let here = what_is_mapped_where as fn() as *const c_void;
        assert!(has_code_at(here.addr()));
        assert!(!has_code_at((&raw const EXECUTABLE).addr()), "that is data");
        // The C library, unless it is a part of the executable.
        #[cfg(not(target_feature = "crt-static"))]
        {
            // SAFETY: both are what the function takes.
            let there = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"atoi".as_ptr()) };
            assert!(!there.is_null() && !has_code_at(there.addr()));
        }
        assert_eq!(*itself(), Itself::Executable);
    }
}
