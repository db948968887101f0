//! Examines the program's own executable: where it lies in memory, and whether executing
//! `/proc/self/exe` would run it again.
//!
//! A worker of `fork` runs the executable again. So the executable must contain the worker
//! function, and the copy of this library that its `main` calls. In a plug-in that is not so: the
//! executable is then a foreign host.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, io};

use crate::sync::own::Own;

/// Names the running program, whatever has become of its file since the start.
pub(crate) const SELF_EXE: &str = "/proc/self/exe";

/// Describes the executable in the memory of this process.
#[derive(Debug, Default)]
struct Executable {
    /// The difference between an address in memory and the address in the file.
    base: usize,
    /// The ranges that hold code.
    code: Vec<Range<usize>>,
}

static EXECUTABLE: OnceLock<Executable> = OnceLock::new();

/// Finds the executable in memory. `init` calls this before the program has threads: the search
/// takes a lock of the dynamic linker, which a child of fork(2) may find locked for ever.
///
/// Not inlined: the address of this function identifies this copy of the library.
#[inline(never)]
pub(crate) fn learn() {
    EXECUTABLE.get_or_init(|| {
        let mut executable = Executable::default();
        // SAFETY: the C library calls `look` with `executable` before `dl_iterate_phdr` returns,
        // and keeps neither.
        unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut executable).cast()) };
        executable
    });
}

/// Looks at one object, and fills in `found` if the object is the executable. Returns nonzero to
/// end the search.
unsafe extern "C" fn look(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the C library passes a description that is valid during the call.
    let info = unsafe { &*info };
    // SAFETY: these are the program headers of an object that stays loaded during the call.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
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
    // SAFETY: `learn` passes its `executable`, which nothing else uses meanwhile.
    let found = unsafe { &mut *found.cast::<Executable>() };
    *found = Executable {
        base,
        code: loaded.filter(|(_, is_code)| *is_code).map(|(range, _)| range).collect(),
    };
    1
}

/// Returns where the program begins to run: an address in the executable, wherever this library is.
fn entry_point() -> usize {
    // SAFETY: reads a number that the kernel gave this process when it was executed.
    usize::try_from(unsafe { libc::getauxval(libc::AT_ENTRY) }).unwrap_or(0)
}

/// Returns `true` if the executable has code at this address. Before [`learn`], always `false`.
pub(crate) fn has_code_at(address: usize) -> bool {
    EXECUTABLE
        .get()
        .is_some_and(|executable| executable.code.iter().any(|range| range.contains(&address)))
}

/// Returns the address that distances within the executable count from.
pub(crate) fn base() -> usize {
    EXECUTABLE.get().map_or(0, |executable| executable.base)
}

/// Says what executing [`SELF_EXE`] would run.
#[derive(Debug, PartialEq, Eq)]
enum SelfExe {
    /// The executable, whatever has become of its file since it was started.
    Executable,
    /// An emulator or a checker, such as valgrind, which runs the executable at this path as its
    /// guest.
    Host { guest: PathBuf },
    /// Another file, such as the dynamic linker, where the program was started through it.
    StandIn(PathBuf),
}

impl Default for SelfExe {
    fn default() -> SelfExe {
        // If /proc cannot be read, that is no reason to refuse: executing the file says more.
        examine().unwrap_or(SelfExe::Executable)
    }
}

fn self_exe() -> &'static SelfExe {
    static EXAMINED: Own<SelfExe> = Own::new();
    EXAMINED.get()
}

/// Returns the file that would run in place of the executable, if there is one.
pub(crate) fn stand_in() -> Option<&'static Path> {
    match self_exe() {
        SelfExe::StandIn(path) => Some(path),
        SelfExe::Executable | SelfExe::Host { .. } => None,
    }
}

/// Returns the path to execute in order to run this program again.
pub(crate) fn path() -> &'static Path {
    match self_exe() {
        SelfExe::Host { guest } => guest,
        SelfExe::Executable | SelfExe::StandIn(_) => Path::new(SELF_EXE),
    }
}

/// Finds out what executing [`SELF_EXE`] would run.
fn examine() -> io::Result<SelfExe> {
    // A host answers `readlink` with the name of its guest, and leaves all else to the kernel.
    let link = fs::read_link(SELF_EXE)?;
    let maps = fs::read("/proc/self/maps")?;
    let Some((inode, name)) = file_mapped_at(&maps, entry_point()) else {
        return Ok(SelfExe::Executable);
    };
    // The kernel makes both names in one way, also for a file that was removed or is out of reach
    // by its name. In the table of mappings, the kernel escapes newlines.
    let linked: Vec<u8> = link.as_os_str().as_bytes().iter().flat_map(escaped).copied().collect();
    if name != linked {
        return Ok(SelfExe::StandIn(link));
    }
    // A guest's file is executed by its name only if that file is still the mapped one. Compared by
    // inode alone: some filesystems number devices differently in the table of mappings.
    let is_host = fs::metadata(SELF_EXE)?.ino() != inode
        && fs::metadata(&link).is_ok_and(|named| named.ino() == inode);
    Ok(if is_host { SelfExe::Host { guest: link } } else { SelfExe::Executable })
}

/// Escapes a byte of a name as the table of mappings does.
fn escaped(byte: &u8) -> &[u8] {
    if *byte == b'\n' { b"\\012" } else { std::slice::from_ref(byte) }
}

/// Returns inode and name of the file that is mapped at an address, as in `/proc/self/maps`.
///
/// Returns `None` for memory without a file, such as code that was copied there for larger pages.
fn file_mapped_at(maps: &[u8], address: usize) -> Option<(u64, &[u8])> {
    maps.split(|byte| *byte == b'\n').find_map(|line| {
        // The fields: range, rights, offset, device, inode, and the name after spaces.
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

/// Parses a range of addresses, `from-to` in hexadecimal.
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
        assert!(!has_code_at((&raw const EXECUTABLE).addr()), "the static is data");
        // A function of the C library, unless the library is linked into the executable.
        #[cfg(not(target_feature = "crt-static"))]
        {
            // SAFETY: a valid handle, and a C string.
            let there = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"atoi".as_ptr()) };
            assert!(!there.is_null() && !has_code_at(there.addr()));
        }
        assert_eq!(*self_exe(), SelfExe::Executable);
    }
}
