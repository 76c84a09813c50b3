//! What a server uses: processor and memory of its process and of all that descend from it.

use std::fs;

/// The process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(pid) = family.get(at).copied() {
        at += 1;
        for task in tasks(pid) {
            let children =
                fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    family
}

fn tasks(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Time on the processor of all threads that live, in ns.
pub fn cpu_ns(pid: u32) -> u64 {
    let thread = |pid: u32, task: u32| first_number(&format!("/proc/{pid}/task/{task}/schedstat"));
    family(pid).into_iter().map(|pid| tasks(pid).into_iter().map(|task| thread(pid, task)).sum::<u64>()).sum()
}

/// Resident memory, in bytes.
pub fn rss_bytes(pid: u32) -> u64 {
    let of = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    family(pid).into_iter().map(of).sum()
}

/// Whether the process is there.
pub fn lives(pid: u32) -> bool {
    !tasks(pid).is_empty()
}

/// Time on the processor of the calling thread, in ns.
pub fn own_thread_ns() -> u64 {
    first_number("/proc/thread-self/schedstat")
}

fn first_number(path: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_its_children_count() {
        let own = std::process::id();
        assert!(lives(own) && rss_bytes(own) > 100_000);
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(family(own).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own_thread_ns() > 0 && cpu_ns(own) > 0);
    }
}
