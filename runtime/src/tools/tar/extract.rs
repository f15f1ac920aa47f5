//! Takes an archive, or lists it. Nothing in it is trusted: no member is written outside of the tree, and none that
//! is neither file, directory nor link.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use super::{Verb, Wish, lost};
use crate::console::PIECE_BYTES;
use crate::tools::streams::Reader;
use crate::tools::tree::{Tree, finish};
use crate::tools::{Bench, said, tool_name};

/// What is left of an archive's modes: nothing is run by its mode here, and so nobody becomes somebody else by it.
const MODE_BITS: u32 = 0o777;

/// What is taken away from modes, unless they are wanted as they are: what others could change.
const MASK: u32 = 0o022;

/// A guest has no user of its own: whatever the archive says, it and the node can use what was taken.
const FILE_MODE_MIN: u32 = 0o600;

/// As [`FILE_MODE_MIN`].
const DIRECTORY_MODE_MIN: u32 = 0o700;

/// What may follow the end of an archive: the rest of a record.
const RECORD_BYTES: u64 = 10 * 1024;

/// How large all may be that is said of one member, such as its name, before it is taken: it is held in memory.
const ABOUT_BYTES_MAX: u64 = 1024 * 1024;

/// What became of a member.
enum Taken {
    Yes,
    /// Left out, and why.
    No(String),
}

/// Takes or lists the archive. Tells whether all of it was taken; nothing, if it could not be read to its end.
///
/// # Errors
/// An I/O error when there is no client any more.
pub(super) fn extract(bench: &mut Bench, wish: &Wish) -> io::Result<Option<bool>> {
    let broken = {
        let Bench { args, tree, stdin, stdout, stderr, .. } = &mut *bench;
        let tool = tool_name(args).to_owned();
        let mut say = |what: &str| {
            writeln!(stderr, "{tool}: {what}")?;
            stderr.flush()
        };
        let limit = Limit(Cell::new(Some(ABOUT_BYTES_MAX)));
        let mut archive = Archive::new(Limited { from: &mut *stdin, limit: &limit });
        let (mut whole, mut told) = (true, false);
        let mut entries = archive.entries()?;
        let broken = loop {
            let mut entry = match entries.next() {
                None => break None,
                Some(Ok(entry)) => entry,
                Some(Err(error)) => break Some(said(&error)),
            };
            limit.0.set(None);
            let raw = entry.path_bytes().into_owned();
            let name = Path::new(OsStr::from_bytes(&raw)).to_owned();
            let wanted = is_wanted(&name, &wish.names);
            if wanted && (wish.verb == Verb::List || wish.verbose) {
                writeln!(stdout, "{}", name.display())?;
            }
            if wanted && wish.verb == Verb::Extract {
                if name.has_root() && !std::mem::replace(&mut told, true) {
                    say("Removing leading `/' from member names")?;
                }
                match take(tree, &mut entry, &name, wish) {
                    Ok(Taken::Yes) => {}
                    Ok(Taken::No(why)) => {
                        say(&format!("{}: {why}", name.display()))?;
                        whole = false;
                    }
                    Err(error) => break Some(said(&error)),
                }
            }
            // What was not taken of it is read all the same, since its length has no limit.
            if let Err(error) = io::copy(&mut entry, &mut io::sink()) {
                break Some(said(&error));
            }
            limit.0.set(Some(ABOUT_BYTES_MAX));
        };
        match broken {
            None => {
                read_rest(stdin);
                return Ok(Some(whole));
            }
            Some(broken) => broken,
        }
    };
    lost(bench, &format!("This does not look like a whole tar archive: {broken}"))?;
    Ok(None)
}

/// How much more may be read now, if that is limited.
struct Limit(Cell<Option<u64>>);

/// An input that ends with an error at its limit.
struct Limited<'a> {
    from: &'a mut Reader,
    limit: &'a Limit,
}

impl Read for Limited<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        if let Some(left) = self.limit.0.get() {
            let left = left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX));
            self.limit.0.set(Some(left.ok_or_else(|| io::Error::other("a member's name is too long"))?));
        }
        Ok(read)
    }
}

/// Whoever sends an archive sends its last record whole.
fn read_rest(stdin: &mut Reader) {
    // Only what is there counts: an error says that there is no more.
    let _ = io::copy(&mut stdin.take(RECORD_BYTES), &mut io::sink());
}

/// Whether a member is among those that are asked for, or below one.
fn is_wanted(name: &Path, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted))
}

/// Takes one member.
///
/// # Errors
/// An I/O error if the archive cannot be read on.
fn take(tree: &Tree, entry: &mut Entry<'_, Limited<'_>>, name: &Path, wish: &Wish) -> io::Result<Taken> {
    let Some(path) = inside(name) else { return Ok(Taken::No("Member name contains '..'".to_owned())) };
    let mask = if wish.same_permissions { 0 } else { MASK };
    let mode = entry.header().mode().unwrap_or(FILE_MODE_MIN) & MODE_BITS & !mask;
    let done = |verb: &str, result: io::Result<()>| match result {
        Ok(()) => Taken::Yes,
        Err(error) => Taken::No(format!("{verb}: {}", said(&error))),
    };
    Ok(match entry.header().entry_type() {
        // Its name is all that there is to it.
        EntryType::XGlobalHeader => Taken::Yes,
        EntryType::Directory => done("Cannot mkdir", tree.create_dir(&path, mode | DIRECTORY_MODE_MIN)),
        // As old archives have it.
        EntryType::Regular if name.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            done("Cannot mkdir", tree.create_dir(&path, mode | DIRECTORY_MODE_MIN))
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let modified = if wish.touch { None } else { entry.header().mtime().ok() };
            return take_file(tree, entry, &path, mode | FILE_MODE_MIN, modified);
        }
        EntryType::Symlink => match link_of(entry)? {
            Some(to) => done(&format!("Cannot create symlink to '{}'", to.display()), tree.create_link(&path, &to)),
            None => Taken::No("a link that leads nowhere".to_owned()),
        },
        EntryType::Link => match link_of(entry)?.as_deref().map(|to| (to, inside(to))) {
            Some((to, Some(of))) => {
                done(&format!("Cannot hard link to '{}'", to.display()), tree.create_name(&path, &of))
            }
            _ => Taken::No("a link that leads nowhere".to_owned()),
        },
        _ => Taken::No("Cannot mknod: Operation not permitted".to_owned()),
    })
}

fn link_of(entry: &Entry<'_, Limited<'_>>) -> io::Result<Option<PathBuf>> {
    Ok(entry.link_name_bytes().map(|bytes| Path::new(OsStr::from_bytes(&bytes)).to_owned()))
}

/// Writes a file. What cannot be written is left out; the rest of the archive comes after it all the same.
///
/// # Errors
/// An I/O error if the archive cannot be read on.
fn take_file(
    tree: &Tree,
    entry: &mut Entry<'_, Limited<'_>>,
    path: &Path,
    mode: u32,
    modified: Option<u64>,
) -> io::Result<Taken> {
    let mut file = match tree.create(path, mode) {
        Ok(file) => file,
        Err(error) => return Ok(Taken::No(format!("Cannot open: {}", said(&error)))),
    };
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = entry.read(&mut piece)?;
        if read == 0 {
            break;
        }
        if let Err(error) = file.write_all(piece.get(..read).unwrap_or_default()) {
            return Ok(Taken::No(format!("Cannot write: {}", said(&error))));
        }
    }
    Ok(match finish(file, mode, modified) {
        Ok(()) => Taken::Yes,
        Err(error) => Taken::No(format!("Cannot change mode: {}", said(&error))),
    })
}

/// The member's path from where it is taken to: without a leading `/`. None, if it has `..`.
fn inside(name: &Path) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    if path.as_os_str().is_empty() { Some(PathBuf::from(".")) } else { Some(path) }
}
