//! This process, by the names every Prometheus client library uses. Enters: /proc/self. Leaves: text; what the kernel
//! does not tell is left out.

use std::fs;

use super::text::Text;

/// Fields of /proc/self/stat after the command's name (proc_pid_stat(5)), counted from the state, field 3.
const UTIME: usize = 14 - 3;
const STARTTIME: usize = 22 - 3;
const VSIZE: usize = 23 - 3;
const RSS: usize = 24 - 3;

/// Adds this process's metrics.
pub fn write(text: &mut Text) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    if let Some(stat) = Stat::parse(&read("/proc/self/stat")) {
        let help = "Total user and system CPU time spent in seconds.";
        text.single("process_cpu_seconds_total", "counter", help, stat.cpu / ticks);
        let help = "Virtual memory size in bytes.";
        text.single("process_virtual_memory_bytes", "gauge", help, stat.vsize);
        let help = "Resident memory size in bytes.";
        text.single("process_resident_memory_bytes", "gauge", help, stat.rss * page);
        if let Some(boot) = boot_time(&read("/proc/stat")) {
            let help = "Start time of the process since unix epoch in seconds.";
            text.single("process_start_time_seconds", "gauge", help, boot + stat.start / ticks);
        }
    }
    let limits = read("/proc/self/limits");
    if let Some(max) = soft_limit(&limits, "Max open files") {
        text.single("process_max_fds", "gauge", "Maximum number of open file descriptors.", max);
    }
    if let Some(max) = soft_limit(&limits, "Max address space") {
        let help = "Maximum amount of virtual memory available in bytes.";
        text.single("process_virtual_memory_max_bytes", "gauge", help, max);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing itself.
        let open = open.count().saturating_sub(1) as f64;
        text.single("process_open_fds", "gauge", "Number of open file descriptors.", open);
    }
}

#[derive(Debug, PartialEq)]
struct Stat {
    cpu: f64,
    start: f64,
    vsize: f64,
    rss: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold spaces and parentheses of its own.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let cpu = number(UTIME)? + number(UTIME + 1)?;
        Some(Self { cpu, start: number(STARTTIME)?, vsize: number(VSIZE)?, rss: number(RSS)? })
    }
}

fn boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// The first number after a limit's name; infinite if unlimited.
fn soft_limit(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next())?;
    if value == "unlimited" { Some(f64::INFINITY) } else { value.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 10 0 0 0 250 50 0 0 20 0 4 0 9000 1048576 256 x";
        let wanted = Stat { cpu: 300.0, start: 9000.0, vsize: 1_048_576.0, rss: 256.0 };
        assert_eq!(Stat::parse(stat), Some(wanted));
        assert_eq!(Stat::parse("garbage"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
        let limits = "Max open files            1024                 4096                 files\n\
                      Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(soft_limit(limits, "Max address space"), Some(f64::INFINITY));
    }

    #[test]
    fn this_process_has_all_of_them() {
        let mut text = Text::default();
        write(&mut text);
        let text = text.finish();
        for name in
            ["cpu_seconds_total", "resident_memory_bytes", "start_time_seconds", "open_fds", "max_fds"]
        {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name}\n{text}");
        }
    }
}
