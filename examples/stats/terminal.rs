//! The screen of a table that refreshes in place, by plain ANSI sequences.

use std::io::{self, IsTerminal, Write};

/// Moves the cursor to the first character.
const HOME: &str = "\x1b[H";
/// Erases to the end of the line.
const ERASE_LINE: &str = "\x1b[K";
/// Erases to the end of the screen.
const ERASE_BELOW: &str = "\x1b[J";
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// The size of the terminal, in characters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// Standard output as a screen. Dropping it erases the table and shows the cursor again.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Returns `None` if standard output is no terminal, or a terminal without cursor movement.
    pub(crate) fn new() -> Option<Screen> {
        let can_move = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        (io::stdout().is_terminal() && can_move).then(|| Screen(()))
    }

    /// Asks the terminal for its size. Ask for each frame: the user may resize the window at any
    /// time.
    pub(crate) fn size(&self) -> Size {
        let size = window_size().unwrap_or(Size { rows: 24, columns: 80 });
        Size {
            // A character in the last column would leave the cursor on that character, and
            // `ERASE_LINE` would erase it.
            columns: size.columns - 1,
            ..size
        }
    }

    /// Replaces the frame on the screen by this one, in one write: several writes would flicker.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let lines = lines.join(&format!("{ERASE_LINE}\r\n"));
        let mut out = io::stdout().lock();
        out.write_all(format!("{HIDE_CURSOR}{HOME}{lines}{ERASE_LINE}{ERASE_BELOW}").as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // Ignore errors: a terminal that is gone needs no cursor.
        let _ = out.write_all(format!("{HOME}{ERASE_BELOW}{SHOW_CURSOR}").as_bytes());
        let _ = out.flush();
    }
}

/// Returns the size of the window, or `None` if the terminal does not know its size.
#[expect(
    unsafe_code,
    reason = "neither std nor the safe wrappers at hand ask a terminal for its size"
)]
fn window_size() -> Option<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize`, and the pointer leads to one. A descriptor that is
    // no terminal is an error.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_row > 0 && size.ws_col > 0)
        .then_some(Size { rows: size.ws_row, columns: size.ws_col })
}
