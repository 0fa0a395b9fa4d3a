//! Which packets of a session count.

/// Which packets came already (§6.12.13): up to fifteen ahead of the highest, sixteen behind it, each once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    highest: u32,
    /// Bit n: the one n behind the highest came.
    came: u32,
}

impl Window {
    const AHEAD: u32 = 15;
    const BEHIND: u32 = 16;

    pub(crate) fn takes(&mut self, number: u32) -> bool {
        if number > self.highest {
            let ahead = number - self.highest;
            if ahead > Self::AHEAD {
                return false;
            }
            self.came = self.came.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = number;
            return true;
        }
        let behind = self.highest - number;
        let bit = 1_u32.checked_shl(behind).unwrap_or(0);
        if number == 0 || behind > Self::BEHIND || self.came & bit != 0 {
            return false;
        }
        self.came |= bit;
        true
    }
}
