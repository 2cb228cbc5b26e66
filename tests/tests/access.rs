//! Who may do what: auth can-i, tokens of service accounts, RBAC, escalation, the node's own limits.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use xebec_tests::{
    Call, Namespace, PATIENCE, cluster, kubectl, namespaced, node, program, setting, shell_pod, until,
};

/// A kubeconfig of this cluster whose user has no credential.
fn without_credentials() -> Result<NamedTempFile> {
    let mut config: Value =
        serde_json::from_str(&kubectl("config view --raw --minify --flatten -o json").ok()?)?;
    config["users"][0]["user"] = json!({});
    let file = NamedTempFile::new()?;
    std::fs::write(file.path(), config.to_string())?;
    Ok(file)
}

/// A GET without kubectl, which asks for a user name when it has no credential: status and body.
const REQUEST: &str = r#"
import base64, json, ssl, sys, urllib.error, urllib.request
cluster = json.load(open(sys.argv[1]))["clusters"][0]["cluster"]
trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
headers = {"Authorization": "Bearer " + sys.argv[3]} if len(sys.argv) > 3 else {}
request = urllib.request.Request(cluster["server"] + sys.argv[2], headers=headers)
try:
    answer = urllib.request.urlopen(request, context=trust)
except urllib.error.HTTPError as error:
    answer = error
print(answer.getcode(), answer.read().decode())
"#;

fn request(config: &NamedTempFile, path: &str, token: Option<&str>) -> Result<(String, String)> {
    let call = program(setting("XEBEC_PYTHON")?).arg("-c").arg(REQUEST).arg(config.path()).arg(path);
    let text = token.into_iter().fold(call, Call::arg).ok()?;
    let (status, body) = text.split_once(' ').with_context(|| format!("no answer: {text:?}"))?;
    Ok((status.to_owned(), body.to_owned()))
}

/// kubectl as the bearer of a token and nothing else.
fn with_token(config: &NamedTempFile, token: &str, line: &str) -> Call {
    kubectl("--kubeconfig").arg(config.path()).arg(format!("--token={}", token.trim())).words(line)
}

fn grant(ns: &Namespace) -> Result<()> {
    ns.kubectl("create serviceaccount reader").ok()?;
    ns.kubectl("create role pods --verb=get,list --resource=pods").ok()?;
    ns.kubectl("create rolebinding pods --role=pods")
        .arg(format!("--serviceaccount={}:reader", ns.name))
        .ok()
        .map(drop)
}

#[test]
fn can_i_answers_for_oneself_and_for_others() -> Result<()> {
    namespaced("can-i", |ns| {
        grant(ns)?;
        ensure!(ns.kubectl("auth can-i create pods").ok()? == "yes\n");
        ensure!(ns.kubectl("auth can-i '*' '*'").ok()? == "yes\n");
        let reader = format!("--as=system:serviceaccount:{}:reader", ns.name);
        ensure!(ns.kubectl("auth can-i list pods").arg(&reader).ok()? == "yes\n");
        for line in [
            "auth can-i delete pods",
            "auth can-i list secrets",
            "auth can-i list pods -A",
            "auth can-i get nodes",
        ] {
            let output = ns.kubectl(line).arg(&reader).run()?;
            ensure!(output.stdout.starts_with("no") && output.code == Some(1), "{line}: {output}");
        }
        let list = ns.kubectl("auth can-i --list").arg(&reader).ok()?;
        let row = list.lines().find(|line| line.starts_with("pods "));
        ensure!(row.is_some_and(|row| row.ends_with("[get list]")), "{list}");
        ensure!(list.contains("selfsubjectaccessreviews.authorization.k8s.io"), "{list}");
        let mine = ns.kubectl("auth can-i --list").ok()?;
        ensure!(mine.lines().any(|line| line.starts_with("*.*") && line.ends_with("[*]")), "{mine}");
        Ok(())
    })
}

#[test]
fn a_service_accounts_token_opens_only_what_its_role_allows() -> Result<()> {
    namespaced("token", |ns| {
        grant(ns)?;
        let config = without_credentials()?;
        let token = ns.kubectl("create token reader --duration=10m").ok()?;
        ensure!(token.trim().split('.').count() == 3, "not a JWT: {token}");
        let line = |line: &str| format!("-n {} {line}", ns.name);
        with_token(&config, &token, &line("get pods")).ok()?;
        let said =
            with_token(&config, &token, &line("get secrets")).fails("Error from server (Forbidden)")?;
        let expected = format!(
            "secrets is forbidden: User \"system:serviceaccount:{0}:reader\" cannot list resource \"secrets\" in API group \"\" in the namespace \"{0}\"",
            ns.name
        );
        ensure!(said.contains(&expected), "{said}");
        let said = with_token(&config, &token, "get nodes").fails("Forbidden")?;
        ensure!(
            said.contains("cannot list resource \"nodes\" in API group \"\" at the cluster scope"),
            "{said}"
        );
        // A token dies with its service account.
        ns.kubectl("delete serviceaccount reader").ok()?;
        until("the token is refused", PATIENCE, || {
            with_token(&config, &token, &line("get pods")).fails("You must be logged in").map(Some)
        })?;
        Ok(())
    })
}

#[test]
fn a_bad_token_is_401_and_no_credential_is_403() -> Result<()> {
    cluster(|| {
        let config = without_credentials()?;
        with_token(&config, "not.a.token", "get pods").fails("You must be logged in to the server")?;
        let pods = "/api/v1/namespaces/default/pods";
        let (code, body) = request(&config, pods, None)?;
        ensure!(code == "403", "{code} {body}");
        let status: Value = serde_json::from_str(&body)?;
        ensure!(status["kind"] == "Status" && status["reason"] == "Forbidden", "{status}");
        let message = status["message"].as_str().unwrap_or_default();
        let expected =
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\"";
        ensure!(message.starts_with(expected), "{status}");
        for open in ["/livez", "/readyz", "/version"] {
            ensure!(request(&config, open, None)?.0 == "200", "{open} is public upstream");
        }
        let (code, body) = request(&config, pods, Some("not.a.token"))?;
        ensure!(code == "401", "{code} {body}");
        let status: Value = serde_json::from_str(&body)?;
        ensure!(status["reason"] == "Unauthorized" && status["message"] == "Unauthorized", "{status}");
        Ok(())
    })
}

#[test]
fn nobody_grants_more_than_they_have() -> Result<()> {
    namespaced("escalate", |ns| {
        ns.kubectl("create serviceaccount admin").ok()?;
        ns.kubectl("create rolebinding admin --clusterrole=admin")
            .arg(format!("--serviceaccount={}:admin", ns.name))
            .ok()?;
        let admin = format!("--as=system:serviceaccount:{}:admin", ns.name);
        ns.kubectl("create role fine --verb=get --resource=pods").arg(&admin).ok()?;
        let said =
            ns.kubectl("create role more --verb=get --resource=nodes").arg(&admin).fails("Forbidden")?;
        ensure!(said.contains("is attempting to grant RBAC permissions not currently held"), "{said}");
        ns.kubectl("create rolebinding more --clusterrole=cluster-admin --user=eve")
            .arg(&admin)
            .fails("is forbidden")?;
        Ok(())
    })
}

#[test]
fn upstreams_roles_are_there() -> Result<()> {
    cluster(|| {
        let roles = kubectl("get clusterroles -o name").ok()?;
        for role in [
            "cluster-admin",
            "admin",
            "edit",
            "view",
            "system:node",
            "system:discovery",
            "system:kube-scheduler",
        ] {
            let name = format!("clusterrole.rbac.authorization.k8s.io/{role}");
            ensure!(roles.lines().any(|line| line == name), "no {role} in:\n{roles}");
        }
        Ok(())
    })
}

#[test]
fn a_node_sees_only_what_its_pods_need() -> Result<()> {
    namespaced("node-authz", |ns| {
        ns.kubectl("create secret generic private --from-literal=a=1").ok()?;
        let node = format!("--as=system:node:{}", node()?);
        let group = "--as-group=system:nodes";
        let said = ns.kubectl("get secret private").arg(&node).arg(group).fails("Forbidden")?;
        ensure!(said.contains("no relationship found between node"), "{said}");
        let pod = shell_pod("user", "sleep 600").container(json!({
            "envFrom": [{"secretRef": {"name": "private"}}],
        }));
        ns.apply(pod)?;
        ns.ready("user")?;
        ensure!(ns.kubectl("get secret private -o jsonpath={.data.a}").arg(&node).arg(group).ok()? == "MQ==");
        ns.kubectl("get secrets").arg(&node).arg(group).fails("Forbidden")?;
        Ok(())
    })
}
