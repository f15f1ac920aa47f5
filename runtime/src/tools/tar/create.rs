//! Makes an archive. The same tree gives the same bytes, so that a copy can go on where it was broken off.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Metadata;
use tar::{Builder, EntryType, Header};

use super::Wish;
use crate::tools::look::DEPTH_MAX;
use crate::tools::streams::Writer;
use crate::tools::tree::{Tree, facts};
use crate::tools::{Bench, said, tool_name};

/// The permissions that an archive keeps.
const MODE_BITS: u32 = 0o7777;

/// An output whose first bytes are left out.
struct Tail<'a> {
    left_out: u64,
    to: &'a mut Writer,
}

impl Write for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.left_out).unwrap_or(usize::MAX).min(bytes.len());
        self.left_out -= u64::try_from(skipped).unwrap_or(0);
        self.to.write_all(bytes.get(skipped..).unwrap_or_default())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes the archive, without its first bytes. Tells whether all is in it.
///
/// # Errors
/// An I/O error when there is no client any more.
pub(super) fn create(bench: &mut Bench, wish: &Wish, left_out: u64) -> io::Result<bool> {
    let Bench { args, tree, stdout, stderr, .. } = bench;
    let tool = tool_name(args).to_owned();
    let mut say = |what: String| {
        writeln!(stderr, "{tool}: {what}")?;
        stderr.flush()
    };
    let mut archive = Builder::new(Tail { left_out, to: stdout });
    let (mut whole, mut told) = (true, false);
    for name in &wish.names {
        let top = PathBuf::from(name);
        let prefix = outside(&top);
        if !prefix.as_os_str().is_empty() && !std::mem::replace(&mut told, true) {
            say(format!("Removing leading `{}' from member names", prefix.display()))?;
        }
        let mut waiting = vec![top.clone()];
        while let Some(path) = waiting.pop() {
            let found = if wish.follow_links { tree.look_behind_links(&path) } else { tree.look(&path) };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    say(format!("{}: Cannot stat: {}", path.display(), said(&error)))?;
                    whole = false;
                    continue;
                }
            };
            let member = path.strip_prefix(&prefix).unwrap_or(&path);
            let member = if member.as_os_str().is_empty() { Path::new(".") } else { member };
            if wish.verbose {
                say_name(&mut say, member)?;
            }
            let mut header = header(&found);
            if found.is_dir() {
                header.set_entry_type(EntryType::Directory);
                archive.append_data(&mut header, member.join(""), io::empty())?;
                match tree.list(&path) {
                    Ok(_) if path.components().count() >= DEPTH_MAX => {
                        say(format!("{}: Cannot open: File name too long", path.display()))?;
                        whole = false;
                    }
                    Ok(names) => waiting.extend(names.into_iter().rev().map(|name| path.join(name))),
                    Err(error) => {
                        say(format!("{}: Cannot open: {}", path.display(), said(&error)))?;
                        whole = false;
                    }
                }
            } else if found.is_symlink() {
                let to = tree.read_link(&path).unwrap_or_default();
                header.set_entry_type(EntryType::Symlink);
                archive.append_link(&mut header, member, to)?;
            } else if found.is_file() {
                if let Some(problem) = append_file(&mut archive, header, member, tree, (&path, found.len()))? {
                    say(format!("{}: {problem}", path.display()))?;
                    whole = false;
                }
            } else {
                say(format!("{}: neither file, directory nor link; ignored", path.display()))?;
            }
        }
    }
    archive.into_inner()?.flush()?;
    Ok(whole)
}

/// Appends a file of this length. Returns what is wrong with it, if something is.
///
/// # Errors
/// An I/O error when there is no client any more.
fn append_file(
    archive: &mut Builder<Tail<'_>>,
    mut header: Header,
    member: &Path,
    tree: &Tree,
    (path, length): (&Path, u64),
) -> io::Result<Option<String>> {
    let file = match tree.read(path) {
        Ok(file) => file,
        Err(error) => return Ok(Some(format!("Cannot open: {}", said(&error)))),
    };
    header.set_size(length);
    let mut exact = Exact { from: file.take(length), left: length, shrank: false };
    archive.append_data(&mut header, member, &mut exact)?;
    Ok(exact.shrank.then(|| "File shrank; padding with zeros".to_owned()))
}

fn say_name(say: &mut impl FnMut(String) -> io::Result<()>, member: &Path) -> io::Result<()> {
    say(member.display().to_string())
}

fn header(found: &Metadata) -> Header {
    let (mode, owner, group, modified) = facts(found);
    let mut header = Header::new_gnu();
    header.set_mode(mode & MODE_BITS);
    header.set_uid(u64::from(owner));
    header.set_gid(u64::from(group));
    header.set_mtime(u64::try_from(modified).unwrap_or(0));
    header.set_size(0);
    header
}

/// What of a name is left out, since a member's name begins inside: a leading `/`, and all up to the last `..`.
fn outside(path: &Path) -> PathBuf {
    let mut inside = path.components().collect::<Vec<_>>();
    let last = inside.iter().rposition(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
    inside.truncate(last.map_or(0, |last| last + 1));
    inside.into_iter().collect()
}

/// Gives as many bytes as were promised, zeros where the file has become shorter.
struct Exact<R> {
    from: R,
    left: u64,
    shrank: bool,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let Some(into) = into.get_mut(..most).filter(|into| !into.is_empty()) else { return Ok(0) };
        let mut read = if self.shrank { 0 } else { self.from.read(into).unwrap_or(0) };
        if read == 0 {
            self.shrank = true;
            into.fill(0);
            read = into.len();
        }
        self.left -= u64::try_from(read).unwrap_or(self.left);
        Ok(read)
    }
}
