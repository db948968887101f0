//! Which file to execute in order to run this program again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::process::execute::ITSELF;

/// Returns the path of this program's executable.
///
/// It is [`ITSELF`], which stays right whatever becomes of the file, unless the kernel means another
/// program by that: under valgrind, which runs this one, the link leads to valgrind.
pub(crate) fn path() -> PathBuf {
    beneath_another().unwrap_or_else(|| ITSELF.into())
}

/// The path, if the program runs inside of another one.
///
/// All of this must hold: the file that the kernel knows is not the one that this code was mapped
/// from; the name that the link is read as is the name that it was mapped from; and the file that
/// has this name now is that one. So a program that was moved, removed or mounted over is never
/// taken for what is there now.
fn beneath_another() -> Option<PathBuf> {
    let known = fs::metadata(ITSELF).ok()?;
    // valgrind answers this itself, with the name of the program that it runs; it leaves all else to the kernel.
    let name = fs::read_link(ITSELF).ok()?;
    let named = fs::metadata(&name).ok()?;
    if (named.dev(), named.ino()) == (known.dev(), known.ino()) {
        return None;
    }
    // Devices are numbered in another way there, by some filesystems.
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let (inode, mapped) = mapped_from(&maps, (crate::init as fn() as *const ()).addr())?;
    (inode != known.ino() && inode == named.ino() && Path::new(mapped) == name).then_some(name)
}

/// The inode and the name of the file that is mapped at an address.
fn mapped_from(maps: &str, address: usize) -> Option<(u64, &str)> {
    maps.lines().find_map(|line| {
        // The name may have spaces, and is behind any number of them.
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        if !(number(start)?..number(end)?).contains(&address) {
            return None;
        }
        let mut fields = rest.splitn(4, ' ');
        let inode_and_name = fields.nth(3)?;
        let (inode, name) = inode_and_name.split_once(' ')?;
        Some((inode.parse().ok()?, name.trim_start()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_kernel_says() {
        assert_eq!(beneath_another(), None);
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let (inode, name) = mapped_from(&maps, (it_is_what_the_kernel_says as fn() as *const ()).addr()).unwrap();
        assert_eq!(inode, fs::metadata(ITSELF).unwrap().ino());
        assert_eq!(Path::new(name), fs::read_link(ITSELF).unwrap());
    }

    #[test]
    fn maps_as_the_kernel_writes_them() {
        let maps = "55d0-55e0 r--p 00000000 fd:00 1234                       /a program (deleted)\n\
                    7f00-7f10 rw-p 00000000 00:00 0 \n";
        assert_eq!(mapped_from(maps, 0x55df), Some((1234, "/a program (deleted)")));
        assert_eq!(mapped_from(maps, 0x55e0), None);
        assert_eq!(mapped_from(maps, 0x7f00), Some((0, "")));
        assert_eq!(mapped_from("nonsense\n\n0-z\n", 0), None);
    }
}
