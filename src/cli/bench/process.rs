//! What a process has used, as the kernel counts it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Time on a processor, and time spent waiting for one, in ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// On a processor.
    pub ran_ns: u64,
    /// Runnable, and not on one.
    pub waited_ns: u64,
}

impl Usage {
    /// What was used since `earlier`.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            ran_ns: self.ran_ns.saturating_sub(earlier.ran_ns),
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
        }
    }

    /// The same but for time on a processor in which nothing was done.
    pub fn without(self, idle: Duration) -> Usage {
        Usage { ran_ns: self.ran_ns.saturating_sub(idle.as_nanos() as u64), ..self }
    }

    /// `ran wait slices`, as in `schedstat`.
    fn parse(text: &str) -> Option<Usage> {
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        let (ran, waited) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Usage { ran_ns: ran, waited_ns: waited })
    }
}

/// A process that is looked at from outside.
#[derive(Debug, Clone)]
pub struct Process {
    directory: PathBuf,
}

impl Process {
    /// The process of this id.
    ///
    /// # Errors
    /// One sentence where there is none, or it may not be looked at.
    pub fn new(pid: u32) -> Result<Process, String> {
        let process = Process { directory: PathBuf::from(format!("/proc/{pid}")) };
        match process.usage() {
            Some(_) => Ok(process),
            None => Err(format!("there is no process {pid} whose use of the processor can be read")),
        }
    }

    /// What all its threads have used. A thread that ends takes its share with it.
    pub fn usage(&self) -> Option<Usage> {
        let mut sum = None;
        for task in fs::read_dir(self.directory.join("task")).ok()?.flatten() {
            // A thread may end while it is looked for.
            if let Some(usage) = read_usage(&task.path().join("schedstat")) {
                let so_far: &mut Usage = sum.get_or_insert_default();
                so_far.ran_ns += usage.ran_ns;
                so_far.waited_ns += usage.waited_ns;
            }
        }
        sum
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> Option<u64> {
        parse_rss(&fs::read_to_string(self.directory.join("status")).ok()?)
    }
}

/// What the calling thread has used.
pub fn own_thread() -> Usage {
    read_usage(&PathBuf::from("/proc/thread-self/schedstat")).unwrap_or_default()
}

fn read_usage(path: &std::path::Path) -> Option<Usage> {
    Usage::parse(&fs::read_to_string(path).ok()?)
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(Usage::parse("12 34 5\n"), Some(Usage { ran_ns: 12, waited_ns: 34 }));
        assert_eq!((Usage::parse(""), Usage::parse("x 1 2")), (None, None));
        assert_eq!(parse_rss("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(parse_rss("VmSize: 1 kB"), None);
        let since = Usage { ran_ns: 9, waited_ns: 1 }.since(Usage { ran_ns: 4, waited_ns: 2 });
        assert_eq!(since, Usage { ran_ns: 5, waited_ns: 0 });
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let own = Process::new(std::process::id()).unwrap();
        assert!(own.rss().unwrap() > 0);
        // The kernel adds up when a thread is interrupted or sleeps.
        while own_thread().ran_ns == 0 || own.usage().unwrap().ran_ns == 0 {
            std::thread::yield_now();
        }
        assert!(Process::new(u32::MAX).unwrap_err().contains("4294967295"));
    }
}
