//! A definition, read once.

use std::sync::Arc;

use serde_json::Value;
use xebec_kinds::shared::access::{at, flag, int, list, text, texts};

use crate::schema::Schema;

/// What a CustomResourceDefinition says, as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The definition's name, `<plural>.<group>`.
    pub name: String,
    /// The definition's uid.
    pub uid: String,
    /// The API group.
    pub group: String,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
    /// The names asked for.
    pub names: Names,
    /// The names that are served (`status.acceptedNames`).
    pub accepted: Names,
    /// The versions, in their order.
    pub versions: Vec<Version>,
    /// How objects become those of another version.
    pub conversion: Conversion,
    /// `spec.preserveUnknownFields`; only old stored definitions have it true.
    pub preserve_unknown: bool,
    /// Whether the definition is being deleted.
    pub deleting: bool,
}

/// The names of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The plural, in paths.
    pub plural: String,
    /// The singular.
    pub singular: String,
    /// The kind.
    pub kind: String,
    /// The kind of lists.
    pub list_kind: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
}

/// One version.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Its name: `v1`.
    pub name: String,
    /// Whether it is served.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
    /// Whether its use is warned of.
    pub deprecated: bool,
    /// What the warning says, if not the default.
    pub deprecation_warning: Option<String>,
    /// Whether it has a `schema` object, even one without `openAPIV3Schema`.
    pub has_schema: bool,
    /// Its schema; `None` when it has none, or one that nests too deeply (see [`Version::too_deep`]).
    pub schema: Option<Arc<Schema>>,
    /// The schema nests deeper than [`crate::schema::MAX_DEPTH`].
    pub too_deep: bool,
    /// The schema as written.
    pub schema_source: Value,
    /// Its subresources.
    pub subresources: Option<Subresources>,
    /// The columns beside the name; empty means the default, the age.
    pub columns: Vec<ColumnDefinition>,
    /// The JSON paths of selectable fields: `.spec.color`.
    pub selectable: Vec<String>,
}

/// The subresources of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subresources {
    /// The status is written at its own path.
    pub status: bool,
    /// The scale.
    pub scale: Option<Scale>,
}

/// Where the replicas of an object stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// `.spec.replicas`
    pub spec_replicas: String,
    /// `.status.replicas`
    pub status_replicas: String,
    /// `.status.selector`; a label selector as text.
    pub selector: Option<String>,
}

/// One column of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// An OpenAPI format.
    pub format: String,
    /// What it says.
    pub description: String,
    /// 0 is always shown, others with `-o wide`.
    pub priority: i64,
    /// The JSON path of the cell.
    pub path: String,
}

/// How objects become those of another version.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Conversion {
    /// Only the apiVersion changes.
    #[default]
    None,
    /// A webhook does it.
    Webhook {
        /// Where it is; `None` in an invalid definition.
        client: Option<WebhookClient>,
        /// The versions of ConversionReview it understands, best first.
        review_versions: Vec<String>,
    },
    /// A strategy nobody knows.
    Unknown(String),
}

/// Where a conversion webhook is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookClient {
    /// An address.
    pub url: Option<String>,
    /// A Service: namespace, name, path, port.
    pub service: Option<(String, String, Option<String>, i64)>,
    /// The authorities its certificate may come from, PEM in base64, as written.
    pub ca_bundle: String,
}

impl Definition {
    /// Reads a definition. What is missing or of another type reads as empty; validation says so.
    pub fn read(crd: &Value) -> Self {
        let spec = at(crd, &["spec"]);
        Self {
            name: text(crd, &["metadata", "name"]).to_owned(),
            uid: text(crd, &["metadata", "uid"]).to_owned(),
            group: text(spec, &["group"]).to_owned(),
            namespaced: text(spec, &["scope"]) == "Namespaced",
            names: Names::read(at(spec, &["names"])),
            accepted: Names::read(at(crd, &["status", "acceptedNames"])),
            versions: list(spec, &["versions"]).iter().map(Version::read).collect(),
            conversion: Conversion::read(at(spec, &["conversion"])),
            preserve_unknown: flag(spec, &["preserveUnknownFields"]),
            deleting: at(crd, &["metadata", "deletionTimestamp"]).is_string(),
        }
    }

    /// The version of that name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// The version objects are stored in.
    pub fn storage(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.storage)
    }

    /// `group/version`.
    pub fn api_version(&self, version: &str) -> String {
        format!("{}/{version}", self.group)
    }
}

impl Names {
    /// Reads names.
    pub fn read(names: &Value) -> Self {
        let own = |key: &str| text(names, &[key]).to_owned();
        let all = |key: &str| texts(names, &[key]).into_iter().map(str::to_owned).collect();
        Self {
            plural: own("plural"),
            singular: own("singular"),
            kind: own("kind"),
            list_kind: own("listKind"),
            short_names: all("shortNames"),
            categories: all("categories"),
        }
    }
}

impl Version {
    fn read(version: &Value) -> Self {
        let source = at(version, &["schema", "openAPIV3Schema"]);
        let parsed = source.is_object().then(|| Schema::parse(source));
        let optional = |key: &str| at(version, &[key]).as_str().map(str::to_owned);
        Self {
            name: text(version, &["name"]).to_owned(),
            served: flag(version, &["served"]),
            storage: flag(version, &["storage"]),
            deprecated: flag(version, &["deprecated"]),
            deprecation_warning: optional("deprecationWarning"),
            has_schema: at(version, &["schema"]).is_object(),
            too_deep: matches!(parsed, Some(Err(_))),
            schema: parsed.and_then(Result::ok).map(Arc::new),
            schema_source: source.clone(),
            subresources: at(version, &["subresources"]).is_object().then(|| Subresources::read(version)),
            columns: list(version, &["additionalPrinterColumns"])
                .iter()
                .map(ColumnDefinition::read)
                .collect(),
            selectable: list(version, &["selectableFields"])
                .iter()
                .map(|field| text(field, &["jsonPath"]).to_owned())
                .collect(),
        }
    }

    /// Whether the status is written at its own path.
    pub fn has_status(&self) -> bool {
        self.subresources.as_ref().is_some_and(|subresources| subresources.status)
    }

    /// The scale, if it has one.
    pub fn scale(&self) -> Option<&Scale> {
        self.subresources.as_ref().and_then(|subresources| subresources.scale.as_ref())
    }
}

impl Subresources {
    fn read(version: &Value) -> Self {
        let scale = at(version, &["subresources", "scale"]);
        let own = |key: &str| text(scale, &[key]).to_owned();
        Self {
            status: at(version, &["subresources", "status"]).is_object(),
            scale: scale.is_object().then(|| Scale {
                spec_replicas: own("specReplicasPath"),
                status_replicas: own("statusReplicasPath"),
                selector: at(scale, &["labelSelectorPath"]).as_str().map(str::to_owned),
            }),
        }
    }
}

impl ColumnDefinition {
    fn read(column: &Value) -> Self {
        let own = |key: &str| text(column, &[key]).to_owned();
        Self {
            name: own("name"),
            kind: own("type"),
            format: own("format"),
            description: own("description"),
            priority: int(column, &["priority"]).unwrap_or(0),
            path: own("jsonPath"),
        }
    }
}

impl Conversion {
    fn read(conversion: &Value) -> Self {
        match text(conversion, &["strategy"]) {
            "" | "None" => Self::None,
            "Webhook" => {
                let client = at(conversion, &["webhook", "clientConfig"]);
                let versions = texts(conversion, &["webhook", "conversionReviewVersions"]);
                Self::Webhook {
                    client: client.is_object().then(|| WebhookClient::read(client)),
                    review_versions: versions.into_iter().map(str::to_owned).collect(),
                }
            }
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl WebhookClient {
    fn read(client: &Value) -> Self {
        let service = at(client, &["service"]);
        Self {
            url: at(client, &["url"]).as_str().map(str::to_owned),
            service: service.is_object().then(|| {
                (
                    text(service, &["namespace"]).to_owned(),
                    text(service, &["name"]).to_owned(),
                    at(service, &["path"]).as_str().map(str::to_owned),
                    int(service, &["port"]).unwrap_or(443),
                )
            }),
            ca_bundle: text(client, &["caBundle"]).to_owned(),
        }
    }
}
