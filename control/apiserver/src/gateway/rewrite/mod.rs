//! Links in what a proxied backend answers lead back through the proxy.
//!
//! Enters: a backend's Location header or HTML page. Leaves: the same with links below the proxy's own path. Called
//! by `gateway::forward` for nodes, pods and services.
//!
//! Authority: k8s.io/apimachinery/pkg/util/proxy/transport.go.

mod body;
mod html;

pub use body::rewritten;

use super::address::clean;

/// What decides where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The proxy's own path, without a slash at its end: `/api/v1/namespaces/a/pods/b/proxy`.
    pub prefix: String,
    /// `host:port` of the backend.
    pub backend: String,
    /// The host the client asked for.
    pub host: String,
}

impl Place {
    /// The link as the client has to see it; none when it is right as it is.
    ///
    /// Relative links and those to other hosts stay; the rest lose scheme and host (unless it is the host the client
    /// uses) and get the prefix.
    pub fn link(&self, link: &str) -> Option<String> {
        let (origin, rest) = split(link);
        let (path, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let host = origin.rsplit_once("//").map(|(_, host)| host).unwrap_or_default();
        let elsewhere = !host.is_empty() && host != self.backend && host != self.host;
        if elsewhere || !path.starts_with('/') {
            return None;
        }
        let origin = if !host.is_empty() && host == self.host { origin } else { "" };
        let path =
            if path.starts_with(&self.prefix) { path.to_owned() } else { self.prefix.clone() + &clean(path) };
        // A path of one slash is the proxy's root, which has its slash from `clean`.
        let new = format!("{origin}{path}{tail}");
        (new != link).then_some(new)
    }
}

/// `scheme://host` (or `//host`, or nothing) and what follows.
fn split(link: &str) -> (&str, &str) {
    let scheme = link.find("://").filter(|at| {
        let name = &link[..*at];
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let host = match scheme {
        Some(at) => at + 3,
        None if link.starts_with("//") => 2,
        None => return ("", link),
    };
    let end = link[host..].find(['/', '?', '#']).map_or(link.len(), |at| host + at);
    link.split_at(end)
}

#[cfg(test)]
pub(super) fn place() -> Place {
    let prefix = "/api/v1/namespaces/a/pods/b/proxy".to_owned();
    Place { prefix, backend: "10.0.0.1:80".into(), host: "api.example:6443".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_back_through_the_proxy() {
        let prefix = "/api/v1/namespaces/a/pods/b/proxy";
        for (link, expected) in [
            ("/", Some(format!("{prefix}/"))),
            ("/x/y?q=1#f", Some(format!("{prefix}/x/y?q=1#f"))),
            ("/x/../y/", Some(format!("{prefix}/y/"))),
            ("http://10.0.0.1:80/login", Some(format!("{prefix}/login"))),
            ("//10.0.0.1:80/login", Some(format!("{prefix}/login"))),
            ("https://api.example:6443/a", Some(format!("https://api.example:6443{prefix}/a"))),
            ("https://other.example/a", None),
            ("//other.example/a", None),
            ("relative", None),
            ("?q=/x", None),
            ("#top", None),
            ("", None),
            ("mailto:a@b", None),
            ("http://10.0.0.1:80", None),
        ] {
            assert_eq!(place().link(link), expected, "{link}");
        }
        assert_eq!(place().link(&format!("{prefix}/already")), None);
        assert_eq!(
            place().link(&format!("http://10.0.0.1:80{prefix}/already")),
            Some(format!("{prefix}/already"))
        );
    }
}
