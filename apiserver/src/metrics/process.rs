//! What the process uses, under the names that every client library of Prometheus has for it.

use std::fmt::Write;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Writes what the system tells of this process; what it does not tell is left out.
pub(super) fn print(out: &mut String, started: jiff::Timestamp) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = format!("{}.{:09}", cpu.tv_sec, cpu.tv_nsec);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kb| (kb * 1024).to_string())
    };
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count().to_string());
    let files_max = getrlimit(Resource::Nofile).current.map(|max| max.to_string());
    for (name, kind, help, value) in [
        ("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", Some(seconds)),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", files_max),
        ("process_open_fds", "gauge", "Number of open file descriptors.", files),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", kilobytes("VmRSS:")),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            Some(started.as_second().to_string()),
        ),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", kilobytes("VmSize:")),
    ] {
        if let Some(value) = value {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    }
}
