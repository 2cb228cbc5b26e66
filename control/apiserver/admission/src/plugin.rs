//! The plug-ins: their names, upstream's order, which run, and what each does in which phase.

use std::collections::BTreeSet;

use rand::Rng;
use serde_json::Value;
use xebec_api::status::ApiError;

use crate::{
    Call, Findings, Question, certificates, images, limit_ranger, namespaces, network, node_restriction,
    nodes, owner_references, pod_security, priority, rate_limit, runtime_class, service_account, storage,
    tolerations,
};

macro_rules! plugins {
    ($($(#[$doc:meta])* $name:ident = $default:literal),+ $(,)?) => {
        /// A built-in admission plug-in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Plugin { $($(#[$doc])* $name),+ }

        impl Plugin {
            /// Every plug-in, in the order they run.
            pub const ORDER: &[Self] = &[$(Self::$name),+];

            /// The name in flags and configuration.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// Whether it runs unless disabled.
            pub fn is_default(self) -> bool {
                match self { $(Self::$name => $default),+ }
            }
        }
    };
}

plugins! {
    /// Nothing new in missing or terminating namespaces.
    NamespaceLifecycle = true,
    /// Every write needs its namespace.
    NamespaceExists = false,
    /// No required anti-affinity beyond the node.
    LimitPodHardAntiAffinityTopology = false,
    /// Defaults and bounds by LimitRange.
    LimitRanger = true,
    /// Pods get an account and its token.
    ServiceAccount = true,
    /// Kubelets stay with their own.
    NodeRestriction = true,
    /// New nodes are tainted.
    TaintNodesByCondition = true,
    /// Images are pulled anew.
    AlwaysPullImages = false,
    /// The Pod Security Standards.
    PodSecurity = true,
    /// Node selectors by namespace.
    PodNodeSelector = false,
    /// Priority classes become numbers.
    Priority = true,
    /// Five minutes on a node that went away.
    DefaultTolerationSeconds = true,
    /// Tolerations by namespace.
    PodTolerationRestriction = false,
    /// Events are limited.
    EventRateLimit = false,
    /// Pods tolerate the taints of the devices they ask for.
    ExtendedResourceToleration = false,
    /// Claims get a storage class.
    DefaultStorageClass = true,
    /// Storage in use stays.
    StorageObjectInUseProtection = true,
    /// Owners only of what one may delete.
    OwnerReferencesPermissionEnforcement = false,
    /// Claims may grow if their class may.
    PersistentVolumeClaimResize = true,
    /// Overhead and scheduling of runtime classes.
    RuntimeClass = true,
    /// Who approves certificate requests.
    CertificateApproval = true,
    /// Who signs them.
    CertificateSigning = true,
    /// Who publishes trust anchors.
    ClusterTrustBundleAttest = true,
    /// No client certificates for system:masters.
    CertificateSubjectRestriction = true,
    /// Ingresses get a class.
    DefaultIngressClass = true,
    /// No external IPs.
    DenyServiceExternalIPs = false,
    /// Pods learn their zone.
    PodTopologyLabels = true,
    /// Policies in CEL that change objects; run by the caller at this place of the order.
    MutatingAdmissionPolicy = true,
    /// Web services that change objects; run by the caller.
    MutatingAdmissionWebhook = true,
    /// Policies in CEL; run by the caller.
    ValidatingAdmissionPolicy = true,
    /// Web services; run by the caller.
    ValidatingAdmissionWebhook = true,
    /// What namespaces may hold; run by the caller with [`crate::quota::Reserver`].
    ResourceQuota = true,
}

/// Why a list of plug-ins cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A name nobody knows.
    #[error("{flag}: unknown admission plug-in {name:?}; known are {known}")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// The name.
        name: String,
        /// What would be right.
        known: String,
    },
    /// A name in both lists.
    #[error("admission plug-in {0:?} is in both --enable-admission-plugins and --disable-admission-plugins")]
    Both(String),
}

/// The plug-ins that run: the default ones, without the disabled and with the enabled ones.
pub fn select(enabled: &[String], disabled: &[String]) -> Result<BTreeSet<Plugin>, SelectionError> {
    let read = |flag: &'static str, names: &[String]| {
        let one = |name: &String| {
            let found = Plugin::ORDER.iter().find(|plugin| plugin.name() == name).copied();
            found.ok_or_else(|| SelectionError::Unknown {
                flag,
                name: name.clone(),
                known: Plugin::ORDER.iter().map(|p| p.name()).collect::<Vec<_>>().join(", "),
            })
        };
        names.iter().map(one).collect::<Result<BTreeSet<Plugin>, _>>()
    };
    let on = read("--enable-admission-plugins", enabled)?;
    let off = read("--disable-admission-plugins", disabled)?;
    if let Some(both) = on.intersection(&off).next() {
        return Err(SelectionError::Both(both.name().to_owned()));
    }
    let wanted = |p: &&Plugin| on.contains(p) || (p.is_default() && !off.contains(p));
    Ok(Plugin::ORDER.iter().filter(wanted).copied().collect())
}

impl Plugin {
    /// The mutating phase: completes `object` (null for deletes and connections), or refuses.
    ///
    /// What comes back must be asked before going on.
    pub fn mutate(
        self,
        call: &Call<'_>,
        object: &mut Value,
        rng: &mut impl Rng,
    ) -> Result<Vec<Question>, ApiError> {
        match self {
            Self::NamespaceLifecycle => namespaces::lifecycle(call, object)?,
            Self::NodeRestriction => return node_restriction::check(call, object),
            _ if !tolerations::applies(call.request.operation) => {}
            Self::LimitRanger => limit_ranger::mutate(call, object),
            Self::ServiceAccount => service_account::mutate(call, object, rng)?,
            Self::TaintNodesByCondition => nodes::taint_new(call, object),
            Self::AlwaysPullImages => images::mutate(call, object),
            Self::PodNodeSelector => nodes::select_nodes(call, object)?,
            Self::Priority => priority::mutate(call, object)?,
            Self::DefaultTolerationSeconds => tolerations::default_seconds(call, object),
            Self::PodTolerationRestriction => tolerations::restrict(call, object)?,
            Self::ExtendedResourceToleration => tolerations::extended_resources(call, object),
            Self::DefaultStorageClass => storage::set_default_class(call, object),
            Self::StorageObjectInUseProtection => storage::protect(call, object),
            Self::RuntimeClass => runtime_class::mutate(call, object)?,
            Self::DefaultIngressClass => network::set_default_ingress_class(call, object),
            Self::PodTopologyLabels => nodes::topology_labels(call, object),
            _ => {}
        }
        Ok(Vec::new())
    }

    /// The validating phase: looks at the finished object.
    pub fn validate(
        self,
        call: &Call<'_>,
        object: &Value,
        findings: &mut Findings,
    ) -> Result<Vec<Question>, ApiError> {
        match self {
            Self::NamespaceExists => namespaces::exists(call)?,
            _ if !tolerations::applies(call.request.operation) => {}
            Self::LimitPodHardAntiAffinityTopology => nodes::anti_affinity(call, object)?,
            Self::LimitRanger => limit_ranger::validate(call, object)?,
            Self::ServiceAccount => service_account::validate(call, object)?,
            Self::AlwaysPullImages => images::validate(call, object)?,
            Self::PodSecurity => pod_security::validate(call, object, findings)?,
            Self::PodNodeSelector => nodes::check_selection(call, object)?,
            Self::Priority => priority::validate(call, object)?,
            Self::PodTolerationRestriction => tolerations::validate_restricted(call, object)?,
            Self::EventRateLimit => rate_limit::validate(call, object)?,
            Self::OwnerReferencesPermissionEnforcement => return owner_references::check(call, object),
            Self::PersistentVolumeClaimResize => storage::resize(call, object)?,
            Self::RuntimeClass => runtime_class::validate(call, object)?,
            Self::CertificateApproval => return Ok(certificates::approval(call, object)),
            Self::CertificateSigning => return Ok(certificates::signing(call, object)),
            Self::ClusterTrustBundleAttest => return Ok(certificates::trust_bundle(call, object)),
            Self::CertificateSubjectRestriction => certificates::subject_restriction(call, object)?,
            Self::DenyServiceExternalIPs => network::deny_external_ips(call, object)?,
            _ => {}
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn selection() {
        let plain = select(&[], &[]).unwrap();
        assert!(plain.contains(&Plugin::PodSecurity) && !plain.contains(&Plugin::AlwaysPullImages));
        let changed = select(&names(&["AlwaysPullImages"]), &names(&["PodSecurity"])).unwrap();
        assert!(!changed.contains(&Plugin::PodSecurity) && changed.contains(&Plugin::AlwaysPullImages));
        // The set iterates in upstream's order.
        let order: Vec<Plugin> = plain.into_iter().collect();
        assert_eq!((order[0], order[1]), (Plugin::NamespaceLifecycle, Plugin::LimitRanger));
        assert_eq!(order.last(), Some(&Plugin::ResourceQuota));
        let wrong = select(&names(&["X"]), &[]).unwrap_err().to_string();
        assert!(wrong.starts_with("--enable-admission-plugins: unknown admission plug-in \"X\"; known are"));
        assert!(matches!(
            select(&names(&["Priority"]), &names(&["Priority"])),
            Err(SelectionError::Both(name)) if name == "Priority"
        ));
    }
}
