//! The small tools for a look around: `ls`, `cat`, `env`, `printenv`, `pwd` and `echo`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cap_std::fs::Metadata;
use jiff::Timestamp;

use super::tree::facts;
use super::{Bench, said};
use crate::console::PIECE_BYTES;

/// How deep `ls -R` and `tar` go: deeper than any tree of use, and no deeper than a path may be long.
pub(super) const DEPTH_MAX: usize = 1024;

/// Writes files one after the other.
pub(super) fn cat(bench: &mut Bench) -> io::Result<i32> {
    let mut names: Vec<String> =
        bench.args.iter().skip(1).filter(|a| !matches!(a.as_str(), "-u" | "--")).cloned().collect();
    if names.is_empty() {
        names.push("-".to_owned());
    }
    let mut code = 0;
    for name in names {
        if let Some(option) = name.strip_prefix('-').filter(|option| !option.is_empty()) {
            bench.complain(&format!("invalid option -- '{option}'"))?;
            return Ok(1);
        }
        let copied = if name == "-" {
            copy(&mut bench.stdin, &mut bench.stdout)?
        } else {
            match bench.tree.read(Path::new(&name)) {
                Ok(mut file) => copy(&mut file, &mut bench.stdout)?,
                Err(error) => Err(error),
            }
        };
        if let Err(error) = copied {
            bench.complain(&format!("{name}: {}", said(&error)))?;
            code = 1;
        }
    }
    Ok(code)
}

/// Copies to the end. An error of the reading is inside, one of the writing outside.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<io::Result<()>> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(read) => {
                to.write_all(piece.get(..read).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Writes its arguments.
pub(super) fn echo(bench: &mut Bench) -> io::Result<i32> {
    let (words, end) = match bench.args.get(1..).unwrap_or_default() {
        [first, rest @ ..] if first == "-n" => (rest, ""),
        all => (all, "\n"),
    };
    write!(bench.stdout, "{}{end}", words.join(" "))?;
    Ok(0)
}

/// Lists the container's environment.
pub(super) fn env(bench: &mut Bench) -> io::Result<i32> {
    if bench.args.len() > 1 {
        bench.complain("it lists the container's environment and runs nothing: there is nothing else to run")?;
        return Ok(126);
    }
    printenv(bench)
}

/// Writes the values of variables, or the whole environment.
pub(super) fn printenv(bench: &mut Bench) -> io::Result<i32> {
    let wanted = bench.args.get(1..).unwrap_or_default();
    if wanted.is_empty() {
        for (name, value) in &bench.env {
            writeln!(bench.stdout, "{name}={value}")?;
        }
        return Ok(0);
    }
    let mut code = 0;
    for wanted in wanted {
        match bench.env.iter().find(|(name, _)| name == wanted) {
            Some((_, value)) => writeln!(bench.stdout, "{value}")?,
            None => code = 1,
        }
    }
    Ok(code)
}

/// Writes where relative paths begin.
pub(super) fn pwd(bench: &mut Bench) -> io::Result<i32> {
    writeln!(bench.stdout, "{}", bench.tree.working().display())?;
    Ok(0)
}

/// How a directory is listed.
#[derive(Debug, Clone, Copy, Default)]
struct Style {
    /// Names that begin with a dot too.
    all: bool,
    /// `.` and `..` too.
    itself: bool,
    long: bool,
    deep: bool,
    /// A directory for itself, not what is in it.
    only_itself: bool,
}

/// Lists files and directories, one a line.
pub(super) fn ls(bench: &mut Bench) -> io::Result<i32> {
    let mut style = Style::default();
    let mut names = Vec::new();
    for arg in bench.args.iter().skip(1) {
        let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty() && *letters != "-") else {
            if arg != "--" {
                names.push(arg.clone());
            }
            continue;
        };
        for letter in letters.chars() {
            match letter {
                'a' => (style.all, style.itself) = (true, true),
                'A' => style.all = true,
                'l' | 'n' => style.long = true,
                'R' => style.deep = true,
                'd' => style.only_itself = true,
                '1' | 'h' => {}
                other => {
                    let message = format!("invalid option -- '{other}'; there are -a, -A, -l, -n, -R, -d and -1");
                    bench.complain(&message)?;
                    return Ok(2);
                }
            }
        }
    }
    if names.is_empty() {
        names.push(".".to_owned());
    }
    let mut code = 0;
    let several = names.len() > 1;
    for (index, name) in names.into_iter().enumerate() {
        let path = PathBuf::from(name);
        // A link is followed, unless it is looked at for itself.
        let found = if style.long { bench.tree.look(&path) } else { bench.tree.look_behind_links(&path) };
        match found {
            Ok(found) if found.is_dir() && !style.only_itself => {
                if index > 0 {
                    writeln!(bench.stdout)?;
                }
                code = code.max(list(bench, path, style, several)?);
            }
            Ok(found) => line(bench, &path, &path, &found, style)?,
            Err(error) => {
                bench.complain(&format!("cannot access '{}': {}", path.display(), said(&error)))?;
                code = 2;
            }
        }
    }
    Ok(code)
}

/// Lists a directory, and those in it if that is asked for.
fn list(bench: &mut Bench, top: PathBuf, style: Style, titled: bool) -> io::Result<i32> {
    let (mut code, mut first) = (0, true);
    let mut waiting = vec![top];
    while let Some(directory) = waiting.pop() {
        if !std::mem::take(&mut first) {
            writeln!(bench.stdout)?;
        }
        if titled || style.deep {
            writeln!(bench.stdout, "{}:", directory.display())?;
        }
        let mut names = match bench.tree.list(&directory) {
            Ok(names) => names,
            Err(error) => {
                bench.complain(&format!("cannot open directory '{}': {}", directory.display(), said(&error)))?;
                code = 2;
                continue;
            }
        };
        names.retain(|name| style.all || !name.as_os_str().as_encoded_bytes().starts_with(b"."));
        if style.itself {
            names.splice(0..0, [PathBuf::from("."), PathBuf::from("..")]);
        }
        let mut below = Vec::new();
        for name in names {
            let path = directory.join(&name);
            match bench.tree.look(&path) {
                Ok(found) => {
                    let is_itself = name.as_os_str() == "." || name.as_os_str() == "..";
                    if style.deep && found.is_dir() && !is_itself && path.components().count() < DEPTH_MAX {
                        below.push(path.clone());
                    }
                    line(bench, &path, &name, &found, style)?;
                }
                Err(error) => {
                    bench.complain(&format!("cannot access '{}': {}", path.display(), said(&error)))?;
                    code = 1;
                }
            }
        }
        waiting.extend(below.into_iter().rev());
    }
    Ok(code)
}

/// One line of a list.
fn line(bench: &mut Bench, path: &Path, name: &Path, found: &Metadata, style: Style) -> io::Result<()> {
    let name = name.display();
    if !style.long {
        return writeln!(bench.stdout, "{name}");
    }
    let (mode, owner, group, time) = facts(found);
    let time = Timestamp::from_second(time).unwrap_or_default().strftime("%b %e %H:%M %Y");
    write!(bench.stdout, "{} {owner:>5} {group:>5} {:>10} {time} {name}", mode_text(mode), found.len())?;
    if found.is_symlink() {
        let to = bench.tree.read_link(path).unwrap_or_default();
        write!(bench.stdout, " -> {}", to.display())?;
    }
    writeln!(bench.stdout)
}

/// A mode as `ls` writes it: `drwxr-xr-x`.
fn mode_text(mode: u32) -> String {
    use rustix::fs::FileType;
    let sort = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::RegularFile | FileType::Unknown => '-',
    };
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    std::iter::once(sort).chain(bits.map(|(bit, letter)| if mode >> bit & 1 == 1 { letter } else { '-' })).collect()
}
