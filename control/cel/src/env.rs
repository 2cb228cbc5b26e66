//! Environments: which functions and variables an expression may use, and compiling in one.
//!
//! Enters: declarations. Leaves: programs. Callers: custom resources, admission policies, webhooks, authentication.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::check::{self, Checked};
use crate::error::CompileErrors;
use crate::function::{Functions, table};
use crate::library;
use crate::parse;
use crate::program::Program;
use crate::types::{Fields, ObjectType, Type};

/// What expressions are compiled in: Kubernetes' functions, and variables. Cloning shares everything.
#[derive(Clone, Debug)]
pub struct Env {
    pub(crate) functions: Arc<Functions>,
    variables: Arc<BTreeMap<String, Variable>>,
    mutation: bool,
    bindings: bool,
}

/// A declared variable.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) ty: Type,
    /// Whether its fields are asked for one by one, each computed when it is first read.
    pub(crate) lazy: bool,
}

static BASE: LazyLock<Arc<Functions>> = LazyLock::new(|| Arc::new(table(library::ALL)));

static MUTATION: LazyLock<Arc<Functions>> = LazyLock::new(|| {
    let mut functions = (**BASE).clone();
    functions.extend(table(&[library::jsonpatch::DEFS]));
    Arc::new(functions)
});

impl Env {
    /// The environment that every use of CEL in Kubernetes 1.36 shares: the standard library, optional types, numeric
    /// comparison across types, comprehensions of two variables, and Kubernetes' own libraries. No variables.
    pub fn kubernetes() -> Env {
        Env { functions: BASE.clone(), variables: Arc::default(), mutation: false, bindings: false }
    }

    /// Adds a variable, which the resolver supplies by name.
    #[must_use]
    pub fn declare(self, name: &str, ty: Type) -> Env {
        self.with(name, Variable { ty, lazy: false })
    }

    /// Adds a variable with fields that the resolver supplies one by one ([`crate::Resolver::field`]): the `variables` of
    /// an admission policy, each computed when an expression first reads it. Declaring it again replaces it.
    #[must_use]
    pub fn declare_fields(self, name: &str, fields: impl IntoIterator<Item = (String, Type)>) -> Env {
        let fields = Fields::Known(fields.into_iter().collect());
        let ty = Type::Object(Arc::new(ObjectType { name: format!("kubernetes.{name}"), fields }));
        self.with(name, Variable { ty, lazy: true })
    }

    /// Adds what MutatingAdmissionPolicy has: the object types `Object{..}`, `Object.spec{..}` and `JSONPatch{..}`, and
    /// `jsonpatch.escapeKey`.
    #[must_use]
    pub fn with_mutation(mut self) -> Env {
        self.mutation = true;
        self.functions = MUTATION.clone();
        self
    }

    /// Adds `cel.bind(name, value, expression)`, which device selectors have.
    #[must_use]
    pub fn with_bindings(mut self) -> Env {
        self.bindings = true;
        self
    }

    fn with(mut self, name: &str, variable: Variable) -> Env {
        Arc::make_mut(&mut self.variables).insert(name.to_owned(), variable);
        self
    }

    /// Parses and checks an expression. Errors: every mistake in it, in cel-go's words and places.
    pub fn compile(&self, source: &str) -> Result<Program, CompileErrors> {
        let parsed = parse::parse(source, self.bindings)?;
        let Checked { root, types, overloads, output } = check::check(self, source, parsed)?;
        Ok(Program::new(self, source, root, types, overloads, output))
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    /// The object type that a literal `name{..}` makes.
    pub(crate) fn object_type(&self, name: &str) -> Option<Arc<ObjectType>> {
        if !self.mutation {
            return None;
        }
        let fields = match name {
            "JSONPatch" => Fields::Known(BTreeMap::from([
                ("op".to_owned(), Type::String),
                ("path".to_owned(), Type::String),
                ("from".to_owned(), Type::String),
                ("value".to_owned(), Type::Dyn),
            ])),
            "Object" => Fields::Any,
            _ if name.starts_with("Object.") => Fields::Any,
            _ => return None,
        };
        Some(Arc::new(ObjectType { name: name.to_owned(), fields }))
    }
}
