//! What the kernel says about a process: its CPU time, its memory, and what it has written.
//!
//! Source: proc(5). Linux only; there the benches run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

/// How often each thread of a process has stopped running, by its number.
#[derive(Debug)]
pub struct Switches(BTreeMap<OsString, f64>);

impl Switches {
    /// How many have come since then, of threads that lived at both times.
    pub fn since(&self, before: &Self) -> f64 {
        self.0.iter().filter_map(|(thread, count)| Some(count - before.0.get(thread)?)).sum()
    }
}

/// A process, seen from outside.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// CPU time so far in seconds, of threads that have ended too; the kernel counts it in hundredths.
    pub fn cpu_seconds(self) -> f64 {
        let stat = self.read("stat");
        // The name stands in parentheses and may hold anything; after it, utime and stime are the 12th and 13th.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
    }

    /// CPU time so far in seconds of the threads that live, to the nanosecond.
    pub fn cpu_seconds_of_threads(self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process runs");
        let of = |task: fs::DirEntry| {
            // A thread may end while we look.
            let line = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            line.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e9
        };
        tasks.filter_map(Result::ok).map(of).sum()
    }

    /// A figure of `/proc/PID/status` in MB, such as `VmRSS`.
    pub fn megabytes(self, name: &str) -> f64 {
        self.number("status", name) / 1024.0
    }

    /// A figure of `/proc/PID/status` as it stands, such as `Threads`.
    pub fn status(self, name: &str) -> f64 {
        self.number("status", name)
    }

    /// Bytes that it has caused to be written to storage.
    pub fn bytes_written(self) -> f64 {
        self.number("io", "write_bytes")
    }

    /// How often each thread that lives has gone to wait or was put aside: what an idle process should not do.
    pub fn switches(self) -> Switches {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process runs");
        let of = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let count = field(&status, "voluntary_ctxt_switches") + field(&status, "nonvoluntary_ctxt_switches");
            (task.file_name(), count)
        };
        Switches(tasks.filter_map(Result::ok).map(of).collect())
    }

    fn number(self, file: &str, name: &str) -> f64 {
        field(&self.read(file), name)
    }

    fn read(self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).expect("the process runs, and we may look at it")
    }
}

/// The number of a line `Name: 123 kB`.
fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_time() {
        let own = Process(std::process::id());
        assert!(own.megabytes("VmRSS") > 0.5 && own.status("Threads") >= 1.0);
        assert!(own.cpu_seconds() >= 0.0 && own.cpu_seconds_of_threads() > 0.0);
    }
}
