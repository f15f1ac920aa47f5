//! Which objects a verb is about: files (`-f`), or resource types with names, labels and a namespace.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::resources::{Resource, Resources};

/// `-n` and `-A`, as in kubectl.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scope {
    /// The namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

impl Scope {
    /// The namespace for a resource: empty for those of the cluster.
    pub(crate) fn of(&self, resource: &Resource, client: &kube::Client) -> String {
        if resource.namespaced { self.name(client) } else { String::new() }
    }

    /// The namespace itself.
    pub(crate) fn name(&self, client: &kube::Client) -> String {
        self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())
    }
}

/// A resource type and, if one is given, a name in it.
#[derive(Debug, Clone)]
pub(crate) struct Target<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) name: Option<String>,
}

/// Reads `TYPE[,TYPE] [NAME…]` and `TYPE/NAME …`.
pub(crate) fn parse<'a>(words: &[String], resources: &'a Resources) -> anyhow::Result<Vec<Target<'a>>> {
    if words.iter().any(|w| w.contains('/')) {
        return words.iter().map(|word| slash(word, resources)).collect();
    }
    let Some((types, names)) = words.split_first() else {
        bail!("you must specify the type of resource, for example: pods");
    };
    let mut kinds = Vec::new();
    for word in types.split(',') {
        kinds.extend(resources.meant_by(word)?);
    }
    if names.is_empty() {
        return Ok(kinds.into_iter().map(|resource| Target { resource, name: None }).collect());
    }
    let of = |resource| names.iter().map(move |name| Target { resource, name: Some(name.clone()) });
    Ok(kinds.into_iter().flat_map(of).collect())
}

fn slash<'a>(word: &str, resources: &'a Resources) -> anyhow::Result<Target<'a>> {
    match word.split_once('/') {
        Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
            Ok(Target { resource: resources.one(kind)?, name: Some(name.to_owned()) })
        }
        _ => bail!(
            "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form; {word:?} is not of that form"
        ),
    }
}

/// Reads the objects of files, folders (their .yaml, .yml and .json) and `-` (standard input); a List counts as its items.
pub(crate) fn read_objects(paths: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for path in paths {
        for (name, text) in texts(path)? {
            objects.extend(parse_objects(&text).with_context(|| format!("error parsing {name}"))?);
        }
    }
    if objects.is_empty() {
        bail!("no objects passed");
    }
    Ok(objects)
}

fn texts(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(vec![("STDIN".to_owned(), text)]);
    }
    let read = |path: &Path| -> anyhow::Result<(String, String)> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the path {:?} cannot be read", path.display().to_string()))?;
        Ok((path.display().to_string(), text))
    };
    if !path.is_dir() {
        return Ok(vec![read(path)?]);
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|f| matches!(f.extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json")));
    files.sort();
    files.iter().map(|f| read(f)).collect()
}

fn parse_objects(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in documents(text) {
        let value: Value = serde_saphyr::from_str(&document)?;
        match value {
            Value::Null => {}
            Value::Object(map) if map.get("kind").and_then(Value::as_str) == Some("List") => {
                let items = map.get("items").cloned().unwrap_or_default();
                objects.extend(Vec::<Value>::deserialize(items)?);
            }
            object => objects.push(object),
        }
    }
    Ok(objects)
}

/// The documents of a YAML stream: `---` at the start of a line parts them.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") || line.starts_with("---\t") {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let content = |d: &String| d.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
    documents.retain(content);
    documents
}

/// What a verb needs to know of an object read from a file.
pub(crate) struct Identity<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Finds an object's resource, namespace and name.
pub(crate) fn identify<'a>(
    object: &Value,
    resources: &'a Resources,
    scope: &Scope,
    client: &kube::Client,
) -> anyhow::Result<Identity<'a>> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    if api_version.is_empty() || kind.is_empty() {
        bail!("error validating data: apiVersion and kind must be set");
    }
    let resource = resources.of_object(api_version, kind)?;
    let name = text("/metadata/name").to_owned();
    if name.is_empty() {
        bail!("resource name may not be empty: set metadata.name of the {kind}");
    }
    let own = text("/metadata/namespace");
    if let Some(asked) = scope.namespace.as_deref()
        && resource.namespaced
        && !own.is_empty()
        && own != asked
    {
        bail!(
            "the namespace from the provided object {own:?} does not match the namespace {asked:?}. You must pass '--namespace={own}' to perform this operation."
        );
    }
    let namespace = if own.is_empty() { scope.of(resource, client) } else { own.to_owned() };
    Ok(Identity { resource, namespace: if resource.namespaced { namespace } else { String::new() }, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tests::some;

    #[test]
    fn documents_are_parted_by_dashes_and_comments_alone_are_none() {
        let text = "# head\n---\na: 1\n---\n# nothing\n---\nb: '---'\n";
        assert_eq!(documents(text), ["a: 1\n", "b: '---'\n"]);
    }

    #[test]
    fn words_name_types_and_objects_as_in_kubectl() {
        let all = some();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let shown = |text: &str| -> Vec<String> {
            let targets = parse(&words(text), &all).unwrap();
            targets.iter().map(|t| format!("{} {}", t.resource.plural, t.name.clone().unwrap_or_default())).collect()
        };
        assert_eq!(shown("po"), ["pods "]);
        assert_eq!(shown("po,deploy"), ["pods ", "deployments "]);
        assert_eq!(shown("po a b"), ["pods a", "pods b"]);
        assert_eq!(shown("deploy/x po/y"), ["deployments x", "pods y"]);
        assert!(parse(&words("deploy/x y"), &all).is_err());
    }

    #[test]
    fn a_list_counts_as_its_items() {
        let objects = parse_objects("kind: List\napiVersion: v1\nitems:\n- {kind: A}\n- {kind: B}\n").unwrap();
        assert_eq!(objects.len(), 2);
    }
}
