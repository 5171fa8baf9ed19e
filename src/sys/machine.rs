//! What the machine and its cgroup allow: processors, memory kills.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// How many processors this process may use, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Processors {
    /// Those it may be scheduled on (`sched_getaffinity(2)`).
    pub affinity: usize,
    /// The share that its cgroup, or one above it, grants; in processors.
    pub quota: Option<f64>,
}

impl Processors {
    /// Reads them.
    pub fn available() -> Self {
        Self {
            affinity: affinity(),
            quota: quota(),
        }
    }
}

fn affinity() -> usize {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return 1;
    };
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .count()
        .max(1)
}

/// The smallest quota on the way from this process's cgroup to the root (cgroups(7); v2 `cpu.max`, v1 `cpu.cfs_*`).
fn quota() -> Option<f64> {
    let smallest = |quotas: Vec<f64>| quotas.into_iter().reduce(f64::min);
    let v2 = cgroup_folders("").into_iter().filter_map(|folder| {
        let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
    });
    let v1 = cgroup_folders("cpu").into_iter().filter_map(|folder| {
        let read = |name| {
            fs::read_to_string(folder.join(name))
                .ok()?
                .trim()
                .parse::<f64>()
                .ok()
        };
        let quota = read("cpu.cfs_quota_us").filter(|quota| *quota > 0.0)?;
        Some(quota / read("cpu.cfs_period_us")?)
    });
    smallest(
        v2.chain(v1)
            .filter(|quota| quota.is_finite() && *quota > 0.0)
            .collect(),
    )
}

/// The folders of this process's cgroup for `controller` (empty: the unified hierarchy), innermost first. Inside a
/// container the path that the kernel names may not exist below the mount; the mount's own root then stands for it.
fn cgroup_folders(controller: &str) -> Vec<PathBuf> {
    let Ok(text) = fs::read_to_string("/proc/self/cgroup") else {
        return Vec::new();
    };
    let line = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    });
    let Some(path) = line else { return Vec::new() };
    let candidates: &[&str] = match controller {
        "" => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
        "cpu" => &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"],
        _ => &["/sys/fs/cgroup/memory"],
    };
    let Some(root) = candidates.iter().map(Path::new).find(|root| root.is_dir()) else {
        return Vec::new();
    };
    let inner = root.join(path.trim_start_matches('/'));
    inner
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .map(Path::to_path_buf)
        .collect()
}

/// Counts the processes that the kernel killed for want of memory in this process's cgroup.
#[derive(Debug)]
pub struct MemoryKills {
    last: Option<u64>,
}

impl MemoryKills {
    /// Starts to count.
    pub fn watch() -> Self {
        Self {
            last: memory_kills(),
        }
    }

    /// Goes on counting from what [`seen`](Self::seen) said, in this program or the one before it.
    pub fn since(last: Option<u64>) -> Self {
        Self { last }
    }

    /// The number that the next count starts from.
    pub fn seen(&self) -> Option<u64> {
        self.last
    }

    /// How many there were since the last call; `None` when the cgroup does not say.
    pub fn since_last(&mut self) -> Option<u64> {
        let now = memory_kills()?;
        let before = self.last.replace(now)?;
        Some(now.saturating_sub(before))
    }
}

/// `oom_kill` of `memory.events` (v2) or `memory.oom_control` (v1); both count the cgroup's descendants or itself.
fn memory_kills() -> Option<u64> {
    let v2 = cgroup_folders("")
        .into_iter()
        .map(|folder| folder.join("memory.events"));
    let v1 = cgroup_folders("memory")
        .into_iter()
        .map(|folder| folder.join("memory.oom_control"));
    v2.chain(v1).find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    })
}
