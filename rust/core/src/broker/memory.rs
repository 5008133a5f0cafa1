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
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let taken = |field| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kib: usize = line.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    let below = |limit, field| {
        let current = rustix::process::getrlimit(limit).current?;
        let limit = usize::try_from(current).unwrap_or(usize::MAX);
        Some(limit.saturating_sub(taken(field).unwrap_or(0)))
    };
    let space = below(rustix::process::Resource::As, "VmSize:");
    let data = below(rustix::process::Resource::Data, "VmData:");
    [space, data, group()].into_iter().flatten().min()
}

/// The least limit of the control groups that this process is in. What it holds is not taken off: much of it is cache.
#[cfg(target_os = "linux")]
fn group() -> Option<usize> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    least_of_groups(&groups, std::path::Path::new("/sys/fs/cgroup"))
}

/// `groups`: lines of hierarchy, controllers and path. `mounted`: where the hierarchies are.
#[cfg(target_os = "linux")]
fn least_of_groups(groups: &str, mounted: &std::path::Path) -> Option<usize> {
    let limits = groups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        // The unified hierarchy has no controllers to name; the older one for memory may have others beside it.
        let (root, file) = if controllers.is_empty() {
            (mounted.to_owned(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (mounted.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        let own = root.join(path.trim_start_matches('/'));
        // In a container the path is the host's, and what is mounted begins with the container's own.
        let groups = own.ancestors().take_while(|group| group.starts_with(&root));
        let limit = |group: &std::path::Path| {
            let text = std::fs::read_to_string(group.join(file)).ok()?;
            text.trim().parse::<usize>().ok()
        };
        groups.filter_map(limit).min()
    });
    limits.min()
}

#[cfg(not(target_os = "linux"))]
const fn spare() -> Option<usize> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A hierarchy on disk, asked as the kernel's.
    fn least(groups: &str, files: &[(&str, &str)]) -> Option<usize> {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        least_of_groups(groups, folder.path())
    }

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let files = [
            ("memory.max", "max\n"),
            ("system.slice/memory.max", "134217728\n"),
            ("system.slice/bus.service/memory.max", "268435456\n"),
            ("user.slice/memory.max", "1048576\n"),
        ];
        assert_eq!(least("0::/system.slice/bus.service\n", &files), Some(128 * MIB));
        assert_eq!(least("0::/system.slice\n", &files), Some(128 * MIB));
        assert_eq!(least("0::/\n", &files), None);
        assert_eq!(least("0::/system.slice/gone\n", &files), Some(128 * MIB));
    }

    #[test]
    fn the_older_hierarchy_is_read_whatever_is_mounted_with_it() {
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/pods/one/memory.limit_in_bytes", "67108864\n"),
            ("cpu/pods/one/memory.limit_in_bytes", "1\n"),
        ];
        for line in [
            "4:memory:/pods/one",
            "4:hugetlb,memory:/pods/one",
            "4:memory,hugetlb:/pods/one",
        ] {
            let groups = format!("9:name=systemd:/\n{line}\n1:cpu:/pods/one\n0::/\n");
            assert_eq!(least(&groups, &files), Some(64 * MIB), "{line}");
        }
        // Of both hierarchies the lesser.
        let both = [files[1], ("pods/memory.max", "33554432\n")];
        assert_eq!(least("4:memory:/pods/one\n0::/pods\n", &both), Some(32 * MIB));
    }

    #[test]
    fn a_container_sees_its_own_limit_at_the_root() {
        let files = [("memory.max", "50000000\n")];
        assert_eq!(least("0::/docker/0123\n", &files), Some(50_000_000));
        let files = [("memory/memory.limit_in_bytes", "50000000\n")];
        assert_eq!(least("4:memory:/docker/0123\n", &files), Some(50_000_000));
    }

    #[test]
    fn what_says_nothing_limits_nothing() {
        let files = [("memory.max", "many\n"), ("a/memory.max", ""), ("b/memory.max", "-1")];
        for groups in [
            "",
            "0",
            "0:",
            "0::",
            "0::/a",
            "0::/b",
            "0::/../../etc",
            "a\nb:c\n:::/\n",
            "4:memory",
        ] {
            assert_eq!(least(groups, &files), None, "{groups}");
        }
    }
}
