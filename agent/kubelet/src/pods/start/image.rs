//! Images of containers. Enters: a container. Leaves: an image on the machine, or why not, with upstream's Events.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use xebec_cri::messages::{AuthConfig, Image, ImageSpec};

use super::StartError;
use crate::pods::Shared;
use crate::record::Kind;
use crate::spec;

/// What the start of a container needs to know of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The image's id.
    pub id: String,
    /// The user id it runs as, where the image says a number.
    pub uid: Option<i64>,
    /// The user name it runs as, otherwise.
    pub user: String,
}

impl From<Image> for Ready {
    fn from(image: Image) -> Self {
        Ready { id: image.id, uid: image.uid.map(|uid| uid.value), user: image.username }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// If it is not there.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// The policy of a container; without one, `Always` for the tag `latest`.
pub fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ => {
            let image = container.image.as_deref().unwrap_or_default();
            let with_tag = with_tag(image).unwrap_or_default();
            let latest = !with_tag.contains('@') && with_tag.ends_with(":latest");
            if latest { PullPolicy::Always } else { PullPolicy::IfNotPresent }
        }
    }
}

/// The reference with `:latest` if it has neither tag nor digest; `Err` says why it is no reference.
pub fn with_tag(image: &str) -> Result<String, String> {
    let bad = |why: &str| {
        Err(format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {why}"
        ))
    };
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match name[slash..].rfind(':') {
        Some(at) => (&name[..slash + at], Some(&name[slash + at + 1..])),
        None => (name, None),
    };
    let path = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => repository,
    };
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return bad("invalid reference format: repository name (library/) must be lowercase");
    }
    let parts_fine = path.split('/').all(|part| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        part.chars().all(word) && ends(part.chars().next()) && ends(part.chars().next_back())
    });
    let tag_fine = tag.is_none_or(|tag| {
        !tag.is_empty()
            && tag.len() <= 128
            && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    });
    let digest_fine = digest.is_none_or(|digest| {
        digest
            .split_once(':')
            .is_some_and(|(_, hex)| hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit()))
    });
    if !parts_fine || !tag_fine || !digest_fine {
        return bad("invalid reference format");
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

/// A pull's duration as upstream prints it (three digits after the point).
fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{}ms", duration.as_millis())
    } else {
        let text = format!("{:.3}", duration.as_secs_f64());
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Shared {
    /// Makes sure that a container's image is here.
    pub(super) async fn ensure_image(&self, pod: &Pod, container: &Container) -> Result<Ready, StartError> {
        let image = container.image.as_deref().unwrap_or_default();
        let name = Some(container.name.as_str());
        let warn = |message: &str| self.event(pod, name, Kind::Warning, "Failed", message);
        let reference = with_tag(image).map_err(|message| {
            self.event(pod, name, Kind::Warning, "InspectFailed", &message);
            warn("Error: InvalidImageName");
            StartError::new("InvalidImageName", message)
        })?;
        let wanted = ImageSpec::of(&reference);
        let policy = pull_policy(container);
        let present = self.runtime.image_status(&wanted).await.map_err(|error| {
            let message = format!("Failed to inspect image \"{image}\": {error}");
            self.event(pod, name, Kind::Warning, "InspectFailed", &message);
            StartError::new("ImageInspectError", message)
        })?;
        match (present, policy) {
            (Some(present), PullPolicy::Never | PullPolicy::IfNotPresent) => {
                let text = format!(
                    "Container image \"{image}\" already present on machine and can be accessed by the pod"
                );
                self.event(pod, name, Kind::Normal, "Pulled", text);
                Ok(present.into())
            }
            (None, PullPolicy::Never) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.event(pod, name, Kind::Warning, "ErrImageNeverPull", &message);
                warn("Error: ErrImageNeverPull");
                Err(StartError::new("ErrImageNeverPull", message))
            }
            _ => self.pull(pod, container, wanted).await,
        }
    }

    async fn pull(&self, pod: &Pod, container: &Container, wanted: ImageSpec) -> Result<Ready, StartError> {
        let image = container.image.as_deref().unwrap_or_default();
        let name = Some(container.name.as_str());
        let failed = |error: &dyn std::fmt::Display| {
            let text = format!("Failed to pull image \"{image}\": {error}");
            self.event(pod, name, Kind::Warning, "Failed", text);
            self.event(pod, name, Kind::Warning, "Failed", "Error: ErrImagePull");
            let message = error.to_string();
            StartError { reason: "ErrImagePull".to_owned(), message, image: Some(image.to_owned()) }
        };
        self.event(pod, name, Kind::Normal, "Pulling", format!("Pulling image \"{image}\""));
        let begin = tokio::time::Instant::now();
        let credentials = self.credentials(pod, &wanted.image).await;
        let mut outcome = Err(None);
        for auth in credentials.into_iter().map(Some).chain([None]) {
            match self.runtime.pull_image(wanted.clone(), auth, None).await {
                Ok(reference) => {
                    outcome = Ok(reference);
                    break;
                }
                Err(error) => outcome = Err(Some(error)),
            }
        }
        let reference = match outcome {
            Ok(reference) => reference,
            Err(Some(error)) => return Err(failed(&error)),
            Err(None) => return Err(failed(&"nothing was tried")),
        };
        let held = self.runtime.image_status(&wanted).await.ok().flatten();
        let time = took(begin.elapsed());
        let size = held.as_ref().map_or(0, |held| held.size);
        let text = format!(
            "Successfully pulled image \"{image}\" in {time} ({time} including waiting). Image size: {size} bytes."
        );
        self.event(pod, name, Kind::Normal, "Pulled", text);
        Ok(held.map_or(Ready { id: reference, uid: None, user: String::new() }, Ready::from))
    }

    /// The credentials of imagePullSecrets that match the image's registry; an unreadable secret is skipped.
    async fn credentials(&self, pod: &Pod, image: &str) -> Vec<AuthConfig> {
        let mut found = Vec::new();
        for secret in spec::spec(pod).image_pull_secrets.iter().flatten() {
            match self.api.secret(spec::namespace(pod), &secret.name).await {
                Ok(secret) => {
                    let data = secret.data.unwrap_or_default();
                    let json = data.get(".dockerconfigjson").map(|bytes| bytes.0.as_slice());
                    found.extend(json.map(|json| matching(json, image)).unwrap_or_default());
                }
                Err(error) => {
                    tracing::warn!(secret = secret.name, %error, "pull secret not readable");
                    let text = format!(
                        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                        secret.name
                    );
                    self.event(pod, None, Kind::Warning, "FailedToRetrieveImagePullSecret", text);
                }
            }
        }
        found
    }
}

/// The entries of a docker config whose registry is the image's.
fn matching(json: &[u8], image: &str) -> Vec<AuthConfig> {
    let Ok(config) = serde_json::from_slice::<serde_json::Value>(json) else { return Vec::new() };
    let registry = match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    };
    let entries = config["auths"].as_object().into_iter().flatten();
    entries
        .filter(|(server, _)| {
            let bare = server.trim_start_matches("https://").trim_start_matches("http://");
            let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
            let here = host == registry || (registry == "docker.io" && host == "index.docker.io");
            let whole = matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
            here && (whole || image.starts_with(bare))
        })
        .map(|(server, entry)| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            AuthConfig {
                username: text("username"),
                password: text("password"),
                auth: text("auth"),
                server_address: server.clone(),
                identity_token: text("identitytoken"),
                registry_token: text("registrytoken"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_get_a_tag_or_are_refused() {
        let good = [
            ("nginx", "nginx:latest"),
            ("nginx:1.27", "nginx:1.27"),
            ("registry.local:5000/a/b", "registry.local:5000/a/b:latest"),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
        ];
        for (image, expected) in good {
            assert_eq!(with_tag(image).as_deref(), Ok(expected), "{image}");
        }
        for bad in ["Nginx", "", "a b", "nginx:", "x@sha256:12", "a//b"] {
            assert!(with_tag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn latest_is_always_pulled() {
        let of = |image: &str| pull_policy(&Container { image: Some(image.into()), ..Container::default() });
        assert_eq!(of("nginx"), PullPolicy::Always);
        assert_eq!(of("nginx:1"), PullPolicy::IfNotPresent);
    }

    #[test]
    fn credentials_match_the_registry_only() {
        let json = br#"{"auths": {"https://index.docker.io/v1/": {"username": "a"},
            "ghcr.io": {"auth": "eA=="}, "reg.local:5000/team": {"username": "t"}}}"#;
        let servers = |image: &str| -> Vec<String> {
            matching(json, image).into_iter().map(|auth| auth.server_address).collect()
        };
        assert_eq!(servers("nginx:latest"), ["https://index.docker.io/v1/"]);
        assert_eq!(servers("ghcr.io/x/y:1"), ["ghcr.io"]);
        assert_eq!(servers("reg.local:5000/team/app:1"), ["reg.local:5000/team"]);
        assert!(servers("reg.local:5000/other/app:1").is_empty() && servers("quay.io/a:1").is_empty());
    }

    #[test]
    fn durations_read_as_upstream() {
        assert_eq!(took(Duration::from_millis(234)), "234ms");
        assert_eq!(took(Duration::from_millis(1500)), "1.5s");
    }
}
