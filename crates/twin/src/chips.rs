//! Chips on the machine's I2C buses: what they answer to what is written to them.

use std::collections::{BTreeMap, BTreeSet};

use pmbus::{
    Checked, Coefficients, Command, Format, Limits, Numbers, Options, Quantity, Register, Shape, Unit, Vid,
    VoutMode, What,
};
use smbus::pec;

/// A chip at an address.
#[derive(Debug)]
pub enum Chip {
    /// A power supply or a voltage regulator.
    Pmbus(PmbusChip),
    /// A drive that answers basic management.
    Drive(NvmeDrive),
}

impl Chip {
    /// What it answers: so many bytes after these were written. `None` when it does not acknowledge.
    pub fn transfer(&mut self, written: &[u8], read: usize) -> Option<Vec<u8>> {
        match self {
            Self::Pmbus(chip) => chip.transfer(written, read),
            Self::Drive(drive) => drive.transfer(written, read),
        }
    }
}

/// A device on PMBus.
///
/// It counts as its options say, knows packet error codes unless they say never, and has pages. Codes that are wrong are refused and noted in STATUS_CML
/// (Part II, section 10.9). What it holds is set from outside, in units.
#[derive(Debug)]
pub struct PmbusChip {
    address: u8,
    options: Options,
    pages: u8,
    page: u8,
    readings: BTreeMap<(u8, u8), u16>,
    status: BTreeMap<(u8, u8), u16>,
    refused: BTreeSet<(u8, u8)>,
    texts: BTreeMap<u8, String>,
    /// The exponent of its output voltages, where they are linear.
    exponent: i8,
}

impl PmbusChip {
    /// A chip of so many outputs; one that has one takes no PAGE but 0.
    #[must_use]
    pub fn new(address: u8, options: Options, pages: u8, vendor: &str, model: &str, serial: &str) -> Self {
        let texts = [
            (Command::MfrId.code(), vendor.to_owned()),
            (Command::MfrModel.code(), model.to_owned()),
            (Command::MfrSerial.code(), serial.to_owned()),
        ];
        Self {
            address,
            options,
            pages: pages.max(1),
            page: 0,
            readings: BTreeMap::new(),
            status: BTreeMap::new(),
            refused: BTreeSet::new(),
            texts: texts.into(),
            exponent: -9,
        }
    }

    /// Output voltages in steps of this power of 2 (-16 to 15) instead of 2^-9, as another model has them.
    #[must_use]
    pub fn with_exponent(self, exponent: i8) -> Self {
        Self { exponent, ..self }
    }

    /// Sets what it measures, in the unit of the command; a value beyond its format is the nearest that it holds. Of a status: its bits are set while
    /// the value is not 0, and stay set.
    pub fn set(&mut self, of: Quantity, value: f64) {
        let page = of.page.unwrap_or(0);
        match of.what {
            What::Reading(command) => {
                let Some(format) = self.format(command) else { return };
                let raw = format.encode(value).or_else(|_| format.encode(nearest(format, value)));
                if let Ok(raw) = raw {
                    self.readings.insert((page, command.code()), raw);
                }
            }
            What::Status { register, mask } if value != 0.0 => {
                *self.status.entry((page, register.command())).or_default() |= mask;
            }
            What::Status { .. } => {}
        }
    }

    /// Its own limits for one of its readings, in the unit of that. It does not act by them.
    pub fn protect(&mut self, of: Quantity, limits: Limits) {
        let What::Reading(command) = of.what else { return };
        let Some(format) = self.format(command) else { return };
        for (limit, value) in command.limits().each().into_iter().zip(limits.each()) {
            let raw =
                value.map(|value| format.encode(value).or_else(|_| format.encode(nearest(format, value))));
            if let (Some(limit), Some(Ok(raw))) = (limit, raw) {
                self.readings.insert((of.page.unwrap_or(0), limit.code()), raw);
            }
        }
    }

    /// The largest value that it can show of a command.
    #[must_use]
    pub fn most(&self, command: Command) -> Option<f64> {
        let format = self.format(command)?;
        Some(nearest(format, 1e12))
    }

    /// Does not take a command from now on, or takes it again.
    pub fn refuse(&mut self, of: Quantity, refuse: bool) {
        let key = (of.page.unwrap_or(0), code(of.what));
        if refuse {
            self.refused.insert(key);
        } else {
            self.refused.remove(&key);
        }
    }

    /// Whether it pulls the line for alerts: something is noted in its status.
    #[must_use]
    pub fn alerts(&self) -> bool {
        self.status.iter().any(|((_, register), bits)| *bits != 0 && *register != Register::Cml.command())
    }

    /// Its status is clear, as after its output was off.
    pub fn clear(&mut self) {
        self.status.clear();
    }

    fn format(&self, command: Command) -> Option<Format> {
        match command.shape()? {
            Shape::Vout => {
                let direct = self.line(command);
                VoutMode::from_byte(self.mode()).format(self.options.vid, direct)
            }
            Shape::Number(_) if self.options.numbers == Numbers::Direct => {
                self.line(command).map(Format::Direct)
            }
            Shape::Number(_) => Some(Format::Linear11),
            _ => None,
        }
    }

    /// VOUT_MODE: codes where it has them, else as it counts otherwise; linear in steps of 2^-9 unless it was made with others, as many supplies do.
    fn mode(&self) -> u8 {
        match (self.options.vid, self.options.numbers) {
            (Some(vid), _) => {
                0x20 | u8::try_from(Vid::ALL.iter().position(|of| *of == vid).unwrap_or(0)).unwrap_or(0)
            }
            (None, Numbers::Direct) => 0x40,
            // Five bits in two's complement.
            (None, Numbers::Linear) => self.exponent.to_le_bytes()[0] & 0x1f,
        }
    }

    /// Its coefficients: those of its data sheet, or what fits a server's supply.
    fn line(&self, command: Command) -> Option<Coefficients> {
        let named = self.options.coefficients.iter().find(|(of, _)| *of == command);
        if let Some((_, line)) = named {
            return Some(*line);
        }
        let unit = match command.shape()? {
            Shape::Number(unit) => unit,
            Shape::Vout => Unit::Volts,
            _ => return None,
        };
        Some(match unit {
            Unit::Volts => Coefficients { m: 1_000, b: 5, r: -1 },
            Unit::Watts => Coefficients { m: 10, b: 0, r: 0 },
            Unit::Celsius => Coefficients { m: 1, b: 50, r: 2 },
            Unit::Rpm => Coefficients { m: 1, b: 0, r: 0 },
            _ => Coefficients { m: 100, b: 0, r: 0 },
        })
    }

    fn transfer(&mut self, written: &[u8], read: usize) -> Option<Vec<u8>> {
        // Addressed alone: it acknowledges, and has nothing to say.
        let Some((&command, rest)) = written.split_first() else { return Some(vec![0xff; read]) };
        if read == 0 {
            return self.write(command, rest).map(|()| Vec::new());
        }
        let mut answer = self.answer(command, rest)?;
        if self.options.checked != Checked::Never {
            let head = pec(pec(0, &[self.address << 1]), written);
            answer.push(pec(pec(head, &[self.address << 1 | 1]), &answer));
        }
        // Behind its end nobody drives the line.
        answer.resize(read, 0xff);
        Some(answer)
    }

    fn write(&mut self, command: u8, rest: &[u8]) -> Option<()> {
        let length = match command {
            0x00 => 1,
            0x03 => 0,
            _ => return self.wrong(0x80),
        };
        let (data, code) = rest.split_at_checked(length)?;
        match (code, self.options.checked) {
            ([], _) => {}
            ([code], Checked::Auto | Checked::Always) => {
                let computed = pec(pec(0, &[self.address << 1, command]), data);
                if computed != *code {
                    return self.wrong(0x20);
                }
            }
            _ => return self.wrong(0x40),
        }
        match data {
            [page] if *page < self.pages || *page == pmbus::ALL_PAGES => self.page = *page,
            [_] => return self.wrong(0x40),
            _ => self.status.clear(),
        }
        Some(())
    }

    /// Notes a bit of STATUS_CML, and does not acknowledge.
    fn wrong(&mut self, bit: u16) -> Option<()> {
        *self.status.entry((self.page, Register::Cml.command())).or_default() |= bit;
        None
    }

    fn answer(&mut self, command: u8, rest: &[u8]) -> Option<Vec<u8>> {
        if self.refused.contains(&(self.page, command)) || self.page == pmbus::ALL_PAGES {
            self.wrong(0x80);
            return None;
        }
        if command == Command::Coefficients.code() {
            return self.coefficients(rest);
        }
        let register = Register::ALL.into_iter().find(|register| register.command() == command);
        if let Some(register) = register {
            let value = self.register(register);
            let [low, high] = value.to_le_bytes();
            return Some(if register == Register::Word { vec![low, high] } else { vec![low] });
        }
        let known = match command {
            0x00 => Some(vec![self.page]),
            // Codes and 400 kHz.
            0x19 => Some(vec![if self.options.checked == Checked::Never { 0x20 } else { 0xa0 }]),
            0x20 => Some(vec![self.mode()]),
            0x98 => Some(vec![0x22]),
            _ => None,
        };
        let text = || {
            let text = self.texts.get(&command)?;
            let mut block = vec![u8::try_from(text.len()).ok()?];
            block.extend(text.bytes());
            Some(block)
        };
        let reading = || self.readings.get(&(self.page, command)).map(|raw| raw.to_le_bytes().to_vec());
        let answer = known.or_else(text).or_else(reading);
        if answer.is_none() {
            self.wrong(0x80);
        }
        answer
    }

    /// The word says where to look.
    fn register(&self, register: Register) -> u16 {
        let of = |register: Register| self.status.get(&(self.page, register.command())).copied().unwrap_or(0);
        if register != Register::Word {
            return of(register);
        }
        let look = [
            (Register::Vout, 15),
            (Register::Iout, 14),
            (Register::Input, 13),
            (Register::Fans12, 10),
            (Register::Other, 9),
            (Register::Temperature, 2),
            (Register::Cml, 1),
        ];
        look.into_iter()
            .filter(|(of_it, _)| of(*of_it) != 0)
            .fold(of(Register::Word), |word, (_, bit)| word | 1 << bit)
    }

    /// The question is a block of two bytes: the command, and whether for reading (section 14.1).
    fn coefficients(&mut self, rest: &[u8]) -> Option<Vec<u8>> {
        let [2, command, 1] = *rest else {
            self.wrong(0x40);
            return None;
        };
        let of = self.readings.keys().any(|(_, code)| *code == command);
        let known = [
            Command::ReadVin,
            Command::ReadIin,
            Command::ReadVcap,
            Command::ReadVout,
            Command::ReadIout,
            Command::ReadTemperature1,
            Command::ReadTemperature2,
            Command::ReadTemperature3,
            Command::ReadFanSpeed1,
            Command::ReadFanSpeed2,
            Command::ReadDutyCycle,
            Command::ReadPout,
            Command::ReadPin,
        ];
        let line =
            known.into_iter().find(|known| of && known.code() == command).and_then(|known| self.line(known));
        let Some(Coefficients { m, b, r }) = line.filter(|_| self.options.numbers == Numbers::Direct) else {
            self.wrong(0x40);
            return None;
        };
        let mut block = vec![5];
        block.extend(m.to_le_bytes());
        block.extend(b.to_le_bytes());
        block.extend(r.to_le_bytes());
        Some(block)
    }
}

fn code(what: What) -> u8 {
    match what {
        What::Reading(command) => command.code(),
        What::Status { register, .. } => register.command(),
    }
}

/// The value nearest to this one that a format holds.
fn nearest(format: Format, value: f64) -> f64 {
    let ends = match format {
        Format::Linear11 => [0x7c00, 0x7bff],
        Format::Direct(Coefficients { m, .. }) if m < 0 => [0x7fff, 0x8000],
        Format::Direct(_) => [0x8000, 0x7fff],
        Format::Linear16 { .. } => [0, 0xffff],
        Format::Vid(_) | Format::Half => [0x0001, 0x7bff],
    };
    let [least, most] = ends.map(|raw| format.decode(raw));
    match format {
        Format::Vid(vid) => {
            let volts = || (0..=0xff).filter_map(|code| vid.volts(code));
            volts().min_by(|a, b| (a - value).abs().total_cmp(&(b - value).abs())).unwrap_or_default()
        }
        _ => value.clamp(least.unwrap_or_default(), most.unwrap_or_default()),
    }
}

/// A drive that answers NVMe basic management (NVMe-MI 1.2, appendix A).
#[derive(Debug)]
pub struct NvmeDrive {
    address: u8,
    /// Flags, warnings, temperature, percentage used, and two that are reserved.
    status: [u8; 6],
    vendor: u16,
    serial: [u8; 20],
}

impl NvmeDrive {
    /// A drive that is well and has used 1 % of its life.
    #[must_use]
    pub fn new(address: u8, vendor: u16, serial: &str) -> Self {
        let mut padded = [b' '; 20];
        for (place, byte) in padded.iter_mut().zip(serial.bytes()) {
            *place = byte;
        }
        Self { address, status: [0xbf, 0xff, 35, 1, 0, 0], vendor, serial: padded }
    }

    /// Its temperature, from -59 to 126 °C.
    pub fn warm(&mut self, celsius: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "within a byte")]
        let whole = celsius.round().clamp(-59.0, 126.0) as i8;
        self.say(nvme::Temperature::Celsius(whole));
    }

    /// What it says where it has no temperature: the value itself, where it has one.
    pub fn say(&mut self, temperature: nvme::Temperature) {
        let [_, _, byte, ..] = &mut self.status;
        *byte = match temperature {
            nvme::Temperature::Celsius(value) => value.cast_unsigned(),
            nvme::Temperature::Above => 0x7f,
            nvme::Temperature::Failed => 0x81,
            nvme::Temperature::Below => 0xc4,
            nvme::Temperature::Reserved(byte) => byte,
            // None that is younger than five seconds.
            _ => 0x80,
        };
    }

    /// A drive answers from the command on, one block behind the other.
    fn transfer(&mut self, written: &[u8], read: usize) -> Option<Vec<u8>> {
        let Some((&command, rest)) = written.split_first() else { return Some(vec![0xff; read]) };
        if !rest.is_empty() || read == 0 {
            return None;
        }
        let mut block = match command {
            0 => [[6].as_slice(), &self.status].concat(),
            8 => [[22].as_slice(), &self.vendor.to_be_bytes(), &self.serial].concat(),
            _ => return None,
        };
        let head = pec(0, &[self.address << 1, command, self.address << 1 | 1]);
        block.push(pec(head, &block));
        block.resize(read, 0xff);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use pmbus::{Device, Failure, Trouble};
    use smbus::{Address, Expects, Transfer};

    use super::*;

    const PLACE: u8 = 0x58;

    fn run(chip: &mut Chip, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, Trouble<()>> {
        let one = |transfer: &Transfer| {
            let read = match transfer.expects() {
                Expects::Nothing => 0,
                Expects::Exactly(count) | Expects::AtMost(count) => count,
            };
            chip.transfer(transfer.written(), read).ok_or(Trouble::NoAnswer(()))
        };
        transfers.iter().map(one).collect()
    }

    fn of(command: Command, page: Option<u8>) -> Quantity {
        Quantity { what: What::Reading(command), page }
    }

    /// Whatever a chip counts in, who asks it as the specification says has the value that was set.
    #[test]
    fn what_was_set_is_read_in_every_format() {
        let linear = Options::default();
        let direct = Options { numbers: Numbers::Direct, ..Options::default() };
        let never = Options { checked: Checked::Never, ..Options::default() };
        let vid = Options { vid: Some(Vid::Vr13), ..Options::default() };
        for (options, pages) in [(linear, 1), (direct, 1), (never, 2), (vid, 2)] {
            let mut model = PmbusChip::new(PLACE, options.clone(), pages, "V", "M", "1");
            let page = (pages > 1).then_some(pages - 1);
            let values = [
                (Command::ReadVin, 229.5),
                (Command::ReadPin, 281.0),
                (Command::ReadTemperature1, 41.5),
                (Command::ReadFanSpeed1, 9_000.0),
                (Command::ReadVout, 1.25),
            ];
            for (command, value) in values {
                model.set(of(command, page), value);
                model.protect(of(command, page), Limits { upper_warning: Some(value), ..Limits::default() });
            }
            let mut chip = Chip::Pmbus(model);
            let mut device = Device::new(Address::new(PLACE).unwrap(), options.clone());
            for (command, value) in values {
                let read = device.read(of(command, page), |t| run(&mut chip, t)).unwrap();
                assert!((read - value).abs() <= value * 0.01, "{options:?} {command:?}: {read}");
                let limits = device.limits(of(command, page), |t| run(&mut chip, t)).unwrap();
                let is_limited = command.limits().upper_warning.is_some();
                assert_eq!(limits.upper_warning.is_some(), is_limited, "{options:?} {command:?}");
                assert!(
                    limits.upper_warning.is_none_or(|at| (at - value).abs() <= value * 0.01),
                    "{at:?}",
                    at = limits
                );
                assert_eq!(limits.lower_fault, None);
            }
        }
    }

    #[test]
    fn a_status_stays_until_it_is_cleared_and_a_word_says_where_to_look() {
        let mut model = PmbusChip::new(PLACE, Options::default(), 1, "V", "M", "1");
        let hot = What::Status { register: Register::Temperature, mask: 0x40 };
        let word = What::Status { register: Register::Word, mask: 1 << 2 };
        model.set(Quantity { what: hot, page: None }, 1.0);
        model.set(Quantity { what: hot, page: None }, 0.0);
        let mut chip = Chip::Pmbus(model);
        let mut device = Device::new(Address::new(PLACE).unwrap(), Options::default());
        for what in [hot, word] {
            assert_eq!(device.read(Quantity { what, page: None }, |t| run(&mut chip, t)), Ok(1.0));
        }
        if let Chip::Pmbus(model) = &mut chip {
            model.clear();
        }
        assert_eq!(device.read(Quantity { what: hot, page: None }, |t| run(&mut chip, t)), Ok(0.0));
    }

    #[test]
    fn what_it_does_not_know_it_does_not_acknowledge_and_notes() {
        let mut model = PmbusChip::new(PLACE, Options::default(), 1, "V", "M", "1");
        model.set(of(Command::ReadVin, None), 230.0);
        model.refuse(of(Command::ReadVin, None), true);
        let mut chip = Chip::Pmbus(model);
        let mut device = Device::new(Address::new(PLACE).unwrap(), Options::default());
        let read = device.read(of(Command::ReadVin, None), |t| run(&mut chip, t));
        assert_eq!(read, Err(Failure::Refused(())));
        // A code that is wrong, a page that is not there, a command that would change it.
        for written in [&[0x00, 0x00, 0x00][..], &[0x00, 0x05], &[0x01, 0x80], &[0x00]] {
            assert_eq!(chip.transfer(written, 0), None, "{written:x?}");
        }
        let cml = What::Status { register: Register::Cml, mask: 0xe0 };
        assert_eq!(device.read(Quantity { what: cml, page: None }, |t| run(&mut chip, t)), Ok(1.0));
    }

    /// The status of the first example of appendix A but for the temperature, and an identity.
    #[test]
    fn a_drive_says_how_it_is_and_who() {
        let mut drive = NvmeDrive::new(nvme::ADDRESS, 0x1234, "AZ123456");
        drive.warm(30.0);
        let mut chip = Chip::Drive(drive);
        let address = Address::new(nvme::ADDRESS).unwrap();
        let status = nvme::status(address);
        let answer = run(&mut chip, std::slice::from_ref(&status)).unwrap();
        let status = nvme::Status::read(&status, &answer[0]).unwrap();
        assert_eq!((status.temperature, status.used_percent), (nvme::Temperature::Celsius(30), 1));
        let identity = nvme::identity(address);
        let answer = run(&mut chip, std::slice::from_ref(&identity)).unwrap();
        let identity = nvme::Identity::read(&identity, &answer[0]).unwrap();
        assert_eq!((identity.vendor, identity.serial.as_str()), (0x1234, "AZ123456"));
    }
}
