//! In which form the answer goes out and the body came in. Pure.

use http::{HeaderMap, header};
use xebec_api::status::ApiError;

/// Encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What shape the answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The object itself.
    Plain,
    /// A `meta.k8s.io` Table of this version.
    Table(&'static str),
    /// `PartialObjectMetadata` or its list, of this version.
    Metadata(&'static str),
}

/// What the client is answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Encoding.
    pub media: Media,
    /// Shape.
    pub shape: Shape,
    /// Whether the client also takes protobuf (used where JSON is not acceptable only).
    pub also_json: bool,
}

impl Accepted {
    /// Plain JSON.
    pub const JSON: Self = Self { media: Media::Json, shape: Shape::Plain, also_json: true };
}

const ACCEPTABLE: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The first acceptable clause of `Accept`, JSON before protobuf where both are taken; 406 when none is.
///
/// `shapes` says whether Table and PartialObjectMetadata can be answered here (not for review objects).
pub fn accept(headers: &HeaderMap, shapes: bool) -> Result<Accepted, ApiError> {
    let header = header_text(headers, header::ACCEPT);
    if header.trim().is_empty() {
        return Ok(Accepted::JSON);
    }
    let mut clauses: Vec<(u32, Accepted)> =
        header.split(',').enumerate().filter_map(|(i, clause)| parse_clause(clause, shapes, i)).collect();
    clauses.sort_by_key(|(rank, _)| *rank);
    let Some(&(_, first)) = clauses.first() else {
        return Err(ApiError::not_acceptable(format!(
            "only the following media types are accepted: {ACCEPTABLE}"
        )));
    };
    if first.media != Media::Protobuf {
        return Ok(first);
    }
    let json = clauses.iter().find(|(_, other)| other.media == Media::Json && other.shape == first.shape);
    Ok(json.map_or(first, |(_, other)| *other))
}

fn parse_clause(clause: &str, shapes: bool, position: usize) -> Option<(u32, Accepted)> {
    let mut parts = clause.split(';').map(str::trim);
    let media = match parts.next()? {
        "*/*" | "application/*" | "application/json" => Media::Json,
        "application/yaml" => Media::Yaml,
        "application/vnd.kubernetes.protobuf" => Media::Protobuf,
        _ => return None,
    };
    let (mut kind, mut group, mut version, mut quality) = ("", "", "", 1.0f32);
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => kind = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
            _ => {}
        }
    }
    let version = match version {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => "",
    };
    let shape = match kind {
        "" => Shape::Plain,
        _ if !shapes || group != "meta.k8s.io" || version.is_empty() => return None,
        "Table" => Shape::Table(version),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Metadata(version),
        _ => return None,
    };
    if quality <= 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "quality lies between 0 and 1"
    )]
    let rank =
        ((1.0 - quality.min(1.0)) * 1000.0) as u32 * 1000 + u32::try_from(position).unwrap_or(999).min(999);
    Some((rank, Accepted { media, shape, also_json: media == Media::Json }))
}

/// The encoding of a request body; JSON when there is no Content-Type (kubectl scale sends none).
pub fn content_type(headers: &HeaderMap) -> Result<Media, ApiError> {
    let text = header_text(headers, header::CONTENT_TYPE);
    match text.split(';').next().unwrap_or("").trim() {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Media::Protobuf),
        other => Err(ApiError::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {ACCEPTABLE} (got {other})"
        ))),
    }
}

/// Kinds of patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Upstream's strategic merge.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// The kind of patch in the body.
pub fn patch_type(headers: &HeaderMap) -> Result<PatchType, ApiError> {
    let text = header_text(headers, header::CONTENT_TYPE);
    match text.split(';').next().unwrap_or("").trim() {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(ApiError::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
             application/apply-patch+yaml"
                .to_owned(),
        )),
    }
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept_header: &str, shapes: bool) -> Result<Accepted, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept_header.parse().unwrap());
        accept(&headers, shapes)
    }

    #[test]
    fn first_acceptable_clause_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(of(table, true).unwrap().shape, Shape::Table("v1"));
        assert_eq!(of(table, false).unwrap().shape, Shape::Plain);
        assert_eq!(of("*/*", true).unwrap(), Accepted::JSON);
        assert_eq!(of("application/yaml", true).unwrap().media, Media::Yaml);
        assert_eq!(of("application/json;q=0.1, application/yaml", true).unwrap().media, Media::Yaml);
        assert_eq!(of("text/html", true).unwrap_err().code, 406);
        assert_eq!(of("application/json;as=Table;v=v1;g=meta.k8s.io", false).unwrap_err().code, 406);
    }

    #[test]
    fn json_goes_before_protobuf() {
        assert_eq!(
            of("application/vnd.kubernetes.protobuf,application/json", true).unwrap().media,
            Media::Json
        );
        assert_eq!(of("application/vnd.kubernetes.protobuf", true).unwrap().media, Media::Protobuf);
    }

    #[test]
    fn patches() {
        let mut headers = HeaderMap::new();
        assert_eq!(patch_type(&headers).unwrap_err().code, 415);
        headers.insert(header::CONTENT_TYPE, "application/merge-patch+json; charset=utf-8".parse().unwrap());
        assert_eq!(patch_type(&headers).unwrap(), PatchType::Merge);
        assert_eq!(content_type(&headers).unwrap_err().code, 415);
    }
}
