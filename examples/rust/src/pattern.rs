//! A synthetic camera: a moving test pattern with the frame's number drawn in the picture.

use bytes::Bytes;
use jpeg_encoder::{ColorType, Encoder};

/// Pixels across.
pub const WIDTH: u16 = 480;
/// Pixels down.
pub const HEIGHT: u16 = 270;

/// A camera's picture generator. Each camera has a tint of its own.
#[derive(Clone, Debug)]
pub struct Pattern {
    tint: u8,
    pixels: Vec<u8>,
}

impl Pattern {
    /// Makes the camera with this number.
    #[must_use]
    pub fn new(camera: u8) -> Self {
        Self {
            tint: camera.wrapping_mul(67),
            pixels: vec![0; usize::from(WIDTH) * usize::from(HEIGHT) * 3],
        }
    }

    /// Draws picture `number` and encodes it as JPEG, about 10–20 KB.
    ///
    /// # Errors
    /// The encoder's words; it fails only where memory does.
    pub fn jpeg(&mut self, number: u32) -> Result<Bytes, String> {
        self.draw(number);
        let mut out = Vec::with_capacity(24 * 1024);
        Encoder::new(&mut out, 70)
            .encode(&self.pixels, WIDTH, HEIGHT, ColorType::Rgb)
            .map_err(|error| error.to_string())?;
        Ok(out.into())
    }

    fn draw(&mut self, number: u32) {
        let (width, height) = (usize::from(WIDTH), usize::from(HEIGHT));
        let shift = number as usize * 3;
        for (y, row) in self.pixels.chunks_exact_mut(width * 3).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let bar = ((x + shift) / 60 % 8) as u8;
                let shade = (y * 255 / height) as u8;
                pixel[0] = if bar & 1 == 0 { 40 } else { shade / 2 + 60 };
                pixel[1] = if bar & 2 == 0 { 50 } else { shade / 2 + 50 };
                pixel[2] =
                    if bar & 4 == 0 { 60u8.wrapping_add(self.tint / 4) } else { 160 - shade / 4 };
            }
        }
        // A box that bounces: what a motion detector would see.
        let (x, y) = (bounce(number * 5, WIDTH - 50), bounce(number * 3, HEIGHT - 50));
        self.fill(x, y, 50, 50, [240, 200, 40]);
        self.fill(8, 8, 12 * 9 + 8, 30, [0, 0, 0]);
        for (place, digit) in format!("{number:09}").bytes().enumerate() {
            self.digit(14 + place * 12, 12, digit - b'0');
        }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: [u8; 3]) {
        let across = usize::from(WIDTH);
        for row in y..(y + height).min(usize::from(HEIGHT)) {
            for column in x..(x + width).min(across) {
                self.pixels[(row * across + column) * 3..][..3].copy_from_slice(&colour);
            }
        }
    }

    /// Draws a digit of 5 × 7 dots, each 2 × 3 pixels.
    fn digit(&mut self, x: usize, y: usize, digit: u8) {
        for (row, bits) in FONT[usize::from(digit)].iter().enumerate() {
            for column in 0..5 {
                if bits >> (4 - column) & 1 == 1 {
                    self.fill(x + column * 2, y + row * 3, 2, 3, [255, 255, 255]);
                }
            }
        }
    }
}

fn bounce(at: u32, span: u16) -> usize {
    let span = u32::from(span);
    let turn = at % (2 * span);
    (if turn < span { turn } else { 2 * span - turn }) as usize
}

/// The digits, a row of five dots per number.
const FONT: [[u8; 7]; 10] = [
    [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
    [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
    [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
    [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
    [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
    [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
    [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
    [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
    [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
    [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_jpeg_and_differ() {
        let mut camera = Pattern::new(1);
        let (a, b) = (camera.jpeg(1).unwrap(), camera.jpeg(2).unwrap());
        assert!(a.starts_with(&[0xff, 0xd8]) && a.ends_with(&[0xff, 0xd9]));
        assert_ne!(a, b);
        assert_eq!(a, Pattern::new(1).jpeg(1).unwrap());
    }
}
