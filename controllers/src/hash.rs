//! The letters at the end of generated names: a hash that reads like no word.

/// No vowels, no digits that look like them (upstream's `rand.SafeEncodeString`).
const SAFE_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The 32-bit FNV-1a hash of some bytes.
fn fnv(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Ten letters that stand for a text; a collision count other than zero gives others.
pub(crate) fn safe_letters(text: &str, collisions: i32) -> String {
    let tail = if collisions == 0 { Vec::new() } else { i64::from(collisions).to_le_bytes().to_vec() };
    let hash = fnv(text.bytes().chain(tail));
    let letter = |digit: u8| SAFE_LETTERS.get(usize::from(digit) % SAFE_LETTERS.len()).copied().map_or('b', char::from);
    format!("{hash:010}").bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_ten_safe_letters_and_stable() {
        let hash = safe_letters("some text", 0);
        assert_eq!(hash.len(), 10);
        assert!(hash.bytes().all(|b| SAFE_LETTERS.contains(&b)));
        assert_eq!(hash, safe_letters("some text", 0));
        assert_ne!(hash, safe_letters("some text", 1));
    }
}
