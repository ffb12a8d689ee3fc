//! The control group that this process is in.

use std::path::{Path, PathBuf};

use crate::status::Unavailable;

/// Its directory in the version 2 hierarchy. Not the root of all: that has everybody's connections.
pub(super) fn own() -> Result<PathBuf, Unavailable> {
    let group = present()?;
    if is_root(&group) {
        return Err(Unavailable::new("this process is in the root control group, beside everybody else's"));
    }
    Ok(group)
}

/// Only the true root has no events of its own; what looks like one inside a container has.
fn is_root(group: &Path) -> bool {
    !group.join("cgroup.events").exists()
}

fn present() -> Result<PathBuf, Unavailable> {
    let read =
        |path| std::fs::read_to_string(path).map_err(|error| Unavailable::because("control group", &error));
    find(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
        .ok_or_else(|| Unavailable::new("no control groups of version 2 are mounted"))
}

fn find(mounts: &str, groups: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        // Optional fields stand between the sixth and a hyphen; the type of the file system follows it.
        let (place, kind) = line.split_once(" - ")?;
        if kind.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = place.split(' ');
        let (root, mount) = (fields.nth(3)?, fields.next()?);
        let inside = Path::new(group).strip_prefix(root).ok()?;
        Some(Path::new(mount).join(inside))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_below_the_mount() {
        let unified = "25 1 0:22 / /sys rw shared:7 - sysfs sysfs rw\n\
                       30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            find(unified, "0::/system.slice/pintle.service\n"),
            Some("/sys/fs/cgroup/system.slice/pintle.service".into())
        );
        assert_eq!(find(unified, "4:memory:/x\n0::/\n"), Some("/sys/fs/cgroup/".into()));
        let part = "30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find(part, "0::/docker/abc/in\n"), Some("/sys/fs/cgroup/in".into()));
        assert_eq!(find(part, "0::/elsewhere\n"), None);
        assert_eq!(find("30 25 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw\n", "0::/\n"), None);
        assert_eq!(find(unified, "4:memory:/x\n"), None);
    }
}
