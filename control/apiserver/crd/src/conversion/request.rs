//! What is asked of a conversion webhook.

use serde_json::{Value, json};
use xebec_kinds::shared::access::text;

use super::answer::{self, ConversionError};
use super::rewrite;
use crate::definition::Conversion;

/// How objects get to a version.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// They are there: nothing had to be asked.
    Done(Vec<Value>),
    /// A webhook has to be asked.
    Ask(Review),
}

/// A question to a conversion webhook, and what is needed to read its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    /// The body: a ConversionReview, to be POSTed as JSON.
    pub body: Value,
    /// The uid of the question.
    uid: String,
    /// `apiextensions.k8s.io/v1` or `/v1beta1`.
    review_version: &'static str,
    /// The version wanted.
    api_version: String,
    /// All objects, in the order given.
    objects: Vec<Value>,
    /// Whether errors name the objects' places.
    list: bool,
}

impl Plan {
    /// Converts objects to `api_version`. Those that are of it already are not sent. `list`: the objects are the
    /// items of a list, so errors name their index. `uid` is the question's, any that is new.
    pub fn of(
        conversion: &Conversion,
        mut objects: Vec<Value>,
        api_version: &str,
        list: bool,
        uid: &str,
    ) -> Result<Self, ConversionError> {
        let Conversion::Webhook { review_versions, .. } = conversion else {
            objects.iter_mut().for_each(|object| rewrite(object, api_version));
            return Ok(Self::Done(objects));
        };
        for object in &mut objects {
            if is_bare(object) {
                rewrite(object, api_version);
            }
        }
        let sent: Vec<&Value> = objects.iter().filter(|object| needs(object, api_version)).collect();
        if sent.is_empty() {
            return Ok(Self::Done(objects));
        }
        let Some(review_version) = review_versions.iter().find_map(|version| match version.as_str() {
            "v1" => Some("apiextensions.k8s.io/v1"),
            "v1beta1" => Some("apiextensions.k8s.io/v1beta1"),
            _ => None,
        }) else {
            return Err(ConversionError::NoReviewVersion);
        };
        let body = json!({
            "kind": "ConversionReview", "apiVersion": review_version,
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": sent},
        });
        let (uid, api_version) = (uid.to_owned(), api_version.to_owned());
        Ok(Self::Ask(Review { body, uid, review_version, api_version, objects, list }))
    }
}

/// Nothing but a type: it is converted without asking.
fn is_bare(object: &Value) -> bool {
    object
        .as_object()
        .is_some_and(|map| map.len() == 2 && map.contains_key("kind") && map.contains_key("apiVersion"))
}

fn needs(object: &Value, api_version: &str) -> bool {
    text(object, &["apiVersion"]) != api_version
}

impl Review {
    /// Reads the webhook's answer: all objects in the order they were given.
    pub fn read(self, response: &Value) -> Result<Vec<Value>, ConversionError> {
        let kind = self.kind();
        let converted = answer::objects(response, self.review_version, &self.uid)
            .map_err(|reason| ConversionError::Failed { kind: kind.clone(), reason })?;
        let expected = self.objects.iter().filter(|object| needs(object, &self.api_version)).count();
        if converted.len() != expected {
            return Err(ConversionError::Count { kind, got: converted.len(), expected });
        }
        let mut converted = converted.into_iter().enumerate();
        let mut all = Vec::with_capacity(self.objects.len());
        for original in self.objects {
            if !needs(&original, &self.api_version) {
                all.push(original);
                continue;
            }
            let Some((at, object)) = converted.next() else { break };
            all.push(answer::accept(&original, object, &self.api_version).map_err(|reason| {
                ConversionError::Invalid {
                    kind: kind.clone(),
                    at: reason.place(self.list, at),
                    reason: reason.text,
                }
            })?);
        }
        Ok(all)
    }

    /// The error of a call that failed.
    pub fn failed(&self, reason: &str) -> ConversionError {
        ConversionError::Failed { kind: self.kind(), reason: reason.to_owned() }
    }

    /// The kind as Go prints a GroupVersionKind: `stable.example.com/v1, Kind=CronTab`.
    fn kind(&self) -> String {
        let first = self.objects.iter().find(|object| needs(object, &self.api_version));
        let of = |key: &str| first.map(|object| text(object, &[key]).to_owned()).unwrap_or_default();
        let list = if self.list { "List" } else { "" };
        format!("{}, Kind={}{list}", of("apiVersion"), of("kind"))
    }
}
