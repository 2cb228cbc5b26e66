//! Role-based access control over the stored roles and bindings.
//!
//! Enters: [`Attributes`] and whatever the reader holds at that moment. Leaves: a [`Decision`] with upstream's
//! reason. Bindings are indexed by user and group; the index is rebuilt when the reader's bindings changed, never
//! by time, so a revoked binding is gone at the next request.
//!
//! Authority: `plugin/pkg/auth/authorizer/rbac/rbac.go`, `pkg/registry/rbac/validation/rule.go`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use super::{Attributes, Decision, Rule};
use crate::{ObjectReader, User, items, text};

pub(crate) const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// Above so many cached namespaces or roles the cache starts anew; it only saves parsing.
const CACHE_LIMIT: usize = 8192;

struct Binding {
    description: String,
    role_kind: String,
    role_name: String,
    /// Of the binding; empty for a ClusterRoleBinding.
    namespace: String,
    subjects: Vec<String>,
}

/// The bindings of one scope and who is mentioned in them: (binding, subject) positions.
#[derive(Default)]
struct Index {
    bindings: Vec<Binding>,
    by_user: HashMap<String, Vec<(u32, u32)>>,
    by_group: HashMap<String, Vec<(u32, u32)>>,
}

impl Index {
    fn build(objects: &[Arc<Value>]) -> Index {
        let mut index = Index::default();
        for object in objects {
            let position = u32::try_from(index.bindings.len()).unwrap_or(u32::MAX);
            let namespace = text(object, "/metadata/namespace");
            let mut subjects = Vec::new();
            for (i, subject) in items(object, "/subjects").enumerate() {
                let at = (position, u32::try_from(i).unwrap_or(u32::MAX));
                subjects.push(index.add_subject(subject, namespace, at));
            }
            index.bindings.push(Binding::new(object, namespace, subjects));
        }
        index
    }

    /// Enters a subject and returns its description for reasons.
    fn add_subject(&mut self, subject: &Value, binding_namespace: &str, at: (u32, u32)) -> String {
        let (kind, name) = (text(subject, "/kind"), text(subject, "/name"));
        match kind {
            "User" => self.by_user.entry(name.to_owned()).or_default().push(at),
            "Group" => self.by_group.entry(name.to_owned()).or_default().push(at),
            "ServiceAccount" => {
                let own = text(subject, "/namespace");
                let namespace = if own.is_empty() { binding_namespace } else { own };
                if !namespace.is_empty() {
                    let user = format!("system:serviceaccount:{namespace}:{name}");
                    self.by_user.entry(user).or_default().push(at);
                }
                return format!("ServiceAccount {:?}", format!("{name}/{namespace}"));
            }
            _ => {}
        }
        format!("{kind} {name:?}")
    }

    /// The bindings that apply to a user, each with the first subject that matched, in stored order.
    fn applying(&self, user: &User) -> Vec<(u32, u32)> {
        let of_groups = user.groups.iter().filter_map(|group| self.by_group.get(group));
        let mut found: Vec<(u32, u32)> =
            self.by_user.get(&user.name).into_iter().chain(of_groups).flatten().copied().collect();
        found.sort_unstable();
        found.dedup_by_key(|(binding, _)| *binding);
        found
    }
}

impl Binding {
    fn new(object: &Value, namespace: &str, subjects: Vec<String>) -> Binding {
        let (role_kind, role_name) = (text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
        let name = text(object, "/metadata/name");
        let (kind, name) = if namespace.is_empty() {
            ("ClusterRoleBinding", name.to_owned())
        } else {
            ("RoleBinding", format!("{name}/{namespace}"))
        };
        Binding {
            description: format!("{kind} {name:?} of {role_kind} {role_name:?}"),
            role_kind: role_kind.to_owned(),
            role_name: role_name.to_owned(),
            namespace: namespace.to_owned(),
            subjects,
        }
    }
}

/// Several errors as upstream's aggregate shows them: one as it is, more as `[a, b]`, each once.
pub(super) fn aggregate(errors: &[String]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for error in errors {
        if !shown.contains(&error.as_str()) {
            shown.push(error);
        }
    }
    match shown.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

struct Scope {
    version: Option<u64>,
    source: Vec<Arc<Value>>,
    index: Arc<Index>,
}

type ParsedRole = (Arc<Value>, Arc<[Rule]>);

/// The role-based authorizer and rule resolver.
pub(super) struct Rbac {
    reader: Arc<dyn ObjectReader>,
    /// By namespace; `""` is the ClusterRoleBindings.
    scopes: RwLock<HashMap<String, Scope>>,
    roles: RwLock<HashMap<(String, String), ParsedRole>>,
}

impl Rbac {
    pub(super) fn new(reader: Arc<dyn ObjectReader>) -> Rbac {
        Rbac { reader, scopes: RwLock::default(), roles: RwLock::default() }
    }

    pub(super) fn authorize(&self, attributes: &Attributes) -> Decision {
        let mut errors: Vec<String> = Vec::new();
        let namespace = if attributes.is_resource { attributes.namespace.as_str() } else { "" };
        let allowed = self.visit(&attributes.user, namespace, |binding, subject, rules| match rules {
            Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                let to = binding.subjects.get(subject as usize).map_or("", String::as_str);
                Some(format!("RBAC: allowed by {} to {to}", binding.description))
            }
            Ok(_) => None,
            Err(error) => {
                errors.push(error);
                None
            }
        });
        match allowed {
            Some(reason) => Decision::Allow(reason),
            None if errors.is_empty() => Decision::NoOpinion(String::new()),
            None => Decision::NoOpinion(format!("RBAC: {}", aggregate(&errors))),
        }
    }

    /// All rules a user holds in a namespace (`""`: cluster-wide), and the roles that could not be resolved.
    pub(super) fn rules_for(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut held, mut errors) = (Vec::new(), Vec::new());
        self.visit(user, namespace, |_, _, rules| -> Option<()> {
            match rules {
                Ok(rules) => held.extend(rules.iter().cloned()),
                Err(error) => errors.push(error),
            }
            None
        });
        (held, errors)
    }

    /// Calls `seen` with each binding that applies until it returns something.
    fn visit<T>(
        &self,
        user: &User,
        namespace: &str,
        mut seen: impl FnMut(&Binding, u32, Result<Arc<[Rule]>, String>) -> Option<T>,
    ) -> Option<T> {
        let scopes = if namespace.is_empty() { &[""][..] } else { &["", namespace][..] };
        for scope in scopes {
            let index = self.index(scope);
            for (position, subject) in index.applying(user) {
                let Some(binding) = index.bindings.get(position as usize) else { continue };
                let rules = self.role(&binding.role_kind, &binding.namespace, &binding.role_name);
                if let Some(answer) = seen(binding, subject, rules) {
                    return Some(answer);
                }
            }
        }
        None
    }

    fn index(&self, namespace: &str) -> Arc<Index> {
        let plural = if namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
        // The version is read before the list: a change in between makes the next question rebuild, never skip.
        let version = self.reader.version(RBAC_GROUP, plural);
        if let Some(scope) = self.scopes.read().get(namespace)
            && version.is_some()
            && scope.version == version
        {
            return Arc::clone(&scope.index);
        }
        let source = self.reader.list(RBAC_GROUP, plural, (!namespace.is_empty()).then_some(namespace));
        if let Some(scope) = self.scopes.write().get_mut(namespace)
            && scope.source.len() == source.len()
            && scope.source.iter().zip(&source).all(|(a, b)| Arc::ptr_eq(a, b))
        {
            scope.version = version;
            return Arc::clone(&scope.index);
        }
        let index = Arc::new(Index::build(&source));
        let mut scopes = self.scopes.write();
        if scopes.len() >= CACHE_LIMIT {
            scopes.clear();
        }
        scopes.insert(namespace.to_owned(), Scope { version, source, index: Arc::clone(&index) });
        index
    }

    /// The rules of a role, or upstream's "not found".
    pub(super) fn role(&self, kind: &str, namespace: &str, name: &str) -> Result<Arc<[Rule]>, String> {
        let (plural, namespace) = match kind {
            "ClusterRole" => ("clusterroles", ""),
            "Role" => ("roles", namespace),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let Some(object) = self.reader.get(RBAC_GROUP, plural, namespace, name) else {
            return Err(format!("{}.{RBAC_GROUP} {name:?} not found", kind.to_ascii_lowercase()));
        };
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((source, rules)) = self.roles.read().get(&key)
            && Arc::ptr_eq(source, &object)
        {
            return Ok(Arc::clone(rules));
        }
        let rules: Arc<[Rule]> = Rule::all_of(&object).into();
        let mut roles = self.roles.write();
        if roles.len() >= CACHE_LIMIT {
            roles.clear();
        }
        roles.insert(key, (object, Arc::clone(&rules)));
        Ok(rules)
    }
}
