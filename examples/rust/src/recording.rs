//! A recording: Motion JPEG in an AVI file, which every player opens.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

/// Bytes before the first picture.
const HEADER: u32 = 224;

/// A file that grows picture by picture. Finish it, or it has no index.
#[derive(Debug)]
pub struct Recording {
    file: BufWriter<File>,
    width: u32,
    height: u32,
    rate: u32,
    /// Offset from the list and length of each picture.
    index: Vec<(u32, u32)>,
    /// Bytes of the picture list.
    bytes: u32,
}

impl Recording {
    /// Creates the file for pictures of this size at `rate` pictures per second.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(path: &Path, width: u32, height: u32, rate: u32) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        let mut recording =
            Self { file, width, height, rate: rate.max(1), index: Vec::new(), bytes: 4 };
        recording.header()?;
        Ok(recording)
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// The file system's; `FileTooLarge` past 1 GiB.
    pub fn push(&mut self, jpeg: &[u8]) -> io::Result<()> {
        let length = u32::try_from(jpeg.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if self.bytes > 1 << 30 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all(b"00dc")?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(jpeg)?;
        if length % 2 == 1 {
            self.file.write_all(&[0])?;
        }
        self.index.push((self.bytes, length));
        self.bytes += 8 + length + length % 2;
        Ok(())
    }

    /// Pictures so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.index.len() as u64
    }

    /// Writes index and header; gives the file's size in bytes.
    ///
    /// # Errors
    /// The file system's.
    pub fn finish(mut self) -> io::Result<u64> {
        self.file.write_all(b"idx1")?;
        self.file.write_all(&(self.index.len() as u32 * 16).to_le_bytes())?;
        for (offset, length) in &self.index {
            self.file.write_all(b"00dc")?;
            for value in [&0x10, offset, length] {
                self.file.write_all(&value.to_le_bytes())?;
            }
        }
        let size = self.file.stream_position()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.header()?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(size)
    }

    fn header(&mut self) -> io::Result<()> {
        let frames = self.index.len() as u32;
        let largest = self.index.iter().map(|(_, length)| *length).max().unwrap_or(0);
        let (width, height, rate) = (self.width, self.height, self.rate);
        let index = if frames == 0 { 0 } else { 8 + frames * 16 };
        let mut out = Vec::with_capacity(HEADER as usize);
        let word = |out: &mut Vec<u8>, value: u32| out.extend_from_slice(&value.to_le_bytes());
        out.extend_from_slice(b"RIFF");
        word(&mut out, HEADER - 12 + self.bytes + index);
        out.extend_from_slice(b"AVI LIST");
        word(&mut out, 192);
        out.extend_from_slice(b"hdrlavih");
        // Interval in µs, bytes per second, padding, "has an index", frames, 0, streams, buffer, size.
        let main =
            [1_000_000 / rate, largest * rate, 0, 0x10, frames, 0, 1, largest, width, height];
        word(&mut out, 56);
        main.iter().chain(&[0; 4]).for_each(|value| word(&mut out, *value));
        out.extend_from_slice(b"LIST");
        word(&mut out, 116);
        out.extend_from_slice(b"strlstrh");
        word(&mut out, 56);
        out.extend_from_slice(b"vidsMJPG");
        for value in [0, 0, 0, 1, rate, 0, frames, largest, u32::MAX, 0, 0, height << 16 | width] {
            word(&mut out, value);
        }
        out.extend_from_slice(b"strf");
        word(&mut out, 40);
        word(&mut out, 40);
        word(&mut out, width);
        word(&mut out, height);
        word(&mut out, 24 << 16 | 1);
        out.extend_from_slice(b"MJPG");
        word(&mut out, width * height * 3);
        [0; 4].iter().for_each(|value| word(&mut out, *value));
        out.extend_from_slice(b"LIST");
        word(&mut out, self.bytes);
        out.extend_from_slice(b"movi");
        debug_assert_eq!(out.len() as u32, HEADER);
        self.file.write_all(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{HEIGHT, Pattern, WIDTH};

    fn word(file: &[u8], at: usize) -> usize {
        u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize
    }

    #[test]
    fn the_index_finds_every_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.avi");
        let mut recording = Recording::create(&path, WIDTH.into(), HEIGHT.into(), 10).unwrap();
        let mut camera = Pattern::new(1);
        let pictures: Vec<_> = (0..7).map(|number| camera.jpeg(number).unwrap()).collect();
        pictures.iter().for_each(|picture| recording.push(picture).unwrap());
        assert_eq!(recording.frames(), 7);
        let size = recording.finish().unwrap();
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file.len() as u64, size);
        assert_eq!(word(&file, 4) + 8, file.len());
        let movi = HEADER as usize - 4;
        assert_eq!(&file[movi..movi + 4], b"movi");
        let idx1 = movi + word(&file, movi - 4);
        assert_eq!(&file[idx1..idx1 + 4], b"idx1");
        for (number, picture) in pictures.iter().enumerate() {
            let row = idx1 + 8 + number * 16;
            let (offset, length) = (word(&file, row + 8), word(&file, row + 12));
            assert_eq!(&file[movi + offset..movi + offset + 4], b"00dc");
            assert_eq!(&file[movi + offset + 8..movi + offset + 8 + length], &picture[..]);
        }
    }
}
