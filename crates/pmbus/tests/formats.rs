//! Number formats against worked values, and what holds for all of them.

use pmbus::{Coefficients, Error, Format, Vid};
use proptest::prelude::*;

/// Part II, section 7.1 (LINEAR11). The first four are worked in data sheets that name that section: 0x9807 is 7 x 2^-13 (LTC3880, page
/// 37), 0xd280 is 640 x 2^-6 (LTC2978A, page 29), 0xe804 is 4 x 2^-3 (TPS53676), 0xeac0 is 704 x 2^-3 = 88 °C (Artesyn iHP, page 174). The
/// others are the corners of the format.
#[test]
fn linear11_worked_values() {
    for (raw, value) in [
        (0x9807, 0.000_854_492_187_5),
        (0xd280, 10.0),
        (0xe804, 0.5),
        (0xeac0, 88.0),
        (0x0000, 0.0),
        (0x0001, 1.0),
        (0x07ff, -1.0),
        (0x03ff, 1_023.0),
        (0x0400, -1_024.0),
        (0x7bff, 33_521_664.0),
        (0x7c00, -33_554_432.0),
        (0x8001, 0.000_015_258_789_062_5),
        (0xf819, 12.5),
        (0xd340, 13.0),
    ] {
        assert_eq!(Format::Linear11.decode(raw), Ok(value), "{raw:#06x}");
    }
}

/// Part II, section 7.1: the device accepts every exponent, so what is written has the finest step.
#[test]
fn linear11_is_written_with_the_finest_step() {
    for (value, raw) in [(12.5, 0xd320), (1_023.0, 0x03ff), (0.0, 0x8000), (-1_024.0, 0x0400)] {
        assert_eq!(Format::Linear11.encode(value), Ok(raw), "{value}");
    }
    assert_eq!(Format::Linear11.encode(1_024.0), Ok(0x0a00));
    assert_eq!(Format::Linear11.encode(33_521_664.0), Ok(0x7bff));
    for value in [33_540_000.0, -33_580_000.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Format::Linear11.encode(value), Err(Error::OutOfRange), "{value}");
    }
}

/// Part II, section 8.3.1 (LINEAR16). The first three are worked in data sheets: 38912 x 2^-13 (LTC2978A, page 29), 19456 x 2^-12
/// (LTC3880, page 37), 1.00 V with VOUT_MODE 0x16 (TPS53676).
#[test]
fn linear16_worked_values() {
    for (exponent, raw, volts) in [
        (-13, 0x9800, 4.75),
        (-12, 0x4c00, 4.75),
        (-10, 0x0400, 1.0),
        (-9, 0x0266, 1.199_218_75),
        (-12, 0xffff, 15.999_755_859_375),
        (0, 12, 12.0),
        (-16, 0x8000, 0.5),
        (15, 1, 32_768.0),
    ] {
        let format = Format::Linear16 { exponent };
        assert_eq!(format.decode(raw), Ok(volts));
        assert_eq!(format.encode(volts), Ok(raw));
    }
    let format = Format::Linear16 { exponent: -12 };
    assert_eq!(format.encode(16.0), Err(Error::OutOfRange));
    assert_eq!(format.encode(-0.1), Err(Error::OutOfRange));
}

/// Part II, section 7.2 (DIRECT), by ADM1276's data sheet (revision C, pages 30 and 31): 350 W is 21,151 with m = 6043 and R = -2, and by
/// MAX34441's (table 3): hundredths of a degree.
#[test]
fn direct_worked_values() {
    let power = Format::Direct(Coefficients { m: 6_043, b: 0, r: -2 });
    assert_eq!(power.encode(350.0), Ok(21_151));
    assert!((power.decode(21_151).unwrap() - 350.008).abs() < 0.001);

    let current = Format::Direct(Coefficients { m: 807, b: 20_475, r: -1 });
    assert_eq!(current.encode(10.0), Ok(2_855));
    assert!((current.decode(3_339).unwrap() - 16.004).abs() < 0.001);
    assert!(current.decode(0).unwrap() < 0.0, "the line goes below zero");

    let temperature = Format::Direct(Coefficients { m: 1, b: 0, r: 2 });
    assert_eq!(temperature.decode(0x0a28), Ok(26.0));
    assert_eq!(temperature.decode(0xff9c), Ok(-1.0));
    assert_eq!(temperature.encode(-40.0), Ok(0xf060));
    assert_eq!(temperature.encode(327.68), Err(Error::OutOfRange));
}

/// Part II, section 14.1: COEFFICIENTS of DIRECT numbers.
#[test]
fn coefficients_of_a_device() {
    let read = Coefficients::from_bytes([0x27, 0x03, 0xfb, 0x4f, 0xff]);
    assert_eq!(read, Coefficients { m: 807, b: 20_475, r: -1 });
    assert_eq!(Coefficients::question(0x8c, true), [0x8c, 1]);
}

#[test]
fn a_line_without_slope_says_so() {
    let flat = Format::Direct(Coefficients { m: 0, b: 5, r: 0 });
    assert_eq!(flat.decode(1), Err(Error::NoSlope));
    assert_eq!(flat.encode(1.0), Err(Error::NoSlope));
}

#[test]
fn what_is_no_voltage_or_number_is_an_error() {
    assert_eq!(Format::Vid(Vid::Vr12).decode(0), Err(Error::NoVoltage(0)));
    assert_eq!(Format::Half.decode(0x7e00), Err(Error::NotANumber(0x7e00)));
    assert_eq!(Format::Half.decode(0xfc00), Err(Error::NotANumber(0xfc00)));
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Linear11),
        (-16_i8..=15).prop_map(|exponent| Format::Linear16 { exponent }),
        (any::<i16>(), any::<i16>(), any::<i8>()).prop_map(|(m, b, r)| Format::Direct(Coefficients {
            m,
            b,
            r
        })),
        prop::sample::select(Vid::ALL.to_vec()).prop_map(Format::Vid),
        Just(Format::Half),
    ]
}

proptest! {
    /// Whatever the device sends is a finite number or an error.
    #[test]
    fn every_two_bytes_are_finite_or_an_error(format in formats(), raw: u16) {
        if let Ok(value) = format.decode(raw) {
            prop_assert!(value.is_finite(), "{format:?} {raw:#06x} {value}");
        }
    }

    /// What was read is written back as the same value. Lines as steep as no device's lose digits.
    #[test]
    fn what_was_read_is_written_the_same(format in formats(), raw: u16) {
        if let Format::Direct(Coefficients { m, b, r }) = format {
            prop_assume!((-6..=6).contains(&r) && m != 0);
            prop_assume!(f64::from(b) * 10f64.powi(i32::from(r)) < 1e9);
        }
        if let Ok(value) = format.decode(raw) {
            let back = format.encode(value).and_then(|raw| format.decode(raw));
            prop_assert_eq!(back, Ok(value));
        }
    }

    /// Any number is written as the nearest there is, or refused.
    #[test]
    fn no_number_panics(format in formats(), value: f64) {
        if let Ok(raw) = format.encode(value) {
            prop_assert!(format.decode(raw).is_ok_and(f64::is_finite));
        }
    }

    /// LINEAR11 is off by at most half a step of eleven bits.
    #[test]
    fn linear11_is_near(value in -33_000_000.0..33_000_000.0) {
        let back = Format::Linear11.encode(value).and_then(|raw| Format::Linear11.decode(raw)).unwrap();
        prop_assert!((back - value).abs() <= (value.abs() / 1_023.0).max(2f64.powi(-17)), "{value} {back}");
    }
}
