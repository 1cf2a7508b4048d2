//! The figures of the process, under the names that all exporters share.

use rustix::time::{ClockId, clock_gettime};

use super::page::Page;

/// Adds them to the page; what the system does not tell is left out.
pub(super) fn add(started_ms: u64, page: &mut Page) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a process need no more than 52 bits")]
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    page.add_one("process_cpu_seconds_total", "CPU time of the process, user and system.", seconds);
    if let Some(bytes) = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes) {
        page.add_one(
            "process_resident_memory_bytes",
            "Memory of the process, mapped pages of the log included.",
            bytes,
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 need no more than 52 bits")]
    let started = started_ms as f64 / 1_000.0;
    page.add_one("process_start_time_seconds", "When the broker started, seconds since 1970.", started);
}

/// `VmRSS` of a process' status, which is in KiB.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_where_it_is_told() {
        assert_eq!(resident_bytes("Name:\tstrata\nVmRSS:\t    2048 kB\nThreads:\t3\n"), Some(2_097_152));
        assert_eq!(resident_bytes("Name:\tstrata\n"), None);
    }
}
