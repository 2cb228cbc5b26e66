//! Which families of addresses a Service has. Pure.
//!
//! Enters: a Service about to be written, and the one before. Leaves: `clusterIP` and `clusterIPs` that agree,
//! `ipFamilies` and `ipFamilyPolicy` with their defaults, or what is wrong with them here. What no cluster would take
//! (unknown families, more than two) is left to validation, which comes later. Called by [`super::service::plan`].
//!
//! Authority: `initIPFamilyFields` in upstream's `pkg/registry/core/service/storage/alloc.go`.

use std::net::IpAddr;

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::Cidr;
use super::service::{kind_of, text_of, texts};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

fn family_of(address: IpAddr) -> &'static str {
    FAMILIES[usize::from(address.is_ipv6())]
}

fn other(family: &str) -> &'static str {
    FAMILIES[usize::from(family == "IPv4")]
}

fn families(service: &Value) -> Vec<String> {
    service["spec"]["ipFamilies"].as_array().into_iter().flatten().filter_map(text_of).collect()
}

fn policy(service: &Value) -> Option<String> {
    text_of(&service["spec"]["ipFamilyPolicy"])
}

fn is_headless(service: &Value) -> bool {
    service["spec"]["clusterIP"] == "None"
}

/// Defaults the fields and judges them.
pub fn settle(service: &mut Value, old: Option<&Value>, ranges: &[Cidr]) -> Result<(), Vec<FieldError>> {
    if kind_of(service) == "ExternalName" || !service["spec"].is_object() {
        return Ok(());
    }
    agree(service);
    if old.is_some_and(|old| still_preferred(service, old)) || !readable(service) {
        return Ok(());
    }
    let selectorless = service["spec"]["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    let any_families = is_headless(service) && selectorless;
    let policy = policy(service).unwrap_or_else(|| {
        let default = if any_families { "RequireDualStack" } else { "SingleStack" };
        default.to_owned()
    });
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    let mut errors = Vec::new();
    if let Some(old) = old {
        errors.extend(reduce(service, old, &policy));
    }
    errors.extend(contradictions(service, &policy));
    let mut families = families(service);
    errors.extend(infer(service, &mut families, ranges));
    if errors.is_empty() && !any_families {
        errors = unconfigured(&families, &policy, ranges);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if families.is_empty() {
        families.extend(ranges.first().map(|range| range.family().to_owned()));
    }
    if policy != "SingleStack"
        && let [only] = &families[..]
        && let second = other(only)
        && (any_families || ranges.iter().any(|range| range.family() == second))
    {
        families.push(second.to_owned());
    }
    service["spec"]["ipFamilies"] = json!(families);
    Ok(())
}

/// Makes `clusterIP` and `clusterIPs` agree where only one is given.
fn agree(service: &mut Value) {
    let all = texts(service);
    let single = text_of(&service["spec"]["clusterIP"]);
    let listed = service["spec"]["clusterIPs"].as_array().is_some_and(|list| !list.is_empty());
    match (single, listed) {
        (Some(ip), false) => service["spec"]["clusterIPs"] = json!([ip]),
        (None, true) => service["spec"]["clusterIP"] = json!(all.first()),
        _ => {}
    }
}

/// A Service that prefers both families and is not asked to change is left as it is, though the cluster may have
/// another number of families now.
fn still_preferred(service: &Value, old: &Value) -> bool {
    let prefers = |service: &Value| policy(service).as_deref() == Some("PreferDualStack");
    kind_of(old) != "ExternalName"
        && prefers(service)
        && prefers(old)
        && texts(service) == texts(old)
        && families(service) == families(old)
}

fn readable(service: &Value) -> bool {
    let known = families(service).iter().all(|family| FAMILIES.contains(&family.as_str()));
    let listed = texts(service);
    let addresses = listed.iter().all(|text| text == "None" || text.parse::<IpAddr>().is_ok());
    known && addresses && families(service).len() <= 2 && listed.len() <= 2
}

fn refuse(policy: &str, why: &str) -> FieldError {
    FieldError::invalid(&Path::new("spec").child("ipFamilyPolicy"), policy, why)
}

/// Single stack without other changes means to give the second family up; anything else that gives it up is refused.
fn reduce(service: &mut Value, old: &Value, policy: &str) -> Vec<FieldError> {
    let (ips, old_ips) = (texts(service), texts(old));
    let (now, before) = (families(service), families(old));
    if policy == "SingleStack" {
        if ips.len() > 1 && ips == old_ips {
            service["spec"]["clusterIPs"] = json!(ips[..1]);
        }
        if now.len() > 1 && now == before {
            service["spec"]["ipFamilies"] = json!(now[..1]);
        }
        return Vec::new();
    }
    let reduced = |now: &[String], before: &[String]| !now.is_empty() && now.len() < before.len();
    let mut errors = Vec::new();
    if reduced(&ips, &old_ips) {
        errors.push(refuse(policy, "must be 'SingleStack' to release the secondary cluster IP"));
    }
    if reduced(&now, &before) {
        errors.push(refuse(policy, "must be 'SingleStack' to release the secondary IP family"));
    }
    errors
}

fn contradictions(service: &Value, policy: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if policy == "SingleStack" {
        let must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
        if texts(service).len() == 2 {
            errors.push(refuse(policy, &format!("{must} cluster IPs are specified")));
        }
        if families(service).len() == 2 {
            errors.push(refuse(policy, &format!("{must} IP families are specified")));
        }
    }
    errors
}

/// Families that are not named follow from the addresses.
fn infer(service: &Value, families: &mut Vec<String>, ranges: &[Cidr]) -> Vec<FieldError> {
    let ips = texts(service);
    let named = families.len();
    let mut errors = Vec::new();
    for (index, address) in ips.iter().enumerate().skip(named) {
        let Ok(address) = address.parse() else { break };
        let family = family_of(address);
        if ranges.iter().any(|range| range.family() == family) {
            families.push(family.to_owned());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(index);
            let why = format!("{family} is not configured on this cluster");
            errors.push(FieldError::invalid(&path, &ips, why));
        }
    }
    errors
}

fn unconfigured(families: &[String], policy: &str, ranges: &[Cidr]) -> Vec<FieldError> {
    let has = |family: &str| ranges.iter().any(|range| range.family() == family);
    let mut errors = Vec::new();
    if policy == "RequireDualStack" && !FAMILIES.into_iter().all(has) {
        errors.push(refuse(policy, "this cluster is not configured for dual-stack services"));
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| !has(family)) {
        let path = Path::new("spec").child("ipFamilies").index(index);
        errors.push(FieldError::invalid(&path, family, "not configured on this cluster"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "10.96.0.0/12";
    const V6: &str = "fd00:10:96::/112";

    fn settled(spec: Value, old: Option<Value>, ranges: &[&str]) -> Result<Value, String> {
        let ranges: Vec<Cidr> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let mut service = json!({"spec": spec});
        let old = old.map(|spec| json!({"spec": spec}));
        match settle(&mut service, old.as_ref(), &ranges) {
            Ok(()) => Ok(service["spec"].take()),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    fn found(spec: Value, ranges: &[&str]) -> String {
        let spec = settled(spec, None, ranges).unwrap();
        format!("{} {}", spec["ipFamilyPolicy"].as_str().unwrap(), spec["ipFamilies"])
    }

    #[test]
    fn defaults() {
        let chosen = json!({"selector": {"a": "b"}});
        let with = |key: &str, value: Value| {
            let mut spec = chosen.clone();
            spec[key] = value;
            spec
        };
        let (four, six, both) = (&[V4], &[V6], &[V4, V6]);
        assert_eq!(found(chosen.clone(), both), r#"SingleStack ["IPv4"]"#);
        assert_eq!(found(chosen.clone(), six), r#"SingleStack ["IPv6"]"#);
        assert_eq!(found(chosen.clone(), &[V6, V4]), r#"SingleStack ["IPv6"]"#);
        let prefers = with("ipFamilyPolicy", json!("PreferDualStack"));
        assert_eq!(found(prefers.clone(), four), r#"PreferDualStack ["IPv4"]"#);
        assert_eq!(found(prefers, both), r#"PreferDualStack ["IPv4","IPv6"]"#);
        assert_eq!(found(with("clusterIP", json!("fd00:10:96::9")), both), r#"SingleStack ["IPv6"]"#);
        assert_eq!(found(json!({"clusterIP": "None"}), four), r#"RequireDualStack ["IPv4","IPv6"]"#);
        assert_eq!(found(with("clusterIP", json!("None")), both), r#"SingleStack ["IPv4"]"#);
    }

    #[test]
    fn what_this_cluster_does_not_have() {
        let refused = |spec: Value, ranges: &[&str], says: &str| {
            let error = settled(spec, None, ranges).unwrap_err();
            assert!(error.contains(says), "{error}");
        };
        refused(
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            &[V4],
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        );
        refused(
            json!({"ipFamilies": ["IPv6"]}),
            &[V4],
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        );
        refused(json!({"clusterIP": "fd00::1"}), &[V4], "IPv6 is not configured on this cluster");
        refused(
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            &[V4, V6],
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        );
        refused(
            json!({"clusterIPs": ["10.96.0.9", "fd00:10:96::9"]}),
            &[V4, V6],
            "when multiple cluster IPs are specified",
        );
        // Validation's.
        assert!(settled(json!({"ipFamilies": ["IPv7"]}), None, &[V4]).is_ok());
    }

    #[test]
    fn a_second_family_comes_and_goes() {
        let one = json!({"clusterIPs": ["10.96.0.9"], "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack"});
        let two = json!({"clusterIPs": ["10.96.0.9", "fd00:10:96::9"], "clusterIP": "10.96.0.9",
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"});
        let with = |spec: &Value, key: &str, value: Value| {
            let mut spec = spec.clone();
            spec[key] = value;
            spec
        };
        let both = &[V4, V6];
        let wanted = with(&one, "ipFamilyPolicy", json!("PreferDualStack"));
        let up = settled(wanted.clone(), Some(one.clone()), both).unwrap();
        assert_eq!(up["ipFamilies"], json!(["IPv4", "IPv6"]));
        let down =
            settled(with(&two, "ipFamilyPolicy", json!("SingleStack")), Some(two.clone()), both).unwrap();
        assert_eq!((&down["ipFamilies"], &down["clusterIPs"]), (&one["ipFamilies"], &one["clusterIPs"]));
        // One of the time before the second range stays as it is until it is asked to change.
        assert_eq!(settled(wanted.clone(), Some(wanted.clone()), both).unwrap(), wanted);
        assert_eq!(settled(two.clone(), Some(two.clone()), &[V4]).unwrap(), two);
        let error =
            settled(with(&two, "clusterIPs", json!(["10.96.0.9"])), Some(two.clone()), both).unwrap_err();
        assert!(error.contains("must be 'SingleStack' to release the secondary cluster IP"), "{error}");
        let error = settled(with(&two, "ipFamilies", json!(["IPv4"])), Some(two), both).unwrap_err();
        assert!(error.contains("must be 'SingleStack' to release the secondary IP family"), "{error}");
    }
}
