//! Device selectors (DRA): what an expression sees of a device, and whether a new one may be stored. Pure.
//!
//! Enters: the expressions of a ResourceClaim, ResourceClaimTemplate or DeviceClass that is being written. Leaves: a field
//! error for each that upstream would refuse: it does not compile, gives no boolean, or may cost too much on the largest
//! device there can be. Called by the registry beside [`crate::check`].
//! Authority: k8s.io/dynamic-resource-allocation/cel (KEP-4381, KEP-5075), with the gates as 1.36 has them by default.

use std::sync::LazyLock;

use xebec_api::field::{FieldError, Path};
use xebec_cel::{Env, SizeHints, Type};

/// The most a selector may cost by estimate.
const COST_LIMIT: u64 = 1_000_000;
/// Bytes of a driver's name or of the domain of an attribute's name.
const DOMAIN_BYTES: u64 = 63;
/// Bytes of an attribute's name without its domain.
const ID_BYTES: u64 = 32;
/// Attributes and capacities of a device.
const ENTRIES: u64 = 32;
/// Bytes of an attribute's value.
const VALUE_BYTES: u64 = 64;

static DEVICE: LazyLock<Env> = LazyLock::new(|| {
    let by_name = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
    let fields = [
        ("driver", Type::String),
        ("allowMultipleAllocations", Type::Bool),
        ("attributes", by_name(Type::Any)),
        ("capacity", by_name(Type::Opaque("kubernetes.Quantity"))),
    ];
    let device =
        Type::object("kubernetes.DRADevice", fields.map(|(name, declared)| (name.to_owned(), declared)));
    Env::kubernetes().with_bindings().declare("device", device)
});

/// The error of one selector's expression.
#[must_use]
pub fn check_selector(path: &Path, expression: &str) -> Option<FieldError> {
    let refuse = |why: String| Some(FieldError::invalid(path, expression, why));
    let program = match DEVICE.compile(expression) {
        Ok(program) => program,
        Err(errors) => return refuse(format!("compilation failed: {errors}")),
    };
    let output = program.output_type();
    if !matches!(output, Type::Bool | Type::Any) {
        return refuse(format!("must evaluate to bool or the unknown type, not {output}"));
    }
    (program.cost_estimate(&SizeHints::by_path(size)).max > COST_LIMIT)
        .then(|| FieldError::forbidden(path, "too complex, exceeds cost limit"))
}

/// The most bytes or entries of what a path leads to.
fn size(path: &[String]) -> Option<u64> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Some(match path[..] {
        ["device"] => 0,
        ["device", "driver"] => DOMAIN_BYTES,
        ["device", "allowMultipleAllocations"] => 1,
        ["device", "attributes" | "capacity"] => ENTRIES,
        ["device", "attributes" | "capacity", "@keys"] => DOMAIN_BYTES,
        ["device", "attributes" | "capacity", "@values"] => ENTRIES,
        ["device", "attributes" | "capacity", "@values", "@keys"] => ID_BYTES,
        ["device", "capacity", "@values", "@values"] => 0,
        // `@values` or an attribute by its name.
        ["device", "attributes", "@values", _] => VALUE_BYTES,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_upstreams() {
        let attribute = |rest: &str| format!("device.attributes[\"gpu.example.com\"].{rest}");
        // Worked out from the limits above as upstream's own table of costs does for expressions of the same shape.
        let cases = [
            ("false".to_owned(), 0),
            ("\"gpu.example.com\" in device.attributes".to_owned(), 3),
            ("device.driver == \"\"".to_owned(), 2),
            ("device.driver == \"gpu.example.com\"".to_owned(), 4),
            ("device.allowMultipleAllocations == true".to_owned(), 3),
            (attribute("ecc"), 4),
            ("device.attributes[\"gpu.example.com\"][\"ecc\"]".to_owned(), 4),
            (attribute("lanes > 0"), 5),
            (attribute("family == \"fish\""), 5),
            (attribute("firmware.isGreaterThan(semver(\"0.0.1\"))"), 6),
            ("device.capacity[\"gpu.example.com\"].memory.isGreaterThan(quantity(\"1Ki\"))".to_owned(), 6),
            ("cel.bind(gpu, device.attributes[\"gpu.example.com\"], gpu.ecc)".to_owned(), 15),
            ("device.attributes.exists_one(d, d == \"gpu.example.com\")".to_owned(), 164),
            (attribute("exists_one(name, name == \"services\")"), 133),
            ("device.capacity[\"gpu.example.com\"].exists_one(name, name == \"memory\")".to_owned(), 133),
            (attribute("services.split(\"example\").size() >= 2"), 19),
            (attribute("services.matches(\"[^a]?sym\")"), 18),
        ];
        for (expression, expected) in cases {
            let program = DEVICE.compile(&expression).unwrap();
            assert_eq!(program.cost_estimate(&SizeHints::by_path(size)).max, expected, "{expression}");
            assert_eq!(check_selector(&Path::new("spec"), &expression), None, "{expression}");
        }
    }

    #[test]
    fn what_is_refused_and_how() {
        let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].all";
        let deep = format!(
            "{ten}(a, {ten}(b, {ten}(c, {ten}(d, {ten}(e, {ten}(f, int('1'.find('[0-9]*')) < 100))))))"
        );
        let cases = [
            ("1", "must evaluate to bool or the unknown type, not int"),
            ("dyn(true)", "must evaluate to bool or the unknown type, not dyn"),
            ("device.driver", "must evaluate to bool or the unknown type, not string"),
            ("?!", "compilation failed: ERROR: <input>:1:1: Syntax error"),
            ("device.name == ''", "undefined field 'name'"),
            ("object.x", "undeclared reference to 'object'"),
            (
                "device.attributes['a.b'].list.exists(x, x > 0)",
                "expression of type 'any' cannot be range of a comprehension (must be list, map, or dynamic)",
            ),
            (deep.as_str(), "too complex, exceeds cost limit"),
        ];
        for (expression, expected) in cases {
            let error = check_selector(&Path::new("spec"), expression).unwrap();
            assert!(error.detail.contains(expected), "{expression}: {}", error.detail);
        }
        let error = check_selector(&Path::new("spec"), &deep).unwrap();
        assert_eq!(error.to_string(), "spec: Forbidden: too complex, exceeds cost limit");
    }
}
