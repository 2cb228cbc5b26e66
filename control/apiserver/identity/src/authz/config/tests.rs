use super::*;

fn file(directory: &std::path::Path) -> String {
    let path = directory.join("webhook.conf");
    std::fs::write(&path, "").unwrap();
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: mine
  webhook:
    timeout: 3s
    authorizedTTL: 1m30s
    subjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}
- {{type: Node, name: node}}
- {{type: RBAC, name: rbac}}
",
        path.display()
    )
}

#[test]
fn a_good_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuthorizationConfiguration::parse(&file(directory.path())).unwrap();
    let kinds: Vec<&str> = config.authorizers.iter().map(|authorizer| authorizer.kind.as_str()).collect();
    assert_eq!(kinds, ["Webhook", "Node", "RBAC"]);
    let options = config.authorizers[0].webhook.as_ref().unwrap().options("mine");
    assert_eq!(options.timeout, Duration::from_secs(3));
    assert_eq!(options.authorized_ttl, Duration::from_secs(90));
    assert_eq!(options.unauthorized_ttl, Duration::from_secs(30));
    assert_eq!(options.failure_policy, FailurePolicy::Deny);
    let text =
        file(directory.path()).replace("    timeout", "    cacheUnauthorizedRequests: false\n    timeout");
    let config = AuthorizationConfiguration::parse(&text).unwrap();
    assert!(config.authorizers[0].webhook.as_ref().unwrap().options("x").unauthorized_ttl.is_zero());
}

#[test]
fn each_wrong_field_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let good = file(directory.path());
    for (from, to, wanted) in [
        ("kind: AuthorizationC", "kind: AuthenticationC", "must be AuthorizationConfiguration"),
        ("type: Node", "type: ABAC", "authorizers[1].type: Unsupported value: \"ABAC\""),
        (
            "type: RBAC, name: rbac",
            "type: Node, name: rbac",
            "authorizers[2].type: Duplicate value: \"Node\"",
        ),
        ("name: rbac", "name: node", "authorizers[2].name: Duplicate value: \"node\""),
        ("name: mine", "name: R_", "authorizers[0].name: Invalid value: \"R_\""),
        (
            "name: rbac",
            "name: mine2",
            "authorizers[2].name: Invalid value: \"mine2\": expected name rbac for authorizer RBAC",
        ),
        ("name: node", "name: ''", "authorizers[1].name: Required value"),
        ("type: Webhook", "type: AlwaysAllow", "authorizers[0].webhook: Invalid value: \"non-null\""),
        ("type: Node", "type: Webhook", "authorizers[1].webhook: Required value: required when type=Webhook"),
        ("timeout: 3s", "timeout: 31s", "webhook.timeout: Invalid value: \"31s\": must be > 0s and <= 30s"),
        ("timeout: 3s", "timeout: soon", "must be a duration"),
        ("    timeout: 3s\n", "", "webhook.timeout: Required value"),
        (
            "authorizedTTL: 1m30s",
            "authorizedTTL: -1s",
            "webhook.authorizedTTL: Invalid value: \"-1s\": must be > 0s",
        ),
        ("Version: v1", "Version: v2", "webhook.subjectAccessReviewVersion: Unsupported value: \"v2\""),
        ("failurePolicy: Deny", "failurePolicy: Fail", "webhook.failurePolicy: Unsupported value: \"Fail\""),
        ("kubeConfigFile: /", "kubeConfigFile: ./", "kubeConfigFile: Invalid value"),
        ("kubeConfigFile: /", "kubeConfigFile: /none/", "must be a file"),
        ("type: KubeConfigFile", "type: InClusterConfig", "connectionInfo.type: Unsupported value"),
        (
            "    failurePolicy",
            "    matchConditions: [{expression: 'true'}]\n    failurePolicy",
            "matchConditionSubjectAccessReviewVersion: Required value",
        ),
        (
            "    failurePolicy",
            "    matchConditionSubjectAccessReviewVersion: v1\n    matchConditions: [{expression: ''}]\n    failurePolicy",
            "matchConditions[0].expression: Required value",
        ),
        ("- type: Webhook", "- type: Webhook\n  kind: x", "kind"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = AuthorizationConfiguration::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{to}: {error}");
    }
}

#[test]
fn modes_say_the_same_as_a_file() {
    let flags = |modes: &[&str], path: Option<&str>| ModeFlags {
        modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
        webhook_config_file: path.map(PathBuf::from),
        ..ModeFlags::default()
    };
    let default = ModeFlags::default().to_config().unwrap();
    assert_eq!(default.authorizers.iter().map(|a| a.kind.as_str()).collect::<Vec<_>>(), ["Node", "RBAC"]);
    let webhook = flags(&["Webhook", "RBAC"], Some("/x")).to_config().unwrap();
    let options = webhook.authorizers[0].webhook.as_ref().unwrap().options("default");
    assert_eq!((options.version.as_str(), options.authorized_ttl), ("v1beta1", Duration::from_secs(300)));
    for (flags, wanted) in [
        (flags(&[], None), ModeError::None),
        (flags(&["ABAC"], None), ModeError::Unknown("ABAC".to_owned())),
        (flags(&["RBAC", "RBAC"], None), ModeError::Twice("RBAC".to_owned())),
        (flags(&["Webhook"], None), ModeError::NoFile),
        (flags(&["RBAC"], Some("/x")), ModeError::NoMode),
    ] {
        assert_eq!(flags.to_config(), Err(wanted));
    }
}
