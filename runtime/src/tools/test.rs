//! `test`, as far as it is asked of files and texts.

use std::io;
use std::path::Path;

use super::Bench;
use super::tree::Tree;

/// Asks what its arguments ask: 0 is yes, 1 is no, 2 is that it was not understood.
pub(super) fn test(bench: &mut Bench) -> io::Result<i32> {
    let mut args: Vec<&str> = bench.args.iter().map(String::as_str).collect();
    let bracket = args.first().is_some_and(|name| name.ends_with('['));
    if bracket && args.pop() != Some("]") {
        bench.complain("missing ']'")?;
        return Ok(2);
    }
    match holds(&bench.tree, args.get(1..).unwrap_or_default()) {
        Ok(true) => Ok(0),
        Ok(false) => Ok(1),
        Err(why) => {
            bench.complain(&why)?;
            Ok(2)
        }
    }
}

fn holds(tree: &Tree, args: &[&str]) -> Result<bool, String> {
    Ok(match args {
        [] => false,
        [text] => !text.is_empty(),
        ["!", rest @ ..] => !holds(tree, rest)?,
        [flag, path] => {
            let (path, found) = (Path::new(path), tree.look_behind_links(Path::new(path)));
            match *flag {
                "-n" => !path.as_os_str().is_empty(),
                "-z" => path.as_os_str().is_empty(),
                "-e" | "-r" => found.is_ok(),
                "-d" => found.is_ok_and(|f| f.is_dir()),
                "-f" => found.is_ok_and(|f| f.is_file()),
                "-s" => found.is_ok_and(|f| f.len() > 0),
                "-w" => found.is_ok() && tree.may_write(path),
                // A directory is entered; nothing else can be run from here.
                "-x" => found.is_ok_and(|f| f.is_dir()),
                "-L" | "-h" => tree.look(path).is_ok_and(|f| f.is_symlink()),
                _ => return Err(format!("'{flag}': unary operator expected")),
            }
        }
        [one, "=" | "==", other] => one == other,
        [one, "!=", other] => one != other,
        [_, operator, ..] => return Err(format!("'{operator}': this is not understood here")),
    })
}
