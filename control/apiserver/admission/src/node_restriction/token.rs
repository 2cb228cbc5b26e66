//! Tokens a kubelet asks for: bound to a pod it runs, for an audience that the pod mounts.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_identity::Attributes;

use super::Refused;
use crate::{Call, Question};

pub(super) fn check(call: &Call<'_>, request: &Value, node: &str) -> Result<Vec<Question>, Refused> {
    let bound = &request["spec"]["boundObjectRef"];
    let refuse = |why: String| Err(Refused::Why(why));
    let name = meta::str_at(bound, "/name");
    if bound["apiVersion"] != "v1" || bound["kind"] != "Pod" || name.is_empty() {
        return refuse("node requested token not bound to a pod".to_owned());
    }
    let uid = meta::str_at(bound, "/uid");
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid".to_owned());
    }
    let Some(pod) = call.reader.get("", "pods", call.request.namespace, name) else {
        return Err(Refused::Missing(ApiError::not_found("", "pods", name)));
    };
    if uid != meta::uid(&pod) {
        return refuse(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        ));
    }
    if meta::str_at(&pod, "/spec/nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    let audience = match meta::list_at(request, "/spec/audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return refuse("node may only request 0 or 1 audiences".to_owned()),
    };
    if mounts(call, &pod, audience) {
        return Ok(Vec::new());
    }
    Ok(vec![question(call, request, &pod, audience)])
}

/// An operator may allow audiences that no volume names, for credential providers that use service account tokens.
fn question(call: &Call<'_>, request: &Value, pod: &Value, audience: &str) -> Question {
    let user = call.request.user;
    let account = meta::str_at(pod, "/spec/serviceAccountName");
    let verb = "request-serviceaccounts-token-audience";
    let mut ask = Attributes::resource(user, verb, "", audience, call.request.namespace, account);
    "v1".clone_into(&mut ask.version);
    let why = format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience: {}",
        user.name,
        Question::REASON
    );
    Question { any_of: vec![ask], refusal: call.forbidden(request, why) }
}

/// Whether a volume of the pod asks for a token of this audience (empty: the API server's own).
fn mounts(call: &Call<'_>, pod: &Value, audience: &str) -> bool {
    meta::list_at(pod, "/spec/volumes").iter().any(|volume| {
        let mut sources = meta::list_at(volume, "/projected/sources").iter();
        let projected = sources.any(|source| {
            let token = &source["serviceAccountToken"];
            token.is_object() && meta::str_at(token, "/audience") == audience
        });
        projected || driver(call, pod, volume).is_some_and(|driver| wants(call, &driver, audience))
    })
}

/// The CSI driver behind a volume: inline, or of the claim's volume.
fn driver(call: &Call<'_>, pod: &Value, volume: &Value) -> Option<String> {
    let inline = meta::str_at(volume, "/csi/driver");
    if !inline.is_empty() {
        return Some(inline.to_owned());
    }
    let claim = if volume["ephemeral"].is_object() {
        format!("{}-{}", meta::name(pod), meta::str_at(volume, "/name"))
    } else {
        meta::str_at(volume, "/persistentVolumeClaim/claimName").to_owned()
    };
    let claim = call.reader.get("", "persistentvolumeclaims", call.request.namespace, &claim)?;
    let name = meta::str_at(&claim, "/spec/volumeName");
    let stored = call.reader.get("", "persistentvolumes", "", name)?;
    Some(meta::str_at(&stored, "/spec/csi/driver").to_owned()).filter(|driver| !driver.is_empty())
}

/// Whether a driver wants tokens of this audience.
fn wants(call: &Call<'_>, driver: &str, audience: &str) -> bool {
    let Some(driver) = call.reader.get("storage.k8s.io", "csidrivers", "", driver) else { return false };
    let mut requests = meta::list_at(&driver, "/spec/tokenRequests").iter();
    requests.any(|request| meta::str_at(request, "/audience") == audience)
}
