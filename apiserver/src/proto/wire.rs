//! The wire format of Protocol Buffers: numbered fields, one after the other.
//!
//! It allocates nothing and reads no further than the bytes go.

use super::ProtoError;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Data<'a> {
    /// A number of variable length.
    Number(u64),
    /// Eight or four bytes, as they stand.
    Fixed(u64),
    /// A text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Field<'a> {
    /// Its number.
    pub(super) number: u32,
    /// What it holds.
    pub(super) data: Data<'a>,
}

/// The fields of a message.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<Field<'_>, ProtoError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let read = field(&mut bytes);
        if read.is_none() {
            bytes = &[];
        }
        Some(read.ok_or(ProtoError::Malformed))
    })
}

/// Numbers one after the other.
pub(super) fn packed(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, ProtoError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let read = number(&mut bytes);
        if read.is_none() {
            bytes = &[];
        }
        Some(read.ok_or(ProtoError::Malformed))
    })
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let tag = number(bytes)?;
    let data = match tag & 7 {
        0 => Data::Number(number(bytes)?),
        1 => Data::Fixed(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(number(bytes)?).ok()?;
            Data::Bytes(take(bytes, length)?)
        }
        5 => Data::Fixed(u64::from(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?))),
        _ => return None,
    };
    Some(Field { number: u32::try_from(tag >> 3).ok()?, data })
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
