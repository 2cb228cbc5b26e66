use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: ServerOptions,
}

fn resolve(arguments: &[&str]) -> Result<Server, String> {
    let line = Line::try_parse_from([&["x"], arguments].concat()).map_err(|error| error.to_string())?;
    line.options.resolved().map_err(|failure| failure.to_string())
}

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.yaml");
    std::fs::write(&path, "securePort: 7443\ndataDir: /srv/x\nadvertiseAddress: 192.0.2.1\n").unwrap();
    let file = path.to_str().unwrap();
    let server = resolve(&["--config", file, "--secure-port", "8443"]).unwrap();
    assert_eq!(server.secure_port, 8443);
    assert_eq!(server.data_dir, Path::new("/srv/x"));
    assert_eq!(server.cluster_domain, "cluster.local");
}

#[test]
fn both_families_by_the_line_or_the_file() {
    let one = resolve(&["--advertise-address", "192.0.2.1"]).unwrap();
    assert_eq!(one.cluster_dns, [IpAddr::from([10, 96, 0, 10])]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.yaml");
    let text = "advertiseAddress: 192.0.2.1\nclusterCidr: 10.244.0.0/16,fd00:10:244::/56\n\
                serviceClusterIpRange: 10.96.0.0/12,fd00:10:96::/112\nnodeCidrMaskSizeIpv6: 72\n";
    std::fs::write(&path, text).unwrap();
    let two = resolve(&["--config", path.to_str().unwrap()]).unwrap();
    assert_eq!(two.cluster_dns.len(), 2);
    let controllers = two.pod_ranges.controllers(&two.service_ranges).unwrap();
    assert_eq!(controllers.service_cidr, "10.96.0.0/12,fd00:10:96::/112");
    assert_eq!(controllers.node_cidr_mask_size_ipv6, Some(72));

    let six = ["--service-cluster-ip-range", "fd00:10:96::/112"];
    assert!(resolve(&[&six[..], &["--advertise-address", "2001:db8::1"]].concat()).is_ok());
    let error = resolve(&[&six[..], &["--advertise-address", "192.0.2.1"]].concat()).unwrap_err();
    assert!(error.contains("--advertise-address \"192.0.2.1\""), "{error}");
    let size = ["--config", path.to_str().unwrap(), "--node-cidr-mask-size", "24"];
    let server = resolve(&size).unwrap();
    let error = server.pod_ranges.controllers(&server.service_ranges).unwrap_err().to_string();
    assert!(error.contains("--node-cidr-mask-size is not allowed with dual-stack"), "{error}");
}

#[test]
fn durations_are_read_as_upstream_writes_them() {
    let given = ["--advertise-address", "192.0.2.1", "--event-ttl", "1h30m"];
    let server = resolve(&given).unwrap();
    assert_eq!((server.event_ttl.as_secs(), server.compaction_interval.as_secs()), (5400, 300));
    for wrong in ["", "5", "-3s", "0s", "soon"] {
        let given = format!("--event-ttl={wrong}");
        let error = resolve(&["--advertise-address", "192.0.2.1", &given]).unwrap_err();
        assert!(error.contains("--event-ttl") && error.contains("1h30m"), "{wrong}: {error}");
    }
}

#[test]
fn apis_are_turned_on_by_the_line_or_the_file() {
    let beta = |server: &Server| {
        server.runtime_config.served().iter().filter(|row| row.version == "v1beta1").count()
    };
    let address = ["--advertise-address", "192.0.2.1"];
    let given = |more: &[&str]| resolve(&[&address, more].concat());
    assert_eq!(beta(&given(&[]).unwrap()), 0);
    assert_eq!(beta(&given(&["--runtime-config=policy/v1beta1=true,batch/v1beta1"]).unwrap()), 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.yaml");
    std::fs::write(&path, "runtimeConfig: [api/beta=true]\n").unwrap();
    assert_eq!(beta(&given(&["--config", path.to_str().unwrap()]).unwrap()), 3);
    let error = given(&["--runtime-config=policy/v1beta9=true"]).unwrap_err();
    assert!(
        error.contains("--runtime-config: group version policy/v1beta9 that has not been registered"),
        "{error}"
    );
}

#[test]
fn bad_input_is_named() {
    assert!(resolve(&[]).unwrap_err().contains("--advertise-address 192.0.2.10"));
    assert!(resolve(&["--secure-port", "99999"]).unwrap_err().contains("99999"));
    assert!(resolve(&["--config", "/nowhere.yaml"]).unwrap_err().contains("/nowhere.yaml"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.yaml");
    std::fs::write(&path, "securePorts: 7443\n").unwrap();
    let error = resolve(&["--config", path.to_str().unwrap()]).unwrap_err();
    assert!(error.contains("securePorts"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
