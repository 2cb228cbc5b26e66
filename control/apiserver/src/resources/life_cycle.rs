//! Which served versions are on their way out, and what their users are told. Pure.
//!
//! Authority: `k8s.io/apiserver/pkg/endpoints/deprecation`; the prerelease life cycles of
//! k8s.io/api/{core,batch,discovery,policy}.

use super::kind::Kind;

/// What is said of a deprecated version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// The warning of every answer.
    pub warning: String,
    /// The release it is gone in, such as `1.25`; empty if none is planned.
    pub removed_release: &'static str,
}

/// Of the kinds of core/v1: when they were deprecated and what takes their place.
const CORE: [(&str, &str); 2] = [
    ("componentstatuses", "is deprecated in v1.19+"),
    ("endpoints", "is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

impl Kind {
    /// What is said of this version, if it is deprecated.
    ///
    /// All older forms of built-in resources went the same way.
    #[must_use]
    pub fn deprecation(&self) -> Option<Deprecation> {
        let (served, stored) = (self.served, self.stored);
        let name = format!("{} {}", served.api_version(), served.kind);
        if let Some(custom) = &self.custom {
            let warning = custom.deprecation()?.to_owned();
            return Some(Deprecation { warning, removed_release: "" });
        }
        if served.is_older_form() {
            let instead = format!("use {} {}", stored.api_version(), stored.kind);
            let warning = format!("{name} is deprecated in v1.21+, unavailable in v1.25+; {instead}");
            return Some(Deprecation { warning, removed_release: "1.25" });
        }
        let (_, words) =
            CORE.iter().find(|(plural, _)| served.group.is_empty() && served.plural == *plural)?;
        Some(Deprecation { warning: format!("{name} {words}"), removed_release: "" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RuntimeConfig, built_in, stored_as};
    use crate::resources::Resources;
    use crate::watch::Caches;

    #[test]
    fn what_is_deprecated_says_since_when_and_until_when() {
        let stored = built_in().filter(|r| r.storage).map(stored_as);
        let caches = Caches::new(stored.map(|r| (r.group, r.plural)));
        let enabled = RuntimeConfig::parse(["batch/v1beta1"]).unwrap();
        let resources = Resources::new(&caches, &enabled);
        for (group, version, plural, wanted) in [
            ("", "v1", "componentstatuses", Some(("v1 ComponentStatus is deprecated in v1.19+", ""))),
            (
                "",
                "v1",
                "endpoints",
                Some(("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice", "")),
            ),
            (
                "batch",
                "v1beta1",
                "cronjobs",
                Some((
                    "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob",
                    "1.25",
                )),
            ),
            ("batch", "v1", "cronjobs", None),
            ("", "v1", "pods", None),
            ("discovery.k8s.io", "v1", "endpointslices", None),
        ] {
            let found = resources.lookup(group, version, plural).unwrap().deprecation();
            let found = found.as_ref().map(|found| (found.warning.as_str(), found.removed_release));
            assert_eq!(found, wanted, "{group}/{version} {plural}");
        }
    }
}
