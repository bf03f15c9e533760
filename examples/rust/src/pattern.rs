//! A synthetic camera: a place at night, someone who walks there, and the frame's number drawn in the picture.

use bytes::Bytes;
use jpeg_encoder::{ColorType, Encoder};

/// Pixels across.
pub const WIDTH: u16 = 480;
/// Pixels down.
pub const HEIGHT: u16 = 270;

/// Where the ground begins.
const HORIZON: usize = 118;

type Colour = [u8; 3];

/// A camera's picture generator. Each camera looks at a place of its own.
#[derive(Clone, Debug)]
pub struct Pattern {
    camera: u8,
    /// The place without anyone, drawn once.
    place: Vec<u8>,
    pixels: Vec<u8>,
}

impl Pattern {
    /// Makes the camera with this number.
    #[must_use]
    pub fn new(camera: u8) -> Self {
        let pixels = vec![0; usize::from(WIDTH) * usize::from(HEIGHT) * 3];
        let mut pattern = Self { camera, place: Vec::new(), pixels };
        pattern.build();
        pattern.place = pattern.pixels.clone();
        pattern
    }

    /// Draws picture `number` and encodes it as JPEG, about 10 KB.
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
        self.pixels.copy_from_slice(&self.place);
        let camera = u32::from(self.camera);
        // Someone in a high-visibility vest, smaller the farther away: what a motion detector would see.
        let feet = HORIZON + 40 + bounce(number / 2 + camera * 31, 96);
        let tall = 16 + (feet - HORIZON) / 2;
        let left = 20 + bounce(number * 3 + camera * 137, WIDTH - 80);
        let (wide, step) = (tall / 3, (number / 3 % 2) as usize * 3);
        let top = feet - tall;
        self.fill(left, feet - tall / 3, wide / 3, tall / 3 - step, [26, 32, 44]);
        self.fill(
            left + wide - wide / 3,
            feet - tall / 3,
            wide / 3,
            tall / 3 + step - 3,
            [26, 32, 44],
        );
        self.fill(left, top + tall / 4, wide, tall * 5 / 12, [226, 190, 52]);
        self.fill(left, top + tall / 2, wide, 2, [244, 244, 236]);
        self.fill(left + wide / 4, top, wide / 2, tall / 4, [214, 170, 140]);
        self.corners(left.saturating_sub(8), top.saturating_sub(8), wide + 16, tall + 16);
        self.fill(60, 8, 12 * 9 + 8, 28, [10, 12, 16]);
        for (place, digit) in format!("{number:09}").bytes().enumerate() {
            self.digit(66 + place * 12, 11, digit - b'0');
        }
    }

    /// Draws the place: sky, ground in perspective, and what stands there.
    fn build(&mut self) {
        let (width, height) = (usize::from(WIDTH), usize::from(HEIGHT));
        let tint = [[18, 34, 52], [30, 30, 46], [20, 42, 44], [38, 32, 38]]
            [usize::from(self.camera.wrapping_sub(1) % 4)];
        let shaded = |base: Colour, by: usize| base.map(|part| part.saturating_add(by as u8));
        for y in 0..height {
            for x in 0..width {
                let colour = if y < HORIZON {
                    shaded(tint, y * 30 / HORIZON)
                } else {
                    // Slabs of the ground, wider and deeper the nearer they are.
                    let near = y - HORIZON + 14;
                    let slab = (x + 8 * width - width / 2).abs_diff(8 * width) * 14 / near / 16;
                    let row = 2400 / near;
                    shaded(tint, 26 + near / 4 + if (slab + row).is_multiple_of(2) { 5 } else { 0 })
                };
                self.fill(x, y, 1, 1, colour);
            }
        }
        match self.camera % 4 {
            1 => self.gate(tint),
            2 => self.bay(tint),
            3 => self.plant(tint),
            _ => self.park(tint),
        }
    }

    fn gate(&mut self, tint: Colour) {
        let [wall, light] = [tint.map(|part| part + 14), [232, 206, 150]];
        self.fill(0, 62, 150, 62, wall);
        self.fill(330, 62, 150, 62, wall);
        for post in [150, 318] {
            self.fill(post, 40, 12, 90, [92, 98, 108]);
            self.fill(post - 3, 34, 18, 7, light);
        }
        for bar in 0..13 {
            self.fill(164 + bar * 12, 66, 3, 58, [70, 78, 90]);
        }
        self.fill(162, 64, 156, 4, [96, 104, 116]);
    }

    fn bay(&mut self, tint: Colour) {
        self.fill(0, 22, 480, 108, tint.map(|part| part + 18));
        for door in 0..3 {
            let left = 36 + door * 146;
            self.fill(left, 48, 112, 82, [74, 82, 96]);
            for slat in 0..8 {
                self.fill(left, 48 + slat * 10, 112, 2, [58, 64, 76]);
            }
            self.fill(left + 48, 34, 16, 6, [240, 214, 150]);
            self.fill(left, 130, 112, 5, [196, 160, 40]);
        }
        self.fill(36, 60, 112, 70, [22, 26, 34]);
    }

    fn plant(&mut self, tint: Colour) {
        self.fill(0, 0, 480, 126, tint.map(|part| part + 8));
        for (tank, wide) in [(30, 84), (136, 60), (356, 96)] {
            self.fill(tank, 40, wide, 96, [88, 104, 108]);
            self.fill(tank, 40, wide / 4, 96, [112, 130, 134]);
            self.fill(tank + wide - wide / 5, 40, wide / 5, 96, [62, 76, 80]);
            self.fill(tank, 84, wide, 4, [176, 96, 48]);
        }
        for (pipe, high) in [(14, 7), (26, 4), (34, 9)] {
            self.fill(0, pipe, 480, high, [70, 86, 90]);
        }
        self.fill(232, 54, 88, 74, [52, 62, 66]);
        for lamp in 0..6 {
            self.fill(242 + lamp * 12, 66, 6, 6, [[70, 200, 120], [220, 170, 60]][lamp % 2]);
        }
    }

    fn park(&mut self, tint: Colour) {
        self.fill(0, 70, 480, 50, tint.map(|part| part + 10));
        for window in 0..20 {
            let lit = window % 7 == 2 || window % 5 == 1;
            let colour = if lit { [222, 190, 120] } else { [44, 46, 58] };
            self.fill(14 + window * 23, 82, 12, 16, colour);
        }
        for (car, colour) in [(30, [120, 40, 44]), (130, [150, 156, 166]), (330, [40, 66, 110])] {
            self.fill(car, 138, 78, 22, colour);
            self.fill(car + 14, 122, 46, 18, colour.map(|part| part / 2 + 20));
            self.fill(car + 8, 156, 14, 10, [12, 14, 18]);
            self.fill(car + 56, 156, 14, 10, [12, 14, 18]);
            self.fill(car + 74, 142, 4, 6, [240, 224, 180]);
        }
    }

    /// Draws the corners of a frame around what moves.
    fn corners(&mut self, x: usize, y: usize, width: usize, height: usize) {
        const LONG: usize = 9;
        for top in [y, y + height - 2] {
            self.fill(x, top, LONG, 2, [120, 230, 190]);
            self.fill(x + width - LONG, top, LONG, 2, [120, 230, 190]);
        }
        for left in [x, x + width - 2] {
            self.fill(left, y, 2, LONG, [120, 230, 190]);
            self.fill(left, y + height - LONG, 2, LONG, [120, 230, 190]);
        }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
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
        assert_ne!(a, Pattern::new(2).jpeg(1).unwrap());
    }
}
