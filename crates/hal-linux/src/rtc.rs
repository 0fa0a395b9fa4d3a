//! The clock that runs while the BMC is off.
#![allow(
    unsafe_code,
    reason = "the interface is made of ioctls; rustix offers them as unsafe building blocks"
)]

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hal::Error;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::fail;

/// `struct rtc_time` of `linux/rtc.h`. The last three fields mean nothing here.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RawTime {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    /// 0 to 11.
    month: i32,
    /// Since 1900.
    year: i32,
    rest: [i32; 3],
}

const READ_TIME: Opcode = opcode::read::<RawTime>(b'p', 9);
const SET_TIME: Opcode = opcode::write::<RawTime>(b'p', 10);
const DAY: u64 = 86_400;

/// A real-time clock, kept in UTC.
#[derive(Debug)]
pub struct Rtc {
    device: File,
    path: PathBuf,
}

impl Rtc {
    /// Opens a clock's device, such as `/dev/rtc0`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let device = File::open(path).map_err(|source| fail::at("open", path, source))?;
        Ok(Self { device, path: path.to_owned() })
    }

    /// Reads it, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot be read, as a clock that lost its power says; [`Error::Invalid`] for a date that is none.
    pub fn read(&self) -> Result<u64, Error> {
        // SAFETY: the opcode is that of a request which writes a `struct rtc_time`, and `RawTime` is laid out as that.
        let time = unsafe { ioctl(self.device.as_fd(), Getter::<READ_TIME, RawTime>::new()) }
            .map_err(|source| fail::at("read", &self.path, source))?;
        to_seconds(&time).ok_or_else(|| self.invalid(format!("{time:?} is no time after 1970")))
    }

    /// Sets it to `seconds` since 1970.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`] without `CAP_SYS_TIME`, [`Error::Io`] when the clock does not take it.
    pub fn set(&self, seconds: u64) -> Result<(), Error> {
        let time = from_seconds(seconds).ok_or_else(|| self.invalid(format!("{seconds} s is too late")))?;
        // SAFETY: the opcode is that of a request which reads a `struct rtc_time`, and `RawTime` is laid out as that.
        unsafe { ioctl(self.device.as_fd(), Setter::<SET_TIME, RawTime>::new(time)) }
            .map_err(|source| fail::at("set", &self.path, source))
    }

    fn invalid(&self, reason: String) -> Error {
        Error::Invalid { what: self.path.display().to_string(), reason }
    }
}

/// Days from 1970-01-01 to the first of a month (1 to 12), by years that start in March and so end with the leap day.
fn days_to(year: u64, month: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 - 719_468
}

fn to_seconds(time: &RawTime) -> Option<u64> {
    let within = |value: i32, from: u64, to: u64| {
        u64::try_from(value).ok().filter(|value| (from..=to).contains(value))
    };
    let year = within(time.year, 70, 8000)? + 1900;
    let month = within(time.month, 0, 11)? + 1;
    let day = within(time.day, 1, 31)?;
    let clock =
        within(time.hour, 0, 23)? * 3600 + within(time.minute, 0, 59)? * 60 + within(time.second, 0, 60)?;
    Some((days_to(year, month) + day - 1) * DAY + clock)
}

fn from_seconds(seconds: u64) -> Option<RawTime> {
    let (days, clock) = (seconds / DAY, seconds % DAY);
    // An average year is a little longer than 365 days, so the guess is never too small and one step back is enough.
    let mut year = 1970 + days / 365;
    while days_to(year, 1) > days {
        year -= 1;
    }
    let month = (1..=12).rev().find(|month| days_to(year, *month) <= days)?;
    let int = |value: u64| i32::try_from(value).ok();
    Some(RawTime {
        second: int(clock % 60)?,
        minute: int(clock / 60 % 60)?,
        hour: int(clock / 3600)?,
        day: int(days - days_to(year, month) + 1)?,
        month: int(month - 1)?,
        year: int(year).filter(|year| *year < 9000)? - 1900,
        rest: [0; 3],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_kernels_numbers() {
        assert_eq!((READ_TIME, SET_TIME), (0x8024_7009, 0x4024_700a));
    }

    #[test]
    fn known_dates_are_their_seconds() {
        let date = |year, month, day, hour, minute, second| RawTime {
            second,
            minute,
            hour,
            day,
            month: month - 1,
            year: year - 1900,
            rest: [0; 3],
        };
        for (time, seconds) in [
            (date(1970, 1, 1, 0, 0, 0), 0),
            (date(2000, 2, 29, 23, 59, 59), 951_868_799),
            (date(2026, 11, 26, 12, 0, 0), 1_795_694_400),
            (date(2100, 3, 1, 0, 0, 0), 4_107_542_400),
        ] {
            assert_eq!(to_seconds(&time), Some(seconds), "{time:?}");
            assert_eq!(from_seconds(seconds), Some(time), "{seconds}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_goes_there_and_back() {
        for day in 0..400 * 366 {
            let seconds = day * DAY + 12_345;
            assert_eq!(from_seconds(seconds).as_ref().and_then(to_seconds), Some(seconds));
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let good = from_seconds(0).unwrap();
        for bad in [
            RawTime { month: 12, ..good },
            RawTime { day: 0, ..good },
            RawTime { year: 69, ..good },
            RawTime { hour: -1, ..good },
            RawTime { year: i32::MAX, ..good },
        ] {
            assert_eq!(to_seconds(&bad), None, "{bad:?}");
        }
        assert_eq!(from_seconds(1 << 60), None);
    }
}
