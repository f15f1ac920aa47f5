//! `sh`: there is none. It says so, and does the one thing that `kubectl cp` asks of a shell: to go on where a broken
//! connection left off.

use std::io::{self, Write};

use super::tar::tail;
use super::{Bench, NOT_FOUND, tool_name};

/// What to do without a shell.
const INSTEAD: &str = "\
there is no shell in a WebAssembly pod: its image is one program, and nothing else could be run.
The node has tools of its own for a look into the container: ls, cat, env, printenv, pwd, echo, test, sleep, tar.
  kubectl exec POD -- ls -la /       kubectl exec POD -- cat FILE       kubectl cp POD:FILE FILE
Any other command runs the container's own program with these arguments, or a .wasm file in its directories.
To bring more tools along, use a debug container: kubectl debug -it POD --image=IMAGE
";

/// Says that there is no shell.
pub(super) fn shell(bench: &mut Bench) -> io::Result<i32> {
    let script = match bench.args.as_slice() {
        [_, flag, script] if flag == "-c" => script.as_str(),
        _ => "",
    };
    if let Some((path, first)) = resumed(script) {
        let (path, first) = (path.to_owned(), first);
        return tail(bench, &path, first);
    }
    let name = tool_name(&bench.args).to_owned();
    write!(bench.stderr, "{name}: {INSTEAD}")?;
    bench.stderr.flush()?;
    Ok(NOT_FOUND)
}

/// What of which archive is asked for, by the one script that `kubectl cp` sends: the path and the first byte.
fn resumed(script: &str) -> Option<(&str, u64)> {
    let (path, first) = script.strip_prefix("tar cf - ")?.rsplit_once(" | tail -c+")?;
    Some((path, first.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_a_copy_that_goes_on_is_understood_and_no_other() {
        assert_eq!(resumed("tar cf - /data/a b | tail -c+1025"), Some(("/data/a b", 1025)));
        assert_eq!(resumed("tar cf - /data | tail -c+x"), None);
        assert_eq!(resumed("ls"), None);
    }
}
