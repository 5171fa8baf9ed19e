//! One setting after the other, as the bytes of SETTINGS arrive (RFC 9113 section 6.5.1).

/// A number in two bytes, and a value in four.
const SETTING: usize = 6;

const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// What has arrived of a setting.
#[derive(Debug, Default)]
pub(super) struct Setting {
    bytes: [u8; SETTING],
    arrived: usize,
}

impl Setting {
    /// Takes in the next byte. Returns whether it completes a setting for more room than a window may have, which is less than 2^31 (RFC 9113
    /// section 6.5.2).
    pub(super) fn step(&mut self, byte: u8) -> bool {
        if let Some(place) = self.bytes.get_mut(self.arrived) {
            *place = byte;
        }
        self.arrived += 1;
        if self.arrived < SETTING {
            return false;
        }
        self.arrived = 0;
        let [number @ .., highest, _, _, _] = self.bytes;
        number == INITIAL_WINDOW_SIZE && highest > i8::MAX.unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_bound() {
        let most = [0, 4, 0x7f, 0xff, 0xff, 0xff];
        let more = [0, 4, 0x80, 0, 0, 0];
        let other = [0, 3, 0xff, 0xff, 0xff, 0xff];
        let first = |settings: &[[u8; SETTING]]| {
            let mut setting = Setting::default();
            let bytes = settings.concat();
            bytes.into_iter().position(|byte| setting.step(byte))
        };
        assert_eq!(first(&[most, other]), None);
        assert_eq!(first(&[more]), Some(5));
        assert_eq!(first(&[other, most, more]), Some(17));
    }
}
