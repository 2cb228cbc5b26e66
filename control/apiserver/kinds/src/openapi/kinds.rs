//! The Rust type of each kind: one line per group and version.

use schemars::Schema;
use schemars::generate::SchemaGenerator;

type Register = fn(&mut SchemaGenerator) -> Schema;

/// A module of k8s-openapi and a kind in it, as a type.
macro_rules! kind_type {
    (($($module:ident)::+) $kind:ident) => { k8s_openapi$(::$module)+::$kind };
}

macro_rules! kinds {
    ($($group:literal $version:literal $module:tt { $($kind:ident)* })*) => {
        &[$($((
            $group,
            $version,
            stringify!($kind),
            (|generator| generator.subschema_for::<kind_type!($module $kind)>()) as Register,
        ),)*)*]
    };
}

const KINDS: &[(&str, &str, &str, Register)] = kinds! {
    "" "v1" (api::core::v1) {
        Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
        PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
    }
    "admissionregistration.k8s.io" "v1" (api::admissionregistration::v1) {
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
        ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
    }
    "apiextensions.k8s.io" "v1" (apiextensions_apiserver::pkg::apis::apiextensions::v1) { CustomResourceDefinition }
    "apiregistration.k8s.io" "v1" (kube_aggregator::pkg::apis::apiregistration::v1) { APIService }
    "apps" "v1" (api::apps::v1) { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
    "authentication.k8s.io" "v1" (api::authentication::v1) { SelfSubjectReview TokenRequest TokenReview }
    "authorization.k8s.io" "v1" (api::authorization::v1) {
        LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
    }
    "autoscaling" "v1" (api::autoscaling::v1) { HorizontalPodAutoscaler Scale }
    "autoscaling" "v2" (api::autoscaling::v2) { HorizontalPodAutoscaler }
    "batch" "v1" (api::batch::v1) { CronJob Job }
    "certificates.k8s.io" "v1" (api::certificates::v1) { CertificateSigningRequest }
    "coordination.k8s.io" "v1" (api::coordination::v1) { Lease }
    "discovery.k8s.io" "v1" (api::discovery::v1) { EndpointSlice }
    "events.k8s.io" "v1" (api::events::v1) { Event }
    "flowcontrol.apiserver.k8s.io" "v1" (api::flowcontrol::v1) { FlowSchema PriorityLevelConfiguration }
    "networking.k8s.io" "v1" (api::networking::v1) { IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR }
    "node.k8s.io" "v1" (api::node::v1) { RuntimeClass }
    "policy" "v1" (api::policy::v1) { Eviction PodDisruptionBudget }
    "rbac.authorization.k8s.io" "v1" (api::rbac::v1) { ClusterRole ClusterRoleBinding Role RoleBinding }
    "resource.k8s.io" "v1" (api::resource::v1) { DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice }
    "scheduling.k8s.io" "v1" (api::scheduling::v1) { PriorityClass }
    "storage.k8s.io" "v1" (api::storage::v1) {
        CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
    }
};

/// How to register a kind's schema, `None` for one without a type of its own (such as options).
pub fn find(group: &str, version: &str, kind: &str) -> Option<Register> {
    KINDS
        .iter()
        .find(|(g, v, k, _)| (*g, *v, *k) == (group, version, kind))
        .map(|(_, _, _, register)| *register)
}

/// Registers what every document refers to.
pub fn common(generator: &mut SchemaGenerator) {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1;
    generator.subschema_for::<v1::Status>();
    generator.subschema_for::<v1::DeleteOptions>();
    generator.subschema_for::<v1::ListMeta>();
    generator.subschema_for::<v1::Patch>();
}
