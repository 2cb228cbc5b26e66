//! A pod's own files on the node: names and places (pure), as upstream lays them out.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::spec;

/// `<pod logs>/<namespace>_<name>_<uid>`.
pub fn log_directory(logs: &Path, pod: &Pod) -> PathBuf {
    logs.join(format!("{}_{}_{}", spec::namespace(pod), spec::name(pod), spec::uid(pod)))
}

/// The link to a container's log: `<name>_<namespace>_<container>-<id>.log`, cut to what a file name may have.
pub fn log_link(links: &Path, pod: &Pod, container: &str, id: &str) -> PathBuf {
    let mut name = format!("{}_{}_{container}-{id}", spec::name(pod), spec::namespace(pod));
    // names are ASCII; 255 bytes is the most a file name may have
    name.truncate(251);
    links.join(format!("{name}.log"))
}

/// A file of the pod (`container` empty) or of one container, below the pod's directory.
pub fn own_file(pod_dir: &Path, container: &str, name: &str) -> PathBuf {
    if container.is_empty() {
        pod_dir.join(name)
    } else {
        pod_dir.join("containers").join(container).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_upstreams() {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        pod.metadata.namespace = Some("shop".into());
        pod.metadata.uid = Some("u1".into());
        assert_eq!(log_directory(Path::new("/var/log/pods"), &pod), Path::new("/var/log/pods/shop_web_u1"));
        let link = log_link(Path::new("/l"), &pod, "c", "0123");
        assert_eq!(link, Path::new("/l/web_shop_c-0123.log"));
        let dir = Path::new("/p/u1");
        assert_eq!(own_file(dir, "", "etc-hosts"), Path::new("/p/u1/etc-hosts"));
        assert_eq!(own_file(dir, "c", "termination-0"), Path::new("/p/u1/containers/c/termination-0"));
    }
}
