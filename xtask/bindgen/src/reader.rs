//! What a WebAssembly file is made of.

use crate::Failure;

/// Reads numbers and names from a section.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Failure> {
        let (first, rest) = self.0.split_first().ok_or("a section ends early")?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u32, Failure> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return Ok(u32::try_from(number & 0xffff_ffff)?);
            }
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Failure> {
        let length = self.number()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or("a section ends early")?;
        self.0 = rest;
        Ok(bytes)
    }
}

/// The sections behind the header: number and content.
pub(crate) fn sections(wasm: &[u8]) -> Result<Vec<(u8, &[u8])>, Failure> {
    let mut reader = Reader(wasm.get(8..).ok_or("no module")?);
    let mut sections = Vec::new();
    while !reader.0.is_empty() {
        sections.push((reader.byte()?, reader.bytes()?));
    }
    Ok(sections)
}

/// Writes a number.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes bytes behind their length.
pub(crate) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_number(out, bytes.len());
    out.extend_from_slice(bytes);
}
