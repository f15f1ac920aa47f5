//! A terminal: a pseudoterminal of the kernel, whose line discipline echoes, edits lines and ends them as everywhere.
//!
//! Its far side belongs to the program, its near side to whoever sits in front of it. Nobody has it as a controlling
//! terminal, so that the kernel sends no signal for ^C and its like: see [`Keys`].

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, Winsize, tcflow, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a terminal's program is told of its sort.
pub(crate) const TERM: &str = "xterm";

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

/// A terminal, as whoever sits in front of it has it.
#[derive(Debug)]
pub(crate) struct Terminal {
    near: AsyncFd<OwnedFd>,
    far: FarSide,
}

/// A terminal, as its program has it.
#[derive(Debug, Clone)]
pub(crate) struct FarSide(Arc<Mutex<Option<AsyncFd<OwnedFd>>>>);

impl Terminal {
    /// A new one.
    ///
    /// # Errors
    /// An I/O error if the system has none to give.
    pub(crate) fn open() -> io::Result<Self> {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        rustix::io::ioctl_fionbio(&near, true)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let far = rustix::fs::open(ptsname(&near, Vec::new())?, flags, Mode::empty())?;
        edit_whole_characters(&far)?;
        Ok(Self { near: polled(near)?, far: FarSide(Arc::new(Mutex::new(Some(polled(far)?)))) })
    }

    /// The program's side.
    pub(crate) fn far_side(&self) -> FarSide {
        self.far.clone()
    }

    /// Tells the kernel how large it is.
    ///
    /// # Errors
    /// An I/O error of the system's.
    pub(crate) fn resize(&self, size: Size) -> io::Result<()> {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.near, size)?)
    }

    /// What it shows next; nothing after it has been hung up.
    ///
    /// # Errors
    /// An I/O error of the system's.
    pub(crate) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.near.readable().await?;
            match guard.try_io(|fd| Ok(rustix::io::read(fd, &mut *into)?)) {
                Ok(read) => return end_at_hang_up(read),
                Err(_would_block) => {}
            }
        }
    }

    /// Types `bytes`.
    ///
    /// # Errors
    /// An I/O error of the system's.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = self.near.writable().await?;
            if let Ok(written) = guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                bytes = bytes.get(written?..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Goes on to show what is written, if ^S had stopped that.
    pub(crate) fn resume(&self) {
        if let Some(far) = &*self.far.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It fails where nothing is to be resumed.
            let _ = tcflow(far, Action::OOn);
        }
    }

    /// The program is gone: what it wrote can be read still, and then the end.
    pub(crate) fn hang_up(&self) {
        drop(self.far.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[expect(deprecated, reason = "its successor is unsafe, since it takes what may be closed meanwhile; this fd is owned")]
fn polled(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// A terminal whose other side is closed fails with this, and that is how it ends.
fn end_at_hang_up(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
        other => other,
    }
}

/// The key that takes back a character takes back all its bytes.
#[cfg(target_os = "linux")]
fn edit_whole_characters(far: &OwnedFd) -> io::Result<()> {
    use rustix::termios::{InputModes, OptionalActions, tcgetattr, tcsetattr};
    let mut modes = tcgetattr(far)?;
    modes.input_modes |= InputModes::IUTF8;
    Ok(tcsetattr(far, OptionalActions::Now, &modes)?)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it is one of two")]
fn edit_whole_characters(_far: &OwnedFd) -> io::Result<()> {
    Ok(())
}

impl AsyncRead for FarSide {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let far = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fd) = far.as_ref() else { return Poll::Ready(Ok(())) };
        loop {
            let mut guard = ready!(fd.poll_read_ready(context))?;
            let room = into.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd, room)?)) {
                Ok(read) => {
                    into.advance(end_at_hang_up(read)?);
                    return Poll::Ready(Ok(()));
                }
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for FarSide {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let far = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fd) = far.as_ref() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut guard = ready!(fd.poll_write_ready(context))?;
            if let Ok(written) = guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A key that ends a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// ^C
    Interrupt,
    /// ^\
    Quit,
}

impl Signal {
    /// The exit code of a program that it ended, by the shell's convention.
    pub(crate) fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Quit => 128 + 3,
        }
    }
}

/// Looks for the keys that end a program among those that are typed. The kernel takes them out of the input and shows
/// them, but sends its signals to processes only, and a guest is none. A guest cannot change the terminal's modes, so
/// that these keys always mean the same; ^V before one makes it a plain character, as for the kernel.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    literal: bool,
}

impl Keys {
    /// The first key that ends a program, if one is among `bytes`.
    pub(crate) fn signal(&mut self, bytes: &[u8]) -> Option<Signal> {
        bytes.iter().find_map(|byte| {
            if std::mem::take(&mut self.literal) {
                return None;
            }
            match byte {
                0x03 => Some(Signal::Interrupt),
                0x1c => Some(Signal::Quit),
                0x16 => {
                    self.literal = true;
                    None
                }
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Reads what the terminal shows until it is `wanted`.
    async fn shows(terminal: &Terminal, wanted: &str) {
        let mut shown = Vec::new();
        while shown.len() < wanted.len() {
            let mut some = [0; 64];
            let read = terminal.read(&mut some).await.unwrap();
            shown.extend_from_slice(&some[..read]);
        }
        assert_eq!(String::from_utf8(shown).unwrap(), wanted);
    }

    #[tokio::test]
    async fn a_line_is_echoed_and_edited_and_comes_whole() {
        let terminal = Terminal::open().unwrap();
        let mut program = terminal.far_side();
        terminal.write_all("ü\x7fmoix\x7fn\r".as_bytes()).await.unwrap();
        let mut line = [0; 64];
        let read = program.read(&mut line).await.unwrap();
        assert_eq!(&line[..read], b"moin\n");
        shows(&terminal, "ü\u{8} \u{8}moix\u{8} \u{8}n\r\n").await;
        program.write_all(b"a\nb\n").await.unwrap();
        shows(&terminal, "a\r\nb\r\n").await;
    }

    #[tokio::test]
    async fn control_d_at_the_beginning_of_a_line_ends_the_input() {
        let terminal = Terminal::open().unwrap();
        let mut program = terminal.far_side();
        terminal.write_all(b"\x04").await.unwrap();
        assert_eq!(program.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_was_shown_before_the_hang_up_can_be_read() {
        let terminal = Terminal::open().unwrap();
        terminal.far_side().write_all(b"last words").await.unwrap();
        terminal.hang_up();
        shows(&terminal, "last words").await;
        assert_eq!(terminal.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(terminal.far_side().write_all(b"more").await.is_err());
    }

    #[test]
    fn keys_that_end_a_program_are_found_unless_they_are_quoted() {
        assert_eq!(Keys::default().signal(b"ab\x03\x1c"), Some(Signal::Interrupt));
        assert_eq!(Keys::default().signal(b"\x1c"), Some(Signal::Quit));
        assert_eq!(Keys::default().signal(b"a\x16\x03"), None);
        let mut keys = Keys::default();
        assert_eq!(keys.signal(b"\x16"), None);
        assert_eq!(keys.signal(b"\x03"), None);
        assert_eq!(keys.signal(b"\x03"), Some(Signal::Interrupt));
    }
}
