//! Which image a person means by a name, or by the beginning of a digest. Pure.

use std::collections::BTreeSet;

use anyhow::bail;
use coracle_runtime::images::Reference;

use super::registry::Listed;

/// The fewest digits of a digest that stand for an image: with fewer, a word such as `add` would be one.
const DIGITS_MIN: usize = 4;

/// How an image was named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By name: one entry.
    Name,
    /// By its digest: every name that it has.
    Digest,
}

/// The images that `text` stands for: one by name, or all names of one digest.
pub(super) fn choose<'a>(images: &'a [Listed], text: &str) -> anyhow::Result<(By, Vec<&'a Listed>)> {
    let wanted = text.parse::<Reference>().ok();
    let named = |image: &&Listed| {
        let own = image.name.as_deref().and_then(|name| name.parse::<Reference>().ok());
        own.is_some_and(|own| wanted.as_ref().is_some_and(|wanted| wanted.is_same(&own)))
    };
    if let Some(image) = images.iter().find(named) {
        return Ok((By::Name, vec![image]));
    }
    // hello@sha256:… finds what is there under a tag, too.
    let text_or_digest = text.split_once('@').map_or(text, |(_, digest)| digest);
    let digits = text_or_digest.strip_prefix("sha256:").unwrap_or(text_or_digest);
    let is_digits = digits.len() >= DIGITS_MIN && digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let begins = |image: &&Listed| is_digits && image.digest.trim_start_matches("sha256:").starts_with(digits);
    let found: Vec<&Listed> = images.iter().filter(begins).collect();
    let digests: BTreeSet<&str> = found.iter().map(|image| image.digest.as_str()).collect();
    match digests.len() {
        0 => bail!("there is no image {text:?}; `coracle image list` shows which there are"),
        1 => Ok((By::Digest, found)),
        _ => bail!("{text:?} is the beginning of {} digests; write more of it", digests.len()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let image = |name: &str, digits: &str| Listed {
            name: Some(name.to_owned()),
            repository: None,
            tag: None,
            digest: format!("sha256:{digits:0<64}"),
            media_type: String::new(),
            size: 1,
            origin: "pushed".to_owned(),
            arrived: jiff::Timestamp::UNIX_EPOCH,
            created: None,
            last_used: jiff::Timestamp::UNIX_EPOCH,
            pods: Vec::new(),
        };
        let images = [image("hello:1", "abcd1"), image("beef:latest", "abcd2"), image("again:1", "abcd1")];
        let chosen = choose(&images, text);
        expected.assert_eq(&match chosen {
            Ok((by, found)) => {
                format!("{by:?}: {}", found.iter().map(|i| i.title()).collect::<Vec<_>>().join(" "))
            }
            Err(error) => error.to_string(),
        });
    }

    #[test]
    fn an_image_is_meant_by_any_form_of_its_name_or_by_enough_of_its_digest() {
        check("hello:1", expect!["Name: hello:1"]);
        check("docker.io/library/hello:1", expect!["Name: hello:1"]);
        check("beef", expect!["Name: beef:latest"]);
        check("abcd1", expect!["Digest: hello:1 again:1"]);
        check("sha256:abcd2", expect!["Digest: beef:latest"]);
        check("abcd", expect![[r#""abcd" is the beginning of 2 digests; write more of it"#]]);
        check("hello", expect![[r#"there is no image "hello"; `coracle image list` shows which there are"#]]);
        check("abc", expect![[r#"there is no image "abc"; `coracle image list` shows which there are"#]]);
    }
}
