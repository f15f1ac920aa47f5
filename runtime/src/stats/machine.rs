//! What the whole machine and this process use, as the system tells it.
//!
//! What a system does not tell is zero: its figures are left out by who shows them.

use std::time::Duration;

use jiff::Timestamp;

/// Clock ticks in a second, as `/proc/stat` counts them: 100 on every Linux that Rust knows.
const TICKS_PER_SECOND: u64 = 100;

/// One look at the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MachineReading {
    /// CPU time that all cores together have spent since the start of the machine.
    pub(crate) cpu: Duration,
    /// CPU time of this process.
    pub(crate) process_cpu: Duration,
    /// Resident bytes of this process.
    pub(crate) process_rss: u64,
    pub(crate) memory: Memory,
    pub(crate) interfaces: Vec<Interface>,
    /// When the machine started.
    pub(crate) booted: Option<Timestamp>,
}

/// The machine's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// What is not free.
    pub(crate) usage: u64,
    /// The same without what the system can take back at once.
    pub(crate) working_set: u64,
    /// What no file stands behind.
    pub(crate) rss: u64,
    /// What is left beside the working set.
    pub(crate) available: u64,
}

/// A network interface of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) rx_bytes: u64,
    pub(crate) rx_errors: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_errors: u64,
}

impl Interface {
    /// An interface by which nothing has gone yet.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl MachineReading {
    /// Looks.
    pub(crate) fn take() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let stat = text("/proc/stat");
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
        Self {
            cpu: cpu(&stat),
            process_cpu: Duration::new(seconds, nanos),
            process_rss: kibibytes(&text("/proc/self/status"), "VmRSS:"),
            memory: memory(&text("/proc/meminfo")),
            interfaces: interfaces(&text("/proc/net/dev"), &text("/proc/net/route")),
            booted: booted(&stat),
        }
    }
}

/// The busy time of all cores: everything but idle and waiting for the disk. Guests' time is within the user's.
fn cpu(stat: &str) -> Duration {
    const BUSY: [usize; 6] = [0, 1, 2, 5, 6, 7];
    let line = stat.lines().find_map(|l| l.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
    let ticks: u64 = BUSY.iter().filter_map(|at| fields.get(*at)).sum();
    Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND))
}

fn booted(stat: &str) -> Option<Timestamp> {
    let seconds = stat.lines().find_map(|l| l.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}

/// As cAdvisor reckons for the root of all control groups.
fn memory(meminfo: &str) -> Memory {
    let of = |name: &str| kibibytes(meminfo, name);
    let total = of("MemTotal:");
    let usage = total.saturating_sub(of("MemFree:"));
    let working_set = usage.saturating_sub(of("Inactive(file):"));
    Memory { usage, working_set, rss: of("AnonPages:"), available: total.saturating_sub(working_set) }
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

/// All interfaces but the loopback; that of the default route first.
fn interfaces(dev: &str, route: &str) -> Vec<Interface> {
    let parse = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        let at = |i: usize| counters.get(i).copied().unwrap_or(0);
        let name = name.trim().to_owned();
        Some(Interface { name, rx_bytes: at(0), rx_errors: at(2), tx_bytes: at(8), tx_errors: at(10) })
    };
    let to_all = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next() == Some("00000000")).then(|| name.to_owned())
    };
    let default = route.lines().find_map(to_all);
    let mut all: Vec<Interface> = dev.lines().filter_map(parse).filter(|i| i.name != "lo").collect();
    all.sort_by_key(|i| Some(&i.name) != default.as_ref());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_files_are_understood() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 90 0\ncpu0 1 1 1 1\nintr 5\nbtime 1700000000\n";
        assert_eq!(cpu(stat), Duration::from_millis(1710));
        assert_eq!(booted(stat).map(Timestamp::as_second), Some(1_700_000_000));
        let meminfo = "MemTotal: 1000 kB\nMemFree: 300 kB\nInactive(file): 200 kB\nAnonPages: 90 kB\n";
        let kib = |n: u64| n * 1024;
        let expected = Memory { usage: kib(700), working_set: kib(500), rss: kib(90), available: kib(500) };
        assert_eq!(memory(meminfo), expected);
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 1 2 0 0 0 0 0 0 1 2 0 0 0 0 0 0\n  ifb0: 0 0 0\n  eth0: 10 1 3 0 0 0 0 0 20 1 4 0 0 0 0 0\n";
        let eth0 = Interface { name: "eth0".into(), rx_bytes: 10, rx_errors: 3, tx_bytes: 20, tx_errors: 4 };
        let route = "Iface\tDestination\tGateway\neth0\t0000A8C0\t0\neth0\t00000000\t0100A8C0\n";
        assert_eq!(interfaces(dev, route), [eth0.clone(), Interface::named("ifb0")]);
        assert_eq!(interfaces(dev, "").first().map(|i| i.name.as_str()), Some("ifb0"));
    }

    #[test]
    fn this_machine_is_at_work() {
        let reading = MachineReading::take();
        assert!(reading.cpu > Duration::ZERO && reading.memory.working_set > 0 && reading.process_rss > 0);
    }
}
