//! Generated names: a prefix and five random characters.

/// The letters of generated names: no vowels, so that no words appear, and nothing that is mistaken for another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Random characters at the end of a generated name.
const SUFFIX_LENGTH: usize = 5;

/// A generated name has at most so many characters: that of a label.
const NAME_LENGTH_MAX: usize = 63;

/// How often another name is tried when the generated one is taken.
pub(crate) const ATTEMPTS_MAX: usize = 8;

/// A name that begins as asked, made of random bytes.
pub(crate) fn generate(prefix: &str, random: [u8; SUFFIX_LENGTH]) -> String {
    let prefix: String = prefix.chars().take(NAME_LENGTH_MAX - SUFFIX_LENGTH).collect();
    let letter = |byte: u8| ALPHABET.get(usize::from(byte) % ALPHABET.len()).copied().map_or('x', char::from);
    prefix + &random.map(letter).iter().collect::<String>()
}

/// Random bytes for [`generate`].
pub(crate) fn random() -> [u8; SUFFIX_LENGTH] {
    let id = uuid::Uuid::new_v4().into_bytes();
    let mut bytes = [0; SUFFIX_LENGTH];
    bytes.iter_mut().zip(id).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_begins_as_asked_and_fits_a_label() {
        assert_eq!(generate("web-", [0, 1, 26, 27, 255]), "web-bc9bq");
        assert_eq!(generate(&"a".repeat(80), [0; 5]).len(), 63);
    }
}
