//! `tar`: makes and takes archives, as far as `kubectl cp` and its like ask for it, on its standard streams.
//!
//! It follows GNU tar in what it leaves out and how it says so.

mod create;
mod extract;

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Bench, said};
use create::create;
use extract::extract;

/// The exit code when something was left out or went wrong.
const FAILED: i32 = 2;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Extract,
    List,
}

/// What it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    verb: Verb,
    /// Say each name.
    verbose: bool,
    /// Leave the times of the archive.
    touch: bool,
    /// The modes of the archive as they are, without a mask.
    same_permissions: bool,
    /// What links lead to instead of the links.
    follow_links: bool,
    directory: Option<PathBuf>,
    names: Vec<String>,
}

/// Makes, takes or lists an archive.
pub(super) fn tar(bench: &mut Bench) -> io::Result<i32> {
    let wish = match parse(bench.args.get(1..).unwrap_or_default()) {
        Ok(wish) => wish,
        Err(why) => {
            bench.complain(&why)?;
            return Ok(FAILED);
        }
    };
    if let Some(directory) = &wish.directory {
        match bench.tree.look_behind_links(directory) {
            Ok(found) if found.is_dir() => bench.tree.change(directory),
            Ok(_) => return lost(bench, &format!("{}: Cannot open: Not a directory", directory.display())),
            Err(error) => return lost(bench, &format!("{}: Cannot open: {}", directory.display(), said(&error))),
        }
    }
    let whole = match wish.verb {
        Verb::Create => create(bench, &wish, 0)?,
        Verb::Extract | Verb::List => match extract(bench, &wish)? {
            Some(whole) => whole,
            None => return Ok(FAILED),
        },
    };
    if whole {
        return Ok(0);
    }
    bench.complain("Exiting with failure status due to previous errors")?;
    Ok(FAILED)
}

/// The archive of `path` from its byte number `first` on, counted from one.
pub(super) fn tail(bench: &mut Bench, path: &str, first: u64) -> io::Result<i32> {
    let wish = Wish { names: vec![path.to_owned()], ..Wish::of(Verb::Create) };
    create(bench, &wish, first.saturating_sub(1))?;
    // As a shell has it: the last of a pipeline tells how it went.
    Ok(0)
}

/// Says what is wrong, and that nothing can be done any more.
fn lost(bench: &mut Bench, what: &str) -> io::Result<i32> {
    bench.complain(what)?;
    bench.complain("Error is not recoverable: exiting now")?;
    bench.stdout.flush()?;
    Ok(FAILED)
}

impl Wish {
    fn of(verb: Verb) -> Self {
        let directory = None;
        Self {
            verb,
            verbose: false,
            touch: false,
            same_permissions: false,
            follow_links: false,
            directory,
            names: Vec::new(),
        }
    }
}

/// Reads the arguments: the first may be letters without a dash.
fn parse(args: &[String]) -> Result<Wish, String> {
    let mut wish = Wish::of(Verb::List);
    let mut verb = None;
    let mut args = args.iter();
    let mut first = true;
    while let Some(arg) = args.next() {
        let is_old = std::mem::take(&mut first) && !arg.starts_with('-');
        if let Some(long) = arg.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
            let mut value = || value.clone().or_else(|| args.next().cloned());
            match name {
                "create" => verb = Some(Verb::Create),
                "extract" | "get" => verb = Some(Verb::Extract),
                "list" => verb = Some(Verb::List),
                "verbose" => wish.verbose = true,
                "touch" => wish.touch = true,
                "preserve-permissions" | "same-permissions" => wish.same_permissions = true,
                "no-same-permissions" | "no-same-owner" | "no-overwrite-dir" | "overwrite" => {}
                "dereference" => wish.follow_links = true,
                "directory" => wish.directory = value().map(PathBuf::from),
                "file" => stream(value())?,
                other => return Err(format!("unrecognized option '--{other}'")),
            }
        } else if is_old || arg.len() > 1 && arg.starts_with('-') && arg != "--" {
            let letters = arg.strip_prefix('-').unwrap_or(arg);
            for (at, letter) in letters.char_indices() {
                let rest = letters.get(at + 1..).filter(|rest| !is_old && !rest.is_empty()).map(str::to_owned);
                let has_rest = rest.is_some();
                match letter {
                    'c' => verb = Some(Verb::Create),
                    'x' => verb = Some(Verb::Extract),
                    't' => verb = Some(Verb::List),
                    'v' => wish.verbose = true,
                    'm' => wish.touch = true,
                    'p' => wish.same_permissions = true,
                    'o' | 'B' => {}
                    'h' => wish.follow_links = true,
                    'C' => wish.directory = rest.or_else(|| args.next().cloned()).map(PathBuf::from),
                    'f' => stream(rest.or_else(|| args.next().cloned()))?,
                    'z' | 'j' | 'J' => {
                        return Err("this tar does not compress; do so at your end of the pipe".to_owned());
                    }
                    other => return Err(format!("invalid option -- '{other}'")),
                }
                if has_rest && matches!(letter, 'C' | 'f') {
                    break;
                }
            }
        } else if arg != "--" {
            wish.names.push(arg.clone());
        }
    }
    wish.verb = verb.ok_or("You must specify one of the options '-c', '-x' or '-t'")?;
    if wish.verb == Verb::Create && wish.names.is_empty() {
        return Err("Cowardly refusing to create an empty archive".to_owned());
    }
    Ok(wish)
}

/// An archive is one of the standard streams.
fn stream(name: Option<String>) -> Result<(), String> {
    match name.as_deref() {
        Some("-") => Ok(()),
        Some(other) => Err(format!("{other}: this tar works on its standard streams only; write '-f -'")),
        None => Err("option requires an argument -- 'f'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wish, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_kubectl_asks_is_understood() {
        let taking = Wish { touch: true, directory: Some("/data".into()), ..Wish::of(Verb::Extract) };
        assert_eq!(parsed("-xmf - -C /data"), Ok(taking.clone()));
        assert_eq!(parsed("--no-same-permissions --no-same-owner -xmf - -C /data"), Ok(taking.clone()));
        assert_eq!(parsed("xmfC - /data"), Ok(taking));
        assert_eq!(parsed("cf - /a"), Ok(Wish { names: vec!["/a".into()], ..Wish::of(Verb::Create) }));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        assert!(parsed("czf - a").unwrap_err().contains("does not compress"));
        assert!(parsed("cf /a.tar a").unwrap_err().contains("standard streams"));
        assert!(parsed("f -").unwrap_err().contains("You must specify"));
        assert!(parsed("cf -").unwrap_err().contains("empty archive"));
        assert!(parsed("--xattrs -x").unwrap_err().contains("unrecognized"));
    }
}
