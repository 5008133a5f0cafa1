//! How much the queues may take where this process may have less memory than `total_queue_bytes` counts on.
//!
//! An allocation that fails ends a process, so the bus's own limit has to be met first: queues get half of what a control group or a
//! resource limit leaves, the other half is for everything else. Asked once, when a broker is made; a limit that is lowered later is
//! the machine's to enforce.

use super::config::BrokerConfig;

/// Below this a broker could not pass on a frame.
const LEAST: usize = 1 << 20;

/// `total_queue_bytes`, or what there is memory for.
pub(super) fn total_queue_bytes(config: &BrokerConfig) -> usize {
    let asked = config.total_queue_bytes;
    spare().map_or(asked, |spare| asked.min((spare / 2).max(LEAST)))
}

/// Says that it is less than asked for.
pub(super) fn report(asked: usize, used: usize) {
    if used < asked {
        tracing::warn!(
            target: "daemoneye_eventbus::broker",
            total_queue_bytes = asked, used,
            "this process may not have as much memory as total_queue_bytes: all queues together hold less; lower it, or give more memory"
        );
    }
}

/// Bytes that this process can have beyond what it has; `None` if nothing limits it.
#[cfg(target_os = "linux")]
fn spare() -> Option<usize> {
    let page = rustix::param::page_size();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let taken = |field: usize| {
        let pages: usize = statm.split(' ').nth(field)?.trim().parse().ok()?;
        pages.checked_mul(page)
    };
    let below = |limit, field| {
        let current = rustix::process::getrlimit(limit).current?;
        let limit = usize::try_from(current).unwrap_or(usize::MAX);
        Some(limit.saturating_sub(taken(field).unwrap_or(0)))
    };
    let space = below(rustix::process::Resource::As, 0);
    let data = below(rustix::process::Resource::Data, 5);
    [space, data, group()].into_iter().flatten().min()
}

/// The least limit of the control groups that this process is in. What it holds is not taken off: much of it is cache.
#[cfg(target_os = "linux")]
fn group() -> Option<usize> {
    use std::path::Path;

    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = |word: &str| {
        groups
            .lines()
            .find_map(|line| line.split_once(word))
            .map(|(_, path)| path)
    };
    // The unified hierarchy, or the older one's for memory.
    let unified = own("0::/").map(|path| ("/sys/fs/cgroup", path, "memory.max"));
    let older = own(":memory:/").map(|path| ("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"));
    let limits = [unified, older].into_iter().flatten().flat_map(|(root, path, file)| {
        let (root, own) = (Path::new(root), Path::new(root).join(path));
        let groups: Vec<_> = own.ancestors().take_while(|group| group.starts_with(root)).collect();
        let limit = |group: &Path| std::fs::read_to_string(group.join(file)).ok()?.trim().parse().ok();
        groups.into_iter().filter_map(limit).collect::<Vec<usize>>()
    });
    limits.min()
}

#[cfg(not(target_os = "linux"))]
const fn spare() -> Option<usize> {
    None
}
