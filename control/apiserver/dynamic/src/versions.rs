//! The object and its predecessor in the versions rules ask for.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use xebec_api::status::ApiError;

use crate::{Attributes, Kind, Types};

/// A request's objects in one version.
#[derive(Clone, Debug)]
pub(crate) struct Versioned {
    pub(crate) kind: Kind,
    pub(crate) object: Option<Arc<Value>>,
    pub(crate) old: Option<Arc<Value>>,
}

/// The versions one request was converted to so far; the object does not change.
pub(crate) struct Versions<'a> {
    types: &'a dyn Types,
    object: Option<&'a Value>,
    old: Option<&'a Value>,
    made: HashMap<Kind, Arc<Versioned>>,
}

impl<'a> Versions<'a> {
    pub(crate) fn new(types: &'a dyn Types, attributes: &Attributes<'a>, object: Option<&'a Value>) -> Self {
        Self { types, object, old: attributes.old_object, made: HashMap::new() }
    }

    pub(crate) async fn get(&mut self, kind: &Kind) -> Result<Arc<Versioned>, ApiError> {
        if let Some(made) = self.made.get(kind) {
            return Ok(Arc::clone(made));
        }
        let object = convert(self.types, self.object, kind).await?;
        let old = convert(self.types, self.old, kind).await?;
        let made = Arc::new(Versioned { kind: kind.clone(), object, old });
        self.made.insert(kind.clone(), Arc::clone(&made));
        Ok(made)
    }
}

/// The objects of a request whose object changes under way: in one version at a time.
pub(crate) struct Working<'a> {
    types: &'a dyn Types,
    entry: Option<&'a Value>,
    old: Option<&'a Value>,
    now: Option<Versioned>,
    dirty: bool,
}

impl<'a> Working<'a> {
    pub(crate) fn new(types: &'a dyn Types, attributes: &Attributes<'a>, object: Option<&'a Value>) -> Self {
        Self { types, entry: object, old: attributes.old_object, now: None, dirty: false }
    }

    /// The object as it is now, in whatever version.
    pub(crate) fn object(&self) -> Option<&Value> {
        match &self.now {
            Some(now) => now.object.as_deref(),
            None => self.entry,
        }
    }

    /// The objects in the version of `kind`.
    pub(crate) async fn get(&mut self, kind: &Kind) -> Result<Versioned, ApiError> {
        if let Some(now) = &self.now
            && now.kind == *kind
        {
            return Ok(now.clone());
        }
        let object = convert(self.types, self.object(), kind).await?;
        let old = convert(self.types, self.old, kind).await?;
        let made = Versioned { kind: kind.clone(), object, old };
        self.now = Some(made.clone());
        Ok(made)
    }

    /// Replaces the object, in the version asked for last.
    pub(crate) fn set(&mut self, object: Value) {
        if let Some(now) = &mut self.now {
            now.object = Some(Arc::new(object));
            self.dirty = true;
        }
    }

    /// The changed object in the version it came in; none when nothing changed.
    pub(crate) async fn finish(self) -> Result<Option<Value>, ApiError> {
        let (true, Some(entry), Some(now)) = (self.dirty, self.entry, self.now) else { return Ok(None) };
        let Some(object) = now.object else { return Ok(None) };
        let kind = Kind::of(entry);
        if Kind::of(&object) == kind {
            return Ok(Some(Arc::unwrap_or_clone(object)));
        }
        self.types.convert(&object, &kind).await.map(Some)
    }
}

async fn convert(
    types: &dyn Types,
    object: Option<&Value>,
    kind: &Kind,
) -> Result<Option<Arc<Value>>, ApiError> {
    match object {
        None => Ok(None),
        Some(object) if Kind::of(object) == *kind => Ok(Some(Arc::new(object.clone()))),
        Some(object) => Ok(Some(Arc::new(types.convert(object, kind).await?))),
    }
}
