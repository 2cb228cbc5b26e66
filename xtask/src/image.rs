//! Container images without a registry: OCI archives made from static programs.
//!
//! Enters: program files. Leaves: `<products>/images/<name>.tar` in OCI image layout (OCI image-spec 1.0), which
//! `ctr images import` takes. Same input, same bytes: times and owners are fixed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::build::{self, Profile};
use crate::{ebpf, packages, shell};

/// What one image holds.
struct Image {
    /// Name with tag.
    reference: &'static str,
    /// File name of the archive.
    file: &'static str,
    /// What runs when a pod names no command; a pod's arguments are added to it.
    entrypoint: Vec<&'static str>,
    /// What runs when a pod names neither command nor arguments, which replace it.
    command: Vec<&'static str>,
}

/// The sandbox image of the cluster's own containerd.
pub(crate) const PAUSE: &str = "xebec.local/pause:1";

/// Options of `image`.
#[derive(clap::Args)]
pub(crate) struct ImageArgs {
    /// The agent in the proxy's image: `release` is a static one, `dev` is what `up` built, with its libraries.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
}

/// `cargo xtask image`.
pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    let mut built = build()?;
    let agent = match args.profile {
        Profile::Release => build::static_programs(&["xebec-agent"])?.join("xebec-agent"),
        Profile::Dev => build::prebuilt(Profile::Dev)?.agent,
    };
    built.push(proxy(&agent)?);
    for path in built {
        println!("built {}", path.display());
    }
    println!("next: `cargo xtask up` imports them, or `ctr --namespace k8s.io images import FILE`");
    Ok(())
}

/// Builds the image of `deploy/proxy.yaml`: an agent with the eBPF object beside it, and the libraries that it needs: none if
/// it is static. No cluster of `up` needs it but that of the tests, which spares itself a static agent.
pub(crate) fn proxy(agent: &Path) -> Result<PathBuf> {
    let object = ebpf::build()?;
    let image = Image {
        reference: "xebec.local/proxy:1",
        file: "proxy.tar",
        entrypoint: vec!["/bin/xebec-agent"],
        command: vec!["proxy"],
    };
    let mut files =
        vec![(agent.to_owned(), "bin/xebec-agent".to_owned()), (object, "bin/xebec.bpf.o".to_owned())];
    files.extend(libraries(agent)?);
    // For Services of SCTP.
    packages::ensure(&[packages::NFT])?;
    let nft = Path::new("/usr/sbin/nft");
    files.push((nft.to_owned(), "sbin/nft".to_owned()));
    files.extend(libraries(nft)?);
    image.write(&files)
}

/// The shared libraries of a program and what loads them, each with its place in an image.
fn libraries(program: &Path) -> Result<Vec<(PathBuf, String)>> {
    // It fails where there is nothing to load.
    let needed = shell::output(Command::new("ldd").arg(program)).unwrap_or_default();
    Ok(needed
        .lines()
        .filter_map(library)
        .map(|path| (path.into(), path.trim_start_matches('/').to_owned()))
        .collect())
}

/// The path in a line of `ldd`; none for what the kernel brings.
fn library(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

/// Builds every image that a cluster of `up` needs and returns the archives.
pub(crate) fn build() -> Result<Vec<PathBuf>> {
    packages::ensure(&[packages::BUILD, packages::DEMO])?;
    let programs = build::static_programs(&["xebec-pause", "xebec-workload"])?;
    let busybox = packages::static_busybox().context("no static busybox")?;
    let images = [
        (
            Image { reference: PAUSE, file: "pause.tar", entrypoint: vec!["/pause"], command: Vec::new() },
            vec![(programs.join("xebec-pause"), "pause")],
        ),
        (
            Image {
                reference: "xebec.local/workload:1",
                file: "workload.tar",
                entrypoint: vec!["/bin/xebec-workload", "serve", "--udp-port", "8081"],
                command: Vec::new(),
            },
            vec![(programs.join("xebec-workload"), "bin/xebec-workload"), (busybox.clone(), "bin/busybox")],
        ),
        (
            Image {
                reference: "xebec.local/busybox:1",
                file: "busybox.tar",
                entrypoint: Vec::new(),
                command: vec!["/bin/sh"],
            },
            vec![(busybox, "bin/busybox")],
        ),
    ];
    images.iter().map(|(image, files)| image.write(files)).collect()
}

impl Image {
    fn write(&self, files: &[(PathBuf, impl AsRef<Path>)]) -> Result<PathBuf> {
        let folder = shell::products().join("images");
        let work = folder.join(format!("{}.work", self.file));
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        let (root, blobs) = (work.join("root"), work.join("oci/blobs/sha256"));
        fs::create_dir_all(&blobs)?;
        lay_out(&root, files)?;
        let layer = work.join("layer.tar");
        tar(&root, &layer)?;
        let oci = work.join("oci");
        let layer = store_blob(&oci, &fs::read(&layer)?, "application/vnd.oci.image.layer.v1.tar")?;
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Cmd": self.command, "Env": ["PATH=/bin:/usr/bin:/sbin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config =
            store_blob(&oci, &serde_json::to_vec(&config)?, "application/vnd.oci.image.config.v1+json")?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer],
        });
        let mut manifest =
            store_blob(&oci, &serde_json::to_vec(&manifest)?, "application/vnd.oci.image.manifest.v1+json")?;
        manifest["annotations"] = json!({"io.containerd.image.name": self.reference, "org.opencontainers.image.ref.name": self.reference});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(oci.join("index.json"), serde_json::to_vec(&index)?)?;
        fs::write(oci.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let archive = folder.join(self.file);
        tar(&oci, &archive)?;
        fs::remove_dir_all(&work)?;
        Ok(archive)
    }
}

/// The file tree of an image: its programs, busybox's applets as links, and the folders a program expects.
fn lay_out(root: &Path, files: &[(PathBuf, impl AsRef<Path>)]) -> Result<()> {
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "var", "usr"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")?;
    // Without this file the C library's own order is used, which asks DNS before /etc/hosts.
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    for (from, to) in files {
        let to = root.join(to);
        fs::create_dir_all(to.parent().unwrap_or(root))?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        if to.ends_with("bin/busybox") {
            let applets = shell::output(Command::new(from).arg("--list"))?;
            for applet in applets.lines().filter(|applet| *applet != "busybox") {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
            }
        }
    }
    Ok(())
}

fn tar(folder: &Path, archive: &Path) -> Result<()> {
    shell::output(
        Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf"])
            .arg(archive)
            .arg("-C")
            .arg(folder)
            .arg("."),
    )?;
    Ok(())
}

fn store_blob(oci: &Path, bytes: &[u8], media_type: &str) -> Result<Value> {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(oci.join("blobs/sha256").join(&digest), bytes)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_says() {
        let line = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0000000000)";
        assert_eq!(library(line), Some("/lib/x86_64-linux-gnu/libc.so.6"));
        assert_eq!(
            library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f0000000000)"),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f0000000000)"), None);
        assert_eq!(library("\tstatically linked"), None);
    }

    #[test]
    fn a_blob_is_named_by_its_digest() {
        let folder = std::env::temp_dir().join(format!("xtask-blob-{}", std::process::id()));
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let stored = store_blob(&folder, b"", "x").unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(stored, json!({"mediaType": "x", "digest": format!("sha256:{empty}"), "size": 0}));
    }
}
