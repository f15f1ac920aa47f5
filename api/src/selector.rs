//! Label and field selectors: parsed once, then matched without allocating.
//!
//! Source: the grammar of `k8s.io/apimachinery/pkg/labels` (`a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1,j<2`).

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
    /// `key in (values)`; `key=value` is the same with one value.
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
        let one = |(k, v): (&String, &String)| Requirement::In(k.clone(), vec![v.clone()]);
        Self { requirements: labels.into_iter().map(one).collect(), nothing: false }
    }

    /// From the structured form in a workload's spec. An empty one selects everything.
    ///
    /// # Errors
    /// [`InvalidSelector`] on an operator that does not exist.
    pub fn from_structured(selector: &LabelSelector) -> Result<Self, InvalidSelector> {
        let mut all = Self::from_map(selector.match_labels.iter().flatten());
        for e in selector.match_expressions.iter().flatten() {
            let (key, values) = (e.key.clone(), e.values.clone().unwrap_or_default());
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
        Ok(all)
    }

    /// From the text of a `labelSelector` parameter.
    ///
    /// # Errors
    /// [`InvalidSelector`] with upstream's words.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    break;
                }
                return Err(InvalidSelector(format!(
                    "unable to parse requirement: found '{text}', expected: identifier after ','"
                )));
            }
            requirements.push(requirement(part)?);
        }
        Ok(Self { requirements, nothing: false })
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
    fn holds<'a>(&self, get: &impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
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

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn requirement(part: &str) -> Result<Requirement, InvalidSelector> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(valid_key(key.trim())?));
    }
    if let Some((key, values)) = set_expression(part, " in ", " in(") {
        return Ok(Requirement::In(valid_key(key)?, set_values(values)?));
    }
    if let Some((key, values)) = set_expression(part, " notin ", " notin(") {
        return Ok(Requirement::NotIn(valid_key(key)?, set_values(values)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(valid_key(key)?, vec![valid_value(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(valid_key(key)?, vec![valid_value(value)?]));
    }
    if let Some((key, value)) = part.split_once('>') {
        return Ok(Requirement::GreaterThan(valid_key(key)?, bound(value)?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return Ok(Requirement::LessThan(valid_key(key)?, bound(value)?));
    }
    Ok(Requirement::Exists(valid_key(part)?))
}

fn set_expression<'a>(part: &'a str, spaced: &str, tight: &str) -> Option<(&'a str, &'a str)> {
    let at = part.find(spaced).or_else(|| part.find(tight))?;
    let values = part.get(at + spaced.len() - 1..)?.trim();
    Some((part.get(..at)?, values))
}

fn set_values(text: &str) -> Result<Vec<String>, InvalidSelector> {
    let inner = text
        .strip_prefix('(')
        .and_then(|t| t.strip_suffix(')'))
        .ok_or_else(|| InvalidSelector(format!("unable to parse requirement: found '{text}', expected: '('")))?;
    inner.split(',').map(valid_value).collect()
}

fn bound(text: &str) -> Result<i64, InvalidSelector> {
    let text = text.trim();
    number(text).ok_or_else(|| {
        InvalidSelector(format!(
            "values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"
        ))
    })
}

/// Kubernetes' sentence about the name part of label keys.
pub const QUALIFIED_NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Kubernetes' sentence about label values.
pub const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Whether `key` is a label key: an optional subdomain and `/`, then a name of at most 63 characters.
#[must_use]
pub fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    prefix.is_none_or(crate::names::is_dns1123_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether `value` may be a label's value.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    value.len() <= 63
        && value.chars().all(inner)
        && (value.is_empty() || value.starts_with(edge) && value.ends_with(edge))
}

fn valid_key(key: &str) -> Result<String, InvalidSelector> {
    let key = key.trim();
    if is_qualified_name(key) {
        Ok(key.to_owned())
    } else {
        Err(InvalidSelector(format!("key: Invalid value: {key:?}: {QUALIFIED_NAME_RULE}")))
    }
}

fn valid_value(value: &str) -> Result<String, InvalidSelector> {
    let value = value.trim();
    if is_label_value(value) {
        Ok(value.to_owned())
    } else {
        Err(InvalidSelector(format!("values[0][]: Invalid value: {value:?}: {LABEL_VALUE_RULE}")))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match r {
                Requirement::In(k, v) if v.len() == 1 => write!(f, "{k}={}", v.join(","))?,
                Requirement::In(k, v) => write!(f, "{k} in ({})", v.join(","))?,
                Requirement::NotIn(k, v) if v.len() == 1 => write!(f, "{k}!={}", v.join(","))?,
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

/// One `field=value` or `field!=value` of a `fieldSelector` parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field's path, for example `spec.nodeName`.
    pub path: String,
    /// Its value.
    pub value: String,
    /// Whether the field must have the value, or must not.
    pub relation: FieldRelation,
}

/// How a field must relate to the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRelation {
    /// `=` or `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// Parses the text of a `fieldSelector` parameter. Which paths a kind offers is the registry's matter.
///
/// # Errors
/// [`InvalidSelector`] with upstream's words.
pub fn parse_fields(text: &str) -> Result<Vec<FieldRequirement>, InvalidSelector> {
    let parts = text.split(',').filter(|p| !p.trim().is_empty());
    parts
        .map(|part| {
            let (path, value, relation) = if let Some((p, v)) = part.split_once("!=") {
                (p, v, FieldRelation::NotEqual)
            } else if let Some((p, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (p, v, FieldRelation::Equal)
            } else {
                return Err(InvalidSelector(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            Ok(FieldRequirement { path: path.trim().to_owned(), value: value.trim().to_owned(), relation })
        })
        .collect()
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
        for bad in ["app=we b", "-a", "a in web", "a>x", "a=b,,c", "a in (b", "é=1"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_selector_prints_as_it_is_written() {
        let text = "app=web,tier!=back,x in (a,b),y notin (c,d),z,!w,n>1";
        assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn nothing_selects_nothing() {
        assert!(!Selector::nothing().matches(&labels(&[("a", "b")])));
    }
}
