//! What a program said: its exit code, standard output and standard error.
//!
//! Invariant: nobody reads the output of a program without having said whether it should have succeeded.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// A program's end. It must be judged: by [`Said::ok`] or by [`Said::refused`].
#[must_use]
#[derive(Debug)]
pub struct Said {
    line: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// Runs a program to its end, with this standard input.
    pub fn run(command: &mut Command, input: &str) -> Self {
        let line = shown(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        // A program that does not read its input has closed it: no failure of ours.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("a child can be waited for");
        Self::of(line, output)
    }

    fn of(line: String, output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { line, code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output of what must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.out
    }

    /// Standard output of what succeeded, else everything it said.
    pub fn tried(self) -> Result<String, String> {
        if self.code == Some(0) { Ok(self.out) } else { Err(self.to_string()) }
    }

    /// Both outputs of what must have succeeded: for warnings.
    #[track_caller]
    pub fn ok_with_warnings(self) -> (String, String) {
        assert_eq!(self.code, Some(0), "{self}");
        (self.out, self.err)
    }

    /// Standard output of a comparison that must have found a difference, which it tells by exit code 1.
    #[track_caller]
    pub fn differs(self) -> String {
        assert_eq!(self.code, Some(1), "{self}");
        self.out
    }

    /// The exit code of what ended by itself, with both outputs.
    #[track_caller]
    pub fn ended(self) -> (i32, String, String) {
        let code = self.code.unwrap_or_else(|| panic!("{self}"));
        (code, self.out, self.err)
    }

    /// Standard error of what must have failed with exit code 1.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{self}");
        self.err
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, out, err } = self;
        write!(f, "$ {line}\n{out}--- stderr\n{err}--- exit code {code:?}")
    }
}

/// A command as a person would have typed it.
pub fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(|w| w.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// Splits a line as a shell would, as far as tests need: at spaces, but not between single quotes.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        if place % 2 == 1 {
            // A quoted part that follows a word without a space belongs to it, as in --patch='{…}'.
            let joins = line.split('\'').nth(place - 1).is_some_and(|before| before.ends_with('='));
            match words.last_mut() {
                Some(last) if joins => String::push_str(last, part),
                _ => words.push(part.to_owned()),
            }
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_would() {
        assert_eq!(words("get pods  -o wide"), ["get", "pods", "-o", "wide"]);
        assert_eq!(words("patch -p '{\"a\": 1}' x"), ["patch", "-p", "{\"a\": 1}", "x"]);
        assert_eq!(words("patch --patch='{\"a\": 1}'"), ["patch", "--patch={\"a\": 1}"]);
    }
}
