//! What a certificate says of itself (RFC 5280), read from its DER. Nothing is verified here: rustls does that.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Entries of one list at most: names, usages.
const ENTRIES_MAX: usize = 64;

const OF_NAMES: [u8; 2] = [0x55, 0x04];
const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 1.3.6.1.5.5.7.3, below which purposes are.
const PURPOSES: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];

/// Bits of KeyUsage (RFC 5280, 4.2.1.3) in Redfish's words.
const USAGES: [&str; 9] = [
    "DigitalSignature",
    "NonRepudiation",
    "KeyEncipherment",
    "DataEncipherment",
    "KeyAgreement",
    "KeyCertSign",
    "CRLSigning",
    "EncipherOnly",
    "DecipherOnly",
];

/// What lets a key be used by a server (RFC 5280, 4.2.1.12).
pub(crate) const FOR_SERVERS: &str = "ServerAuthentication";

/// Whom a certificate names, as far as that is in the attributes of RFC 4519.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub common_name: String,
    pub organization: String,
    pub organizational_unit: String,
    pub city: String,
    pub state: String,
    pub country: String,
    pub email: String,
    /// As it is in the certificate, to be compared.
    pub der: Vec<u8>,
}

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub serial: Vec<u8>,
    pub issuer: Name,
    pub subject: Name,
    /// Seconds since 1970, the first and the last at which it is good.
    pub not_before: i64,
    pub not_after: i64,
    /// In Redfish's words.
    pub usages: Vec<&'static str>,
    /// It says what it is good for beside signatures, whether or not that is known here.
    pub has_purposes: bool,
    pub alternative_names: Vec<String>,
}

/// Reads a certificate; `None` for what is none.
pub(crate) fn read(certificate: &[u8]) -> Option<Facts> {
    let mut outer = Der(certificate);
    let mut whole = Der(outer.expect(SEQUENCE)?);
    if !outer.0.is_empty() {
        return None;
    }
    let mut tbs = Der(whole.expect(SEQUENCE)?);
    // The version; what has none is of the first, without extensions.
    tbs.take(0xa0);
    let mut facts = Facts { serial: tbs.expect(INTEGER)?.to_vec(), ..Facts::default() };
    tbs.expect(SEQUENCE)?;
    facts.issuer = name(tbs.expect(SEQUENCE)?)?;
    let mut validity = Der(tbs.expect(SEQUENCE)?);
    facts.not_before = time(validity.pop()?)?;
    facts.not_after = time(validity.pop()?)?;
    facts.subject = name(tbs.expect(SEQUENCE)?)?;
    // The key, and the unique identifiers of the second version.
    tbs.expect(SEQUENCE)?;
    tbs.take(0x81);
    tbs.take(0x82);
    if let Some(extensions) = tbs.take(0xa3) {
        let mut list = Der(Der(extensions).expect(SEQUENCE)?);
        for _ in 0..ENTRIES_MAX {
            if list.0.is_empty() {
                break;
            }
            let mut one = Der(list.expect(SEQUENCE)?);
            let id = one.expect(OBJECT)?;
            one.take(BOOLEAN);
            extension(&mut facts, id, one.expect(OCTETS)?)?;
        }
    }
    Some(facts)
}

fn extension(facts: &mut Facts, id: &[u8], value: &[u8]) -> Option<()> {
    match id {
        KEY_USAGE => {
            let (_, bits) = Der(value).expect(BITS)?.split_first()?;
            for (at, usage) in USAGES.iter().enumerate() {
                let byte = bits.get(at / 8).copied().unwrap_or_default();
                if byte & (0x80 >> (at % 8)) != 0 {
                    facts.usages.push(usage);
                }
            }
        }
        EXTENDED_KEY_USAGE => {
            facts.has_purposes = true;
            let mut list = Der(Der(value).expect(SEQUENCE)?);
            for _ in 0..ENTRIES_MAX {
                if list.0.is_empty() {
                    break;
                }
                let purpose = match list.expect(OBJECT)?.strip_prefix(PURPOSES) {
                    Some([1]) => FOR_SERVERS,
                    Some([2]) => "ClientAuthentication",
                    Some([3]) => "CodeSigning",
                    Some([4]) => "EmailProtection",
                    Some([8]) => "Timestamping",
                    Some([9]) => "OCSPSigning",
                    _ => continue,
                };
                facts.usages.push(purpose);
            }
        }
        ALTERNATIVE_NAMES => {
            let mut list = Der(Der(value).expect(SEQUENCE)?);
            for _ in 0..ENTRIES_MAX {
                if list.0.is_empty() {
                    break;
                }
                let (tag, value) = list.pop()?;
                let shown = match tag {
                    0x82 => std::str::from_utf8(value).ok().map(str::to_owned),
                    0x87 => address(value),
                    _ => None,
                };
                facts.alternative_names.extend(shown);
            }
        }
        _ => {}
    }
    Some(())
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).to_string());
    four.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string()))
}

fn name(der: &[u8]) -> Option<Name> {
    let mut found = Name { der: der.to_vec(), ..Name::default() };
    let mut sets = Der(der);
    for _ in 0..ENTRIES_MAX {
        if sets.0.is_empty() {
            break;
        }
        let mut set = Der(sets.expect(SET)?);
        let mut pair = Der(set.expect(SEQUENCE)?);
        let id = pair.expect(OBJECT)?;
        let (tag, value) = pair.pop()?;
        let place = match id {
            EMAIL => &mut found.email,
            [a, b, kind] if [*a, *b] == OF_NAMES => match kind {
                3 => &mut found.common_name,
                6 => &mut found.country,
                7 => &mut found.city,
                8 => &mut found.state,
                10 => &mut found.organization,
                11 => &mut found.organizational_unit,
                _ => continue,
            },
            _ => continue,
        };
        // The first of several is the one that is shown.
        if place.is_empty() {
            *place = text(tag, value).unwrap_or_default();
        }
    }
    Some(found)
}

/// A string of one of the kinds that names are in; `None` for others, and for what is none. Control characters are no part of a name.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    let text: String = match tag {
        UTF8 | PRINTABLE | IA5 => std::str::from_utf8(value).ok()?.to_owned(),
        // T.61, which everybody writes as Latin-1.
        TELETEX => value.iter().copied().map(char::from).collect(),
        BMP => {
            let units = value.chunks_exact(2).map(|pair| match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            char::decode_utf16(units).collect::<Result<_, _>>().ok()?
        }
        _ => return None,
    };
    (!text.chars().any(char::is_control)).then_some(text)
}

/// Seconds since 1970 of a time as certificates have it: in UTC, with seconds (RFC 5280, 4.1.2.5).
fn time((tag, value): (u8, &[u8])) -> Option<i64> {
    let digits = value.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        std::str::from_utf8(digits.get(from..to)?).ok()?.parse().ok()
    };
    let (year, rest) = match (tag, digits.len()) {
        // Years from 50 on are of the last century.
        (UTC_TIME, 12) => {
            let year = number(0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERAL_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |at: usize| number(rest + 2 * at, rest + 2 * at + 2);
    let (month, day, hour, minute, second) = (part(0)?, part(1)?, part(2)?, part(3)?, part(4)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from 1970 on, of years that begin in March, so that a leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const TELETEX: u8 = 0x14;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
const BMP: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// What is left of a list of values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value, with its tag.
    fn pop(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            short @ 0..=0x7f => (usize::from(*short), rest),
            // No certificate needs a length of more than three bytes.
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    /// The next value, which is to have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value) = self.pop()?;
        (found == tag).then_some(value)
    }

    /// The next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.expect(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

    fn certificate() -> Vec<u8> {
        let pair = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(["bmc.example".into(), "192.0.2.1".into(), "::1".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, text) in [
            (DnType::CountryName, "XX"),
            (DnType::StateOrProvinceName, "Státe"),
            (DnType::LocalityName, "City"),
            (DnType::OrganizationName, "Org"),
            (DnType::OrganizationalUnitName, "Unit"),
            (DnType::CommonName, "bmc.example"),
        ] {
            params.distinguished_name.push(kind, text);
        }
        params.serial_number = Some(vec![1, 2, 3].into());
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2050, 3, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.self_signed(&pair).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_who_when_and_what_for() {
        let facts = read(&certificate()).unwrap();
        assert_eq!(facts.serial, [1, 2, 3]);
        // 29 February 2024 in UTCTime, 1 March 2050 in GeneralizedTime.
        assert_eq!((facts.not_before, facts.not_after), (1_709_164_800, 2_529_705_600));
        let Name { common_name, organization, organizational_unit, city, state, country, .. } =
            &facts.subject;
        assert_eq!(
            [common_name, organization, organizational_unit, city, state, country],
            ["bmc.example", "Org", "Unit", "City", "Státe", "XX"]
        );
        assert_eq!(facts.subject, facts.issuer);
        assert_eq!(facts.alternative_names, ["bmc.example", "192.0.2.1", "::1"]);
        assert_eq!(facts.usages, ["DigitalSignature", "KeyAgreement", FOR_SERVERS, "ClientAuthentication"]);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERAL_TIME, "20000229120000Z", Some(951_825_600)),
            (GENERAL_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERAL_TIME, "20001329120000Z", None),
            (GENERAL_TIME, "2000022912000Z", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "+00101000000Z", None),
            (INTEGER, "700101000000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_cut_off_is_no_certificate() {
        let whole = certificate();
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        let more = [whole.as_slice(), &[0]].concat();
        assert_eq!(read(&more), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_certificate_with_a_damaged_byte_is_survived(at in 0_usize..600, byte in any::<u8>()) {
            let mut bytes = CERTIFICATE.with(Clone::clone);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }

    thread_local! {
        static CERTIFICATE: Vec<u8> = certificate();
    }
}
