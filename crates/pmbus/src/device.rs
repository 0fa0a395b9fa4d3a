//! One device: what has to be asked of it to know a value, and what is learned of it on the way.

use smbus::{Address, Transfer};

use crate::command::{Capability, Command, Shape};
use crate::format::{Coefficients, Error as FormatError, Format};
use crate::limits::Limits;
use crate::mode::VoutMode;
use crate::page::Pages;
use crate::status::Register;
use crate::vid::Vid;

/// What a device is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Quantity {
    /// What.
    pub what: What,
    /// Of which of its outputs; none where the device has no pages.
    pub page: Option<u8>,
}

/// A number, or whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum What {
    /// The number of a command that reads one, in its unit.
    Reading(Command),
    /// 1 while any of these bits of a status register is set, else 0. Such a bit stays set after its cause has gone, until the output was off
    /// or somebody clears it (section 10.2.3).
    Status {
        /// The register.
        register: Register,
        /// The bits.
        mask: u16,
    },
}

/// Whether transfers have packet error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Checked {
    /// Where CAPABILITY says that the device knows them.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The format of numbers that are no output voltage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Numbers {
    /// LINEAR11, or half precision where CAPABILITY says so.
    #[default]
    Linear,
    /// DIRECT. The coefficients are those of [`Options::coefficients`], or else those that COEFFICIENTS answers.
    Direct,
}

/// What the data sheet says and the device does not.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Options {
    /// Whether transfers have packet error codes.
    pub checked: Checked,
    /// The format of its numbers.
    pub numbers: Numbers,
    /// Whose codes its output voltages are, when they are codes.
    pub vid: Option<Vid>,
    /// Coefficients of commands whose numbers are DIRECT.
    pub coefficients: Vec<(Command, Coefficients)>,
}

/// What became of a transfer that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble<E> {
    /// Nobody acknowledged it.
    NoAnswer(E),
    /// Anything else.
    Other(E),
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure<E> {
    /// No device answers at the address.
    Gone(E),
    /// A device is there and does not take the command.
    Refused(E),
    /// The bus failed.
    Bus(E),
    /// What was answered is no answer.
    Answer(smbus::Error),
    /// What was answered is no number.
    Number(FormatError),
    /// The device counts in a format of which more has to be known: this option.
    Lacks(&'static str),
}

impl<E: std::fmt::Display> std::fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone(error) => write!(f, "no device answers: {error}"),
            Self::Refused(error) => write!(f, "the device does not take the command: {error}"),
            Self::Bus(error) => write!(f, "{error}"),
            Self::Answer(error) => write!(f, "{error}"),
            Self::Number(error) => write!(f, "{error}"),
            Self::Lacks(what) => write!(f, "the board file has to say {what}"),
        }
    }
}

/// What a device refuses, or says in numbers that are none, it does not have.
fn if_it_has<T, E>(answer: Result<T, Failure<E>>) -> Result<Option<T>, Failure<E>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure::Refused(_) | Failure::Number(_) | Failure::Lacks(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A device on a bus.
///
/// What it says of itself (CAPABILITY, VOUT_MODE, COEFFICIENTS) is asked once and then believed until the device is away, its bus fails, or
/// [`Device::forget`]: another may be in its place then. Only PAGE is ever written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    address: Address,
    options: Options,
    capability: Option<Capability>,
    modes: Vec<(Option<u8>, VoutMode)>,
    asked: Vec<(Command, Coefficients)>,
}

impl Device {
    /// A device at an address. Nothing is known of it yet.
    #[must_use]
    pub fn new(address: Address, options: Options) -> Self {
        Device { address, options, capability: None, modes: Vec::new(), asked: Vec::new() }
    }

    /// Asks for a value: in the unit of the command, or 1 and 0. `run` does transfers one after the other, and lets nobody come between those of one call.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read<E>(
        &mut self,
        wanted: Quantity,
        mut run: impl FnMut(&[Transfer]) -> Result<Vec<Vec<u8>>, Trouble<E>>,
    ) -> Result<f64, Failure<E>> {
        let mut ask = Ask { address: self.address, page: wanted.page, pec: false, run: &mut run };
        let value = self.ask(wanted.what, &mut ask);
        self.unless_gone(value)
    }

    /// Asks for the limits of a reading. Those that the device does not take the commands of, whose numbers are none, or that are parts of
    /// VOUT_COMMAND instead of volts, are none; so are those of a status.
    ///
    /// # Errors
    /// The device or the bus did not answer: they are to be asked for again.
    pub fn limits<E>(
        &mut self,
        wanted: Quantity,
        mut run: impl FnMut(&[Transfer]) -> Result<Vec<Vec<u8>>, Trouble<E>>,
    ) -> Result<Limits, Failure<E>> {
        let What::Reading(command) = wanted.what else { return Ok(Limits::default()) };
        let mut ask = Ask { address: self.address, page: wanted.page, pec: false, run: &mut run };
        let limits = self.limits_of(command, &mut ask);
        self.unless_gone(limits)
    }

    /// The limits of what `reading` reads, which have the format of that.
    fn limits_of<E>(&mut self, reading: Command, ask: &mut Ask<'_, E>) -> Result<Limits, Failure<E>> {
        let commands = reading.limits();
        if commands == Limits::default() {
            return Ok(Limits::default());
        }
        let Some(format) = if_it_has(self.format(reading, ask))? else { return Ok(Limits::default()) };
        let is_relative = self.modes.iter().any(|(page, mode)| *page == ask.page && mode.relative);
        commands.try_map(|limit| {
            if limit.shape() == Some(Shape::Vout) && is_relative {
                return Ok(None);
            }
            if_it_has(ask.word(limit.code()).and_then(|raw| format.decode(raw).map_err(Failure::Number)))
        })
    }

    /// Forgets what the device said of itself, which is asked again with the next value. To be called when it was not watched for a while, as when
    /// its host was off: another may be in its place, which counts in another way.
    pub fn forget(&mut self) {
        self.capability = None;
        self.modes.clear();
        self.asked.clear();
    }

    /// Another device may be in the place of one that is away, or was not seen while its bus failed.
    fn unless_gone<T, E>(&mut self, answer: Result<T, Failure<E>>) -> Result<T, Failure<E>> {
        if matches!(answer, Err(Failure::Gone(_) | Failure::Bus(_))) {
            self.forget();
        }
        answer
    }

    /// The format of a command that reads a number; says how `ask` has to go on.
    fn format<E>(&mut self, command: Command, ask: &mut Ask<'_, E>) -> Result<Format, Failure<E>> {
        let capability = self.checked(ask)?;
        match command.shape() {
            Some(Shape::Vout) => self.vout(command, ask),
            Some(Shape::Number(_)) if self.options.numbers == Numbers::Direct => {
                Ok(Format::Direct(self.coefficients(command, ask)?))
            }
            Some(Shape::Number(_)) if capability.half => Ok(Format::Half),
            Some(Shape::Number(_)) => Ok(Format::Linear11),
            _ => Err(Failure::Lacks("a command that reads a number")),
        }
    }

    /// From here on with codes, or without.
    fn checked<E>(&mut self, ask: &mut Ask<'_, E>) -> Result<Capability, Failure<E>> {
        let capability = self.capability(ask)?;
        ask.pec = match self.options.checked {
            Checked::Auto => capability.pec,
            Checked::Always => true,
            Checked::Never => false,
        };
        Ok(capability)
    }

    fn ask<E>(&mut self, what: What, ask: &mut Ask<'_, E>) -> Result<f64, Failure<E>> {
        match what {
            What::Status { register: Register::Word, mask } => {
                self.checked(ask)?;
                Ok(flag(ask.word(Register::Word.command())?, mask))
            }
            What::Status { register, mask } => {
                self.checked(ask)?;
                Ok(flag(ask.byte(register.command())?.into(), mask))
            }
            What::Reading(command) => {
                let format = self.format(command, ask)?;
                format.decode(ask.word(command.code())?).map_err(Failure::Number)
            }
        }
    }

    /// What it can do; of a device that does not say, nothing.
    fn capability<E>(&mut self, ask: &mut Ask<'_, E>) -> Result<Capability, Failure<E>> {
        if let Some(known) = self.capability {
            return Ok(known);
        }
        // Without a code: whether it knows them is what is asked.
        let byte = match ask.byte(Command::Capability.code()) {
            Ok(byte) => byte,
            Err(Failure::Refused(_)) => 0,
            Err(failure) => return Err(failure),
        };
        Ok(*self.capability.insert(Capability::from_byte(byte)))
    }

    fn vout<E>(&mut self, command: Command, ask: &mut Ask<'_, E>) -> Result<Format, Failure<E>> {
        let known = self.modes.iter().find(|(page, _)| *page == ask.page).map(|(_, mode)| *mode);
        let mode = match known {
            Some(mode) => mode,
            None => {
                let mode = VoutMode::from_byte(ask.byte(Command::VoutMode.code())?);
                self.modes.push((ask.page, mode));
                mode
            }
        };
        let direct = match mode.format {
            crate::VoutFormat::Direct => Some(self.coefficients(command, ask)?),
            _ => None,
        };
        mode.format(self.options.vid, direct).ok_or(Failure::Lacks("vid: whose codes its voltages are"))
    }

    fn coefficients<E>(
        &mut self,
        command: Command,
        ask: &mut Ask<'_, E>,
    ) -> Result<Coefficients, Failure<E>> {
        let known = self.options.coefficients.iter().chain(&self.asked).find(|(of, _)| *of == command);
        if let Some((_, coefficients)) = known {
            return Ok(*coefficients);
        }
        let question = Coefficients::question(command.code(), true);
        let call = Transfer::call_block(self.address, Command::Coefficients.code(), &question, 5);
        let lacks = Failure::Lacks("coefficients: the device answers none");
        let Some(call) = call else { return Err(lacks) };
        let answer = match ask.transfer(call) {
            Err(Failure::Refused(_)) => return Err(lacks),
            answer => answer?,
        };
        let bytes = answer.first_chunk().filter(|_| answer.len() == 5);
        let short = smbus::Error::Short { wanted: 5, got: answer.len() };
        let coefficients = Coefficients::from_bytes(*bytes.ok_or(Failure::Answer(short))?);
        self.asked.push((command, coefficients));
        Ok(coefficients)
    }
}

fn flag(bits: u16, mask: u16) -> f64 {
    if bits & mask == 0 { 0.0 } else { 1.0 }
}

/// What does transfers one after the other.
type Run<'a, E> = dyn FnMut(&[Transfer]) -> Result<Vec<Vec<u8>>, Trouble<E>> + 'a;

/// One question and those it leads to.
struct Ask<'a, E> {
    address: Address,
    page: Option<u8>,
    pec: bool,
    run: &'a mut Run<'a, E>,
}

impl<E> Ask<'_, E> {
    fn byte(&mut self, command: u8) -> Result<u8, Failure<E>> {
        let data = self.transfer(Transfer::read_byte(self.address, command))?;
        data.first().copied().ok_or(Failure::Answer(smbus::Error::Short { wanted: 1, got: 0 }))
    }

    fn word(&mut self, command: u8) -> Result<u16, Failure<E>> {
        let data = self.transfer(Transfer::read_word(self.address, command))?;
        let short = smbus::Error::Short { wanted: 2, got: data.len() };
        data.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)).ok_or(Failure::Answer(short))
    }

    /// The data of an answer. The page is selected each time: others may use the device, too.
    fn transfer(&mut self, transfer: Transfer) -> Result<Vec<u8>, Failure<E>> {
        let transfer = if self.pec { transfer.with_pec() } else { transfer };
        let select = self.page.and_then(|page| Pages::new(self.address, self.pec).select(page));
        let all: Vec<Transfer> = select.into_iter().chain([transfer.clone()]).collect();
        match (self.run)(&all) {
            Ok(answers) => {
                let answer = answers.last().map(Vec::as_slice).unwrap_or_default();
                transfer.finish(answer).map(<[u8]>::to_vec).map_err(Failure::Answer)
            }
            Err(Trouble::Other(error)) => Err(Failure::Bus(error)),
            // Drivers of adapters say the same of a device that is not there and of a command that it does not take.
            Err(Trouble::NoAnswer(error)) => match (self.run)(&[Transfer::receive_byte(self.address)]) {
                Ok(_) => Err(Failure::Refused(error)),
                Err(Trouble::NoAnswer(error)) => Err(Failure::Gone(error)),
                Err(Trouble::Other(error)) => Err(Failure::Bus(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ALL_PAGES;

    /// A device of bytes by page and command; a command that is not here is not acknowledged.
    struct Fake {
        there: bool,
        pec: bool,
        page: u8,
        answers: Vec<(u8, u8, Vec<u8>)>,
        asked: Vec<u8>,
    }

    const PLACE: u8 = 0x58;

    fn place() -> Address {
        Address::new(PLACE).unwrap()
    }

    impl Fake {
        fn new(answers: &[(u8, u8, &[u8])]) -> Self {
            let answers = answers.iter().map(|(page, command, bytes)| (*page, *command, bytes.to_vec()));
            Fake { there: true, pec: false, page: 0, answers: answers.collect(), asked: Vec::new() }
        }

        fn run(&mut self, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, Trouble<()>> {
            transfers.iter().map(|transfer| self.one(transfer)).collect()
        }

        fn one(&mut self, transfer: &Transfer) -> Result<Vec<u8>, Trouble<()>> {
            if !self.there {
                return Err(Trouble::NoAnswer(()));
            }
            let written = transfer.written();
            let Some(command) = written.first() else { return Ok(vec![0xff]) };
            self.asked.push(*command);
            if transfer.expects() == smbus::Expects::Nothing {
                assert_eq!(*command, 0, "only PAGE is written");
                self.page = written[1];
                return Ok(Vec::new());
            }
            let found = self
                .answers
                .iter()
                .find(|(page, of, _)| of == command && [self.page, ALL_PAGES].contains(page));
            let mut bytes = found.map(|(.., bytes)| bytes.clone()).ok_or(Trouble::NoAnswer(()))?;
            if self.pec {
                let head = smbus::pec(smbus::pec(0, &[PLACE << 1]), written);
                bytes.push(smbus::pec(smbus::pec(head, &[PLACE << 1 | 1]), &bytes));
            }
            Ok(bytes)
        }
    }

    fn reading(command: Command, page: Option<u8>) -> Quantity {
        Quantity { what: What::Reading(command), page }
    }

    /// The value of LINEAR11 and that of LINEAR16 are those of the worked examples of the formats.
    #[test]
    fn numbers_and_output_voltages_have_their_formats_and_what_is_learned_is_asked_once() {
        // LINEAR11 0xf3f0: 1008 x 2^-2; LINEAR16 with 2^-9: 6144 / 512.
        let mut fake = Fake::new(&[
            (ALL_PAGES, 0x19, &[0x80]),
            (ALL_PAGES, 0x88, &[0xf0, 0xf3]),
            (ALL_PAGES, 0x20, &[0x17]),
            (ALL_PAGES, 0x8b, &[0x00, 0x18]),
            (ALL_PAGES, 0x7d, &[0x40]),
            (ALL_PAGES, 0x79, &[0x04, 0x00]),
        ]);
        fake.pec = false;
        let mut device = Device::new(place(), Options { checked: Checked::Never, ..Options::default() });
        assert_eq!(device.read(reading(Command::ReadVin, None), |t| fake.run(t)), Ok(252.0));
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Ok(12.0));
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Ok(12.0));
        assert_eq!(fake.asked, [0x19, 0x88, 0x20, 0x8b, 0x8b]);
        for (register, mask, value) in [
            (Register::Temperature, 0x40, 1.0),
            (Register::Temperature, 0x80, 0.0),
            (Register::Word, 0x04, 1.0),
        ] {
            let wanted = Quantity { what: What::Status { register, mask }, page: None };
            assert_eq!(device.read(wanted, |t| fake.run(t)), Ok(value), "{register:?} {mask:#x}");
        }
    }

    #[test]
    fn codes_are_checked_where_the_device_knows_them() {
        let answers: &[(u8, u8, &[u8])] = &[(ALL_PAGES, 0x19, &[0xb0]), (ALL_PAGES, 0x8d, &[0x1e, 0x00])];
        let mut fake = Fake::new(answers);
        let mut device = Device::new(place(), Options::default());
        // It says that it knows codes and sends none.
        let wrong = device.read(reading(Command::ReadTemperature1, None), |t| fake.run(t));
        assert!(matches!(wrong, Err(Failure::Answer(smbus::Error::Short { .. }))), "{wrong:?}");
        fake.pec = true;
        assert_eq!(device.read(reading(Command::ReadTemperature1, None), |t| fake.run(t)), Ok(30.0));
        // One that does not say is asked without.
        let mut fake = Fake::new(&answers[1..]);
        let mut device = Device::new(place(), Options::default());
        assert_eq!(device.read(reading(Command::ReadTemperature1, None), |t| fake.run(t)), Ok(30.0));
    }

    #[test]
    fn each_page_has_its_own_format_and_is_selected_each_time() {
        let mut fake = Fake::new(&[
            (ALL_PAGES, 0x19, &[0]),
            (0, 0x20, &[0x17]),
            (0, 0x8b, &[0x00, 0x02]),
            (1, 0x20, &[0x21]),
            (1, 0x8b, &[0x83, 0x00]),
        ]);
        let options = Options { vid: Some(Vid::Vr13), ..Options::default() };
        let mut device = Device::new(place(), options);
        for _ in 0..2 {
            assert_eq!(device.read(reading(Command::ReadVout, Some(0)), |t| fake.run(t)), Ok(1.0));
            assert_eq!(device.read(reading(Command::ReadVout, Some(1)), |t| fake.run(t)), Ok(1.8));
            fake.page = 7;
        }
        let mut unknown = Device::new(place(), Options::default());
        let lacks = unknown.read(reading(Command::ReadVout, Some(1)), |t| fake.run(t));
        assert!(matches!(lacks, Err(Failure::Lacks(_))), "{lacks:?}");
    }

    /// m = 1000, b = 5, R = -1: 230 V are 23,000.5, rounded down here.
    #[test]
    fn coefficients_are_the_board_s_or_the_device_s() {
        let mut fake = Fake::new(&[
            (ALL_PAGES, 0x19, &[0]),
            (ALL_PAGES, 0x30, &[5, 0xe8, 0x03, 0x05, 0x00, 0xff]),
            (ALL_PAGES, 0x88, &[0xd8, 0x59]),
        ]);
        let options = Options { numbers: Numbers::Direct, ..Options::default() };
        let mut device = Device::new(place(), options.clone());
        let volts = device.read(reading(Command::ReadVin, None), |t| fake.run(t)).unwrap();
        assert!((volts - 229.995).abs() < 1e-9, "{volts}");
        fake.answers.retain(|(_, command, _)| *command != 0x30);
        let mut other = Device::new(place(), options.clone());
        let lacks = other.read(reading(Command::ReadVin, None), |t| fake.run(t));
        assert!(matches!(lacks, Err(Failure::Lacks(_))), "{lacks:?}");
        let line = Coefficients { m: 100, b: 0, r: 0 };
        let named = Options { coefficients: vec![(Command::ReadVin, line)], ..options };
        let mut named = Device::new(place(), named);
        assert_eq!(named.read(reading(Command::ReadVin, None), |t| fake.run(t)), Ok(230.0));
    }

    #[test]
    fn a_device_that_is_away_is_told_apart_from_a_command_and_is_learned_anew() {
        let mut fake =
            Fake::new(&[(ALL_PAGES, 0x19, &[0]), (ALL_PAGES, 0x20, &[0x17]), (ALL_PAGES, 0x8b, &[0, 2])]);
        let mut device = Device::new(place(), Options::default());
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Ok(1.0));
        let refused = device.read(reading(Command::ReadIin, None), |t| fake.run(t));
        assert_eq!(refused, Err(Failure::Refused(())));
        fake.there = false;
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Err(Failure::Gone(())));
        // Another one in its place, which counts in other steps.
        fake.there = true;
        fake.answers[1].2 = vec![0x18];
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Ok(2.0));
        // Put in while its bus hung.
        let mut hangs = |_: &[Transfer]| Err(Trouble::Other(()));
        assert_eq!(device.read(reading(Command::ReadVout, None), &mut hangs), Err(Failure::Bus(())));
        fake.answers[1].2 = vec![0x17];
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Ok(1.0));
        // Put in while nobody looked.
        fake.answers[1].2 = vec![0x18];
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Ok(1.0));
        device.forget();
        assert_eq!(device.read(reading(Command::ReadVout, None), |t| fake.run(t)), Ok(2.0));
    }

    /// Limits have the format of their reading; what the device does not take, or what is no volts, is none.
    #[test]
    fn limits_are_numbers_of_the_reading_or_none() {
        // LINEAR11 0xf3f0: 252; LINEAR16 with 2^-9: 6144 / 512.
        let mut fake = Fake::new(&[
            (ALL_PAGES, 0x19, &[0]),
            (ALL_PAGES, 0x57, &[0xf0, 0xf3]),
            (ALL_PAGES, 0x59, &[0xd0, 0xf2]),
            (ALL_PAGES, 0x20, &[0x17]),
            (ALL_PAGES, 0x42, &[0x00, 0x18]),
        ]);
        let mut device = Device::new(place(), Options::default());
        let vin = device.limits(reading(Command::ReadVin, None), |t| fake.run(t)).unwrap();
        let expected = Limits { upper_warning: Some(252.0), lower_fault: Some(180.0), ..Limits::default() };
        assert_eq!(vin, expected);
        let vout = device.limits(reading(Command::ReadVout, None), |t| fake.run(t)).unwrap();
        assert_eq!(vout, Limits { upper_warning: Some(12.0), ..Limits::default() });
        let fan = device.limits(reading(Command::ReadFanSpeed1, None), |t| fake.run(t)).unwrap();
        assert_eq!(fan, Limits::default());
        let status =
            Quantity { what: What::Status { register: Register::Temperature, mask: 0x80 }, page: None };
        assert_eq!(device.limits(status, |t| fake.run(t)), Ok(Limits::default()));
        // TPS546E25 says 0x97: parts of VOUT_COMMAND.
        fake.answers[3].2 = vec![0x97];
        let mut relative = Device::new(place(), Options::default());
        let vout = relative.limits(reading(Command::ReadVout, None), |t| fake.run(t));
        assert_eq!(vout, Ok(Limits::default()));
        // One that is away, or a bus that fails, has not said that there are none.
        fake.there = false;
        let gone = device.limits(reading(Command::ReadVin, None), |t| fake.run(t));
        assert_eq!(gone, Err(Failure::Gone(())));
        let mut hangs = |_: &[Transfer]| Err(Trouble::Other(()));
        let failed = device.limits(reading(Command::ReadVin, None), &mut hangs);
        assert_eq!(failed, Err(Failure::Bus(())));
    }

    /// A device that counts by coefficients is asked for those of the reading, once.
    #[test]
    fn limits_of_one_that_counts_by_coefficients_go_by_those_of_the_reading() {
        let mut fake = Fake::new(&[
            (ALL_PAGES, 0x19, &[0]),
            (ALL_PAGES, 0x30, &[5, 100, 0, 0, 0, 0]),
            (ALL_PAGES, 0x4a, &[0xe8, 0x03]),
        ]);
        let options = Options { numbers: Numbers::Direct, ..Options::default() };
        let mut device = Device::new(place(), options);
        let iout = device.limits(reading(Command::ReadIout, None), |t| fake.run(t)).unwrap();
        assert_eq!(iout, Limits { upper_warning: Some(10.0), ..Limits::default() });
        assert_eq!(fake.asked.iter().filter(|command| **command == 0x30).count(), 1);
    }

    proptest::proptest! {
        /// I-7: whatever a device answers is a finite number or an error, and nothing but PAGE is written.
        #[test]
        fn no_answer_panics(
            answers in proptest::collection::vec(proptest::option::of(proptest::collection::vec(proptest::num::u8::ANY, 0..40)), 0..24),
            direct in proptest::bool::ANY,
            page in proptest::option::of(0_u8..4),
        ) {
            let numbers = if direct { Numbers::Direct } else { Numbers::Linear };
            let options = Options { numbers, vid: Some(Vid::Vr12), ..Options::default() };
            let mut device = Device::new(place(), options);
            let mut answers = answers.into_iter();
            for command in [Command::ReadVout, Command::ReadVin, Command::ReadVout, Command::ReadPin] {
                let read = device.read(reading(command, page), |transfers: &[Transfer]| {
                    let one = |transfer: &Transfer| {
                        if transfer.expects() == smbus::Expects::Nothing {
                            assert_eq!(transfer.command(), 0);
                            return Ok(Vec::new());
                        }
                        answers.next().flatten().ok_or(Trouble::NoAnswer(()))
                    };
                    transfers.iter().map(one).collect()
                });
                proptest::prop_assert!(read.is_err() || read.is_ok_and(f64::is_finite));
                let limits = device.limits(reading(command, page), |transfers: &[Transfer]| {
                    let one = |transfer: &Transfer| {
                        if transfer.expects() == smbus::Expects::Nothing {
                            return Ok(Vec::new());
                        }
                        answers.next().flatten().ok_or(Trouble::NoAnswer(()))
                    };
                    transfers.iter().map(one).collect()
                });
                let limits = limits.unwrap_or_default();
                let all = [limits.upper_fault, limits.upper_warning, limits.lower_warning, limits.lower_fault];
                proptest::prop_assert!(all.into_iter().flatten().all(f64::is_finite));
            }
        }
    }
}
