//! A place in an object, spelled out only when something is wrong there.
//!
//! Rules walk down an object for every write, and hardly any write breaks one: a path is a chain on the stack, and
//! becomes a text when an error needs it.

use std::fmt;

/// The place of a field, an item of a list or an entry of a map.
#[derive(Debug, Clone, Copy)]
pub(in crate::registry) struct Path<'a> {
    before: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A field of this one.
    pub(in crate::registry) const fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { before: Some(self), step: Step::Field(name) }
    }

    /// A field beside this one.
    pub(in crate::registry) const fn instead(self, name: &'a str) -> Path<'a> {
        Path { before: self.before, step: Step::Field(name) }
    }

    /// An item of this list.
    pub(in crate::registry) const fn index(&'a self, index: usize) -> Path<'a> {
        Path { before: Some(self), step: Step::Index(index) }
    }

    /// An entry of this map.
    pub(in crate::registry) const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { before: Some(self), step: Step::Key(key) }
    }
}

/// Where it starts: `spec`, `spec.template`.
impl<'a> From<&'a str> for Path<'a> {
    fn from(root: &'a str) -> Self {
        Path { before: None, step: Step::Field(root) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before {
            before.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.before.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl From<Path<'_>> for String {
    fn from(path: Path<'_>) -> Self {
        path.to_string()
    }
}

/// Where an error is, if there is one: told when there is.
pub(in crate::registry) trait Place: Copy {
    /// The place as a text.
    fn told(self) -> String;
}

impl Place for Path<'_> {
    fn told(self) -> String {
        self.to_string()
    }
}

impl Place for &str {
    fn told(self) -> String {
        self.to_owned()
    }
}

impl Place for &String {
    fn told(self) -> String {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_upstreams() {
        let root = Path::from("spec.template");
        let text = String::from(root.field("containers").index(2).field("limits").key("cpu"));
        assert_eq!(String::from(root.field("a").instead("b")), "spec.template.b");
        assert_eq!(text, "spec.template.containers[2].limits[cpu]");
    }
}
