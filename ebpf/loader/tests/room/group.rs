//! A control group for one thread.

use std::path::{Path, PathBuf};

/// Where the hierarchy is mounted, for this thread's mount namespace only.
const MOUNT: &str = "/mnt";
/// What the groups' names begin with; a process number follows.
const NAME: &str = "pintle-test-";

/// The calling thread is in it until [`Self::leave`] or the end. Sockets that it makes meanwhile belong to it.
pub(crate) struct Group(PathBuf);

impl Group {
    /// Must be called in a mount namespace of the test's own.
    pub(crate) fn enter() -> Self {
        super::run("mount", &format!("-t cgroup2 none {MOUNT}"));
        remove_stale();
        let name = format!("{NAME}{}-{}", std::process::id(), super::thread_id());
        let group = Self(Path::new(MOUNT).join(name));
        std::fs::create_dir(&group.0).expect("a control group");
        std::fs::write(group.0.join("cgroup.type"), "threaded").expect("a group of threads");
        group.put_thread(&group.0);
        group
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Back to the root.
    pub(crate) fn leave(&self) {
        self.put_thread(Path::new(MOUNT));
    }

    fn put_thread(&self, group: &Path) {
        std::fs::write(group.join("cgroup.threads"), super::thread_id().to_string()).expect("moves");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(Path::new(MOUNT).join("cgroup.threads"), super::thread_id().to_string());
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Removes what tests left that were killed.
fn remove_stale() {
    for entry in std::fs::read_dir(MOUNT).expect("lists").flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(NAME)).and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner).exists()
        {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
