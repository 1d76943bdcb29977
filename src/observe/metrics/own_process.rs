//! What this process takes of the machine, as Linux tells it under `/proc`; nothing elsewhere.

/// Bytes of memory that are resident.
pub(super) fn resident_bytes() -> Option<f64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Seconds of processor time, of all threads, in user and system mode.
pub(super) fn cpu_seconds() -> Option<f64> {
    cpu_in(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// `VmRSS:     4868 kB`
fn resident_in(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes as f64 * 1024.0)
}

/// Ticks a second in `/proc`: a constant of Linux towards programs, whatever the kernel's own timer does.
const TICKS: f64 = 100.0;

/// The 14th and 15th fields. The second one is the program's name in brackets and may hold blanks and brackets itself.
fn cpu_in(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_processor_time_are_read_as_linux_writes_them() {
        assert_eq!(resident_in("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t    4868 kB\n"), Some(4868.0 * 1024.0));
        assert_eq!(resident_in("Name:\tx\n"), None);
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 2\n";
        assert_eq!(cpu_in(stat), Some(3.0));
        assert_eq!(cpu_in("nonsense"), None);
    }
}
