//! Visiting every schema of a tree.

use super::{Additional, Schema};

impl Schema {
    /// Calls `found` for this schema and every schema below it, in no particular order, until it says true;
    /// whether it did.
    pub fn any(&self, found: &mut dyn FnMut(&Schema) -> bool) -> bool {
        found(self) || self.children().into_iter().any(|child| child.any(found))
    }

    /// Every schema right below, those of refused keywords included.
    pub fn children(&self) -> Vec<&Schema> {
        let additional = [&self.additional, &self.refused.additional_items];
        let rules = &self.rules;
        let refused = &self.refused;
        self.items
            .iter()
            .map(|schema| &**schema)
            .chain(&refused.items_list)
            .chain(&rules.all_of)
            .chain(&rules.any_of)
            .chain(&rules.one_of)
            .chain(rules.not.iter().map(|schema| &**schema))
            .chain(self.properties.values())
            .chain(additional.into_iter().flatten().filter_map(Additional::schema))
            .chain(refused.pattern_properties.values())
            .chain(refused.definitions.values())
            .chain(refused.dependencies.iter().flatten().filter_map(|(_, schema)| schema.as_ref()))
            .collect()
    }

    /// Changes this schema and every one that gives structure below it: items, properties, additional properties.
    /// A schema is changed before what is below it.
    pub fn change(&mut self, change: &mut dyn FnMut(&mut Schema)) {
        change(self);
        if let Some(items) = &mut self.items {
            std::sync::Arc::make_mut(items).change(change);
        }
        self.properties.values_mut().for_each(|schema| schema.change(change));
        if let Some(Additional::Schema(schema)) = &mut self.additional {
            std::sync::Arc::make_mut(schema).change(change);
        }
    }

    /// Whether the schema or one below it has rules in CEL.
    pub fn has_validations(&self) -> bool {
        self.any(&mut |schema| !schema.ext.validations.is_empty())
    }

    /// Whether the schema or one below it has a default.
    pub fn has_defaults(&self) -> bool {
        self.any(&mut |schema| schema.default.is_some())
    }
}
