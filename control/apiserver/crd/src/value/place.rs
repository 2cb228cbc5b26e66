//! Where validation stands: rendered only when something is wrong.

/// A step from the place above.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// A declared property.
    Property(&'a str),
    /// A property only `additionalProperties` knows.
    Other(&'a str),
    /// An element of a list.
    Item(usize),
}

/// A place in a value: the root, or a step from another place.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    up: Option<(&'a Place<'a>, Step<'a>)>,
}

impl<'a> Place<'a> {
    /// The value itself.
    pub const ROOT: Place<'static> = Place { up: None };

    /// A declared property below.
    pub fn property(&'a self, name: &'a str) -> Self {
        Self { up: Some((self, Step::Property(name))) }
    }

    /// Another property below.
    pub fn other(&'a self, name: &'a str) -> Self {
        Self { up: Some((self, Step::Other(name))) }
    }

    /// An element below.
    pub fn item(&'a self, index: usize) -> Self {
        Self { up: Some((self, Step::Item(index))) }
    }

    /// As kube-openapi names it: `spec.list[0].x`, nothing for the root.
    pub fn text(&self) -> String {
        let Some((up, step)) = self.up else { return String::new() };
        let mut text = up.text();
        match step {
            Step::Property(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Other(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
        text
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.up.is_none()
    }
}
