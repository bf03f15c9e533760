//! A journal whose last batch the disk kept only in part.
//!
//! The engine takes a batch that merely ends too early for what it is, and leaves it out; but one
//! with a page missing in its middle, as a disk may leave it that writes pages in any order, it
//! refuses to open. This log writes a batch only when the one before it is synced. So if nothing
//! stands behind such a batch it was never durable and nothing of it was ever told: it is cut
//! off. If anything does, durable data is damaged, and that is for a person to decide.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

// The journal's format, version 3 of the engine.
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

/// Cuts a torn last batch off the newest journal; returns whether there was one.
pub(super) fn cut_last_batch(directory: &Path) -> io::Result<bool> {
    let Some(journal) = newest_journal(directory)? else { return Ok(false) };
    let Some(start) = last_batch(BufReader::new(File::open(&journal)?))? else { return Ok(false) };
    let file = OpenOptions::new().write(true).open(journal)?;
    file.set_len(start)?;
    file.sync_all()?;
    Ok(true)
}

fn newest_journal(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(last, _)| *last < number)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the last batch starts, if the journal reads as whole batches up to its end or to zeros
/// that go on to its end.
fn last_batch(mut journal: impl Read) -> io::Result<Option<u64>> {
    let mut at = 0;
    let mut start = None;
    let mut whole = None;
    loop {
        let mut tag = [0];
        if journal.read(&mut tag)? == 0 {
            return Ok(whole);
        }
        let rest = match tag[0] {
            START => {
                start = Some(at);
                whole = None;
                4 + 8
            }
            // Kind, compression, table, and the lengths of key, value and stored value.
            ITEM => {
                let mut head = [0; 1 + 1 + 8 + 2 + 4 + 4];
                journal.read_exact(&mut head)?;
                at += head.len() as u64;
                let [.., k0, k1, _, _, _, _, v0, v1, v2, v3] = head;
                u64::from(u16::from_le_bytes([k0, k1]))
                    + u64::from(u32::from_le_bytes([v0, v1, v2, v3]))
            }
            END => {
                whole = start.take();
                8 + 4
            }
            CLEAR => 8,
            0 => return Ok(whole.filter(|_| only_zeros(journal))),
            _ => return Ok(None),
        };
        let passed = io::copy(&mut journal.by_ref().take(rest), &mut io::sink())?;
        if passed < rest {
            return Ok(None);
        }
        at += 1 + rest;
    }
}

fn only_zeros(rest: impl Read) -> bool {
    BufReader::with_capacity(1 << 16, rest).bytes().all(|byte| matches!(byte, Ok(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![START, 1, 0, 0, 0];
        bytes.extend(9_u64.to_le_bytes());
        bytes.extend([ITEM, 0, 0]);
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(3_u16.to_le_bytes());
        let len = u32::try_from(value.len()).unwrap().to_le_bytes();
        bytes.extend(len.iter().chain(&len).chain(b"key").chain(value));
        bytes.push(END);
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(b"FJL\x03");
        bytes
    }

    #[test]
    fn the_last_batch_is_found_only_where_nothing_follows() {
        let (one, two) = (batch(&[1; 300]), batch(&[2; 5000]));
        let journal = [one.as_slice(), &two].concat();
        let start = Some(one.len() as u64);
        assert_eq!(last_batch(&journal[..]).unwrap(), start);
        let padded = [journal.as_slice(), &[0; 100_000]].concat();
        assert_eq!(last_batch(&padded[..]).unwrap(), start);
        let followed = [padded.as_slice(), &[1]].concat();
        assert_eq!(last_batch(&followed[..]).unwrap(), None);
        let short = &journal[..journal.len() - 100];
        assert_eq!(last_batch(short).unwrap(), None, "the engine leaves it out by itself");
        assert_eq!(last_batch(&[][..]).unwrap(), None);
        assert_eq!(last_batch(&[9, 9, 9][..]).unwrap(), None);
    }
}
