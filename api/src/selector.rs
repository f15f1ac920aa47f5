//! Label and field selectors: parsed once, then matched without allocating.
//!
//! Source: the grammar of `k8s.io/apimachinery/pkg/labels` (`a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1,j<2`).

mod fields;
mod parse;
mod rules;

pub use fields::{FieldRelation, FieldRequirement, parse_fields};
pub use rules::{LABEL_VALUE_RULE, QUALIFIED_NAME_RULE, broken_by_key, broken_by_value, is_label_value};

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A selector that does not parse; the message is what clients are shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSelector(pub String);

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `key=value`
    Equals(String, String),
    /// `key!=value`; true as well where the key is absent.
    NotEquals(String, String),
    /// `key in (values)`
    In(String, Vec<String>),
    /// `key notin (values)`; true as well where the key is absent.
    NotIn(String, Vec<String>),
    /// `key`
    Exists(String),
    /// `!key`
    DoesNotExist(String),
    /// `key>number`
    GreaterThan(String, i64),
    /// `key<number`
    LessThan(String, i64),
}

/// All requirements must hold; none at all selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Selects every object.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object: what an absent `LabelSelector` means.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// The conditions, all of which must hold.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// From a map of labels that must all be equal (a Service's `spec.selector`).
    #[must_use]
    pub fn from_map<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Self::of(labels.into_iter().map(|(k, v)| Requirement::Equals(k.clone(), v.clone())).collect())
    }

    /// From the structured form in a workload's spec. An empty one selects everything.
    ///
    /// # Errors
    /// [`InvalidSelector`] on an operator that does not exist.
    pub fn from_structured(selector: &LabelSelector) -> Result<Self, InvalidSelector> {
        let mut all = Self::from_map(selector.match_labels.iter().flatten());
        for e in selector.match_expressions.iter().flatten() {
            let (key, mut values) = (e.key.clone(), e.values.clone().unwrap_or_default());
            values.sort_unstable();
            all.requirements.push(match e.operator.as_str() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                other => {
                    return Err(InvalidSelector(format!("{other:?} is not a valid label selector operator")));
                }
            });
        }
        Ok(Self::of(all.requirements))
    }

    /// From the text of a `labelSelector` parameter.
    ///
    /// # Errors
    /// [`InvalidSelector`] with upstream's words.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        Ok(Self::of(parse::parse(text)?))
    }

    /// Sorted by key, so that it prints the same however it was made.
    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key().cmp(b.key()));
        Self { requirements, nothing: false }
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object is selected whose labels are looked up with `get`.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.holds(&get))
    }
}

impl Requirement {
    fn key(&self) -> &str {
        match self {
            Self::Equals(key, _)
            | Self::NotEquals(key, _)
            | Self::In(key, _)
            | Self::NotIn(key, _)
            | Self::Exists(key)
            | Self::DoesNotExist(key)
            | Self::GreaterThan(key, _)
            | Self::LessThan(key, _) => key,
        }
    }

    fn holds<'a>(&self, get: &impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Equals(key, value) => get(key).is_some_and(|v| v == value),
            Self::NotEquals(key, value) => get(key).is_none_or(|v| v != value),
            Self::In(key, values) => get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(key, values) => get(key).is_none_or(|v| !values.iter().any(|w| w == v)),
            Self::Exists(key) => get(key).is_some(),
            Self::DoesNotExist(key) => get(key).is_none(),
            Self::GreaterThan(key, n) => get(key).and_then(number).is_some_and(|v| v > *n),
            Self::LessThan(key, n) => get(key).and_then(number).is_some_and(|v| v < *n),
        }
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match r {
                Requirement::Equals(k, v) => write!(f, "{k}={v}")?,
                Requirement::NotEquals(k, v) => write!(f, "{k}!={v}")?,
                Requirement::In(k, v) => write!(f, "{k} in ({})", v.join(","))?,
                Requirement::NotIn(k, v) => write!(f, "{k} notin ({})", v.join(","))?,
                Requirement::Exists(k) => f.write_str(k)?,
                Requirement::DoesNotExist(k) => write!(f, "!{k}")?,
                Requirement::GreaterThan(k, n) => write!(f, "{k}>{n}")?,
                Requirement::LessThan(k, n) => write!(f, "{k}<{n}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn each_operator_selects_as_upstream() {
        let object = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("app", true),
            ("!app", false),
            ("x!=y", true),
            ("app in (web,db)", true),
            ("app notin (web)", false),
            ("x notin (y)", true),
            ("app=web,tier=back", false),
            ("app in (web, db),tier", true),
            ("n>4", true),
            ("n<5", false),
            ("x>1", false),
        ] {
            assert_eq!(Selector::parse(text).map(|s| s.matches(&object)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_parse_is_refused() {
        for bad in ["app=we b", "-a", "a in web", "a>x", "a=b,,c", "a in (b", "é=1", "é", "a=b,\u{e9}"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_selector_prints_as_it_is_written() {
        let text = "app=web,n>1,tier!=back,!w,x in (a,b),y notin (c),z";
        assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(text.to_owned()));
        let shuffled = Selector::parse("z,tier!=back, app==web,!w,n>1,y notin (c),x in (b, a)");
        assert_eq!(shuffled.map(|s| s.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn nothing_selects_nothing() {
        assert!(!Selector::nothing().matches(&labels(&[("a", "b")])));
    }
}
