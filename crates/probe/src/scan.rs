//! Which addresses of the I2C buses answer.

use hal::{I2c, I2cFault};
use smbus::{Address, Transfer};

use crate::look::{Bus, Found};

/// Asks every address that no driver of the kernel has, by a receive byte: nothing is written (`i2cdetect -r`). `open` opens a bus by its number.
///
/// A device that only takes writes may take the byte that is read for something else, so this is done when it is asked for, on a machine that may be
/// restarted.
pub fn scan(found: &mut Found, open: impl Fn(u32) -> Box<dyn I2c>) {
    for at in 0..found.buses.len() {
        let Some(bus) = found.buses.get(at) else { continue };
        // What is on the bus above a multiplexer answers on each of its channels, too. That bus came first: channels have higher numbers.
        let above = parent(bus).and_then(|number| found.bus(number));
        let elsewhere =
            above.map(|above| [addresses(above), above.answered.clone()].concat()).unwrap_or_default();
        let own = addresses(bus);
        let mut adapter = open(bus.number);
        let (mut answered, mut unscanned) = (Vec::new(), None);
        for address in (0x08..=0x77).filter(|address| !own.contains(address) && !elsewhere.contains(address))
        {
            let Some(address) = Address::new(address) else { continue };
            match adapter.run(&[Transfer::receive_byte(address)]) {
                Ok(_) => answered.push(address.get()),
                Err(error) if matches!(error.fault, I2cFault::NoAnswer | I2cFault::Claimed) => {}
                // Some adapters say of a missing answer only that the transfer failed.
                Err(error) if error.fault == I2cFault::Failed => unscanned = Some(error.to_string()),
                Err(error) => {
                    unscanned = Some(error.to_string());
                    break;
                }
            }
        }
        if let Some(bus) = found.buses.get_mut(at) {
            bus.scanned = unscanned.is_none();
            bus.unscanned = unscanned.filter(|_| answered.is_empty());
            bus.answered = answered;
            bus.skipped = elsewhere;
        }
    }
}

fn addresses(bus: &Bus) -> Vec<u8> {
    bus.clients.iter().filter_map(|client| u8::try_from(client.address).ok()).collect()
}

/// The bus above the multiplexer that this one is behind: `3` of `3-0070/channel-1`.
fn parent(bus: &Bus) -> Option<u32> {
    bus.channel.as_deref()?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hal::I2cError;

    use super::*;
    use crate::look::Client;

    /// A bus on which these answer; it notes whom it asked.
    #[derive(Debug)]
    struct Fake(Vec<u8>, Arc<Mutex<Vec<u8>>>);

    impl I2c for Fake {
        fn run(&mut self, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, I2cError> {
            let [transfer] = transfers else { panic!("one at a time") };
            assert!(transfer.written().is_empty(), "nothing is written");
            self.1.lock().unwrap().push(transfer.address().get());
            if self.0.contains(&transfer.address().get()) {
                Ok(vec![vec![0]])
            } else {
                Err(I2cFault::NoAnswer.into())
            }
        }
    }

    /// A bus that is not there.
    #[derive(Debug)]
    struct Gone;

    impl I2c for Gone {
        fn run(&mut self, _: &[Transfer]) -> Result<Vec<Vec<u8>>, I2cError> {
            Err(I2cFault::NoBus.into())
        }
    }

    #[test]
    fn what_a_driver_has_is_not_asked_and_what_is_above_a_multiplexer_is_not_counted_twice() {
        let client = |address| Client { address, ..Client::default() };
        let above = Bus { number: 3, clients: vec![client(0x70), client(0x4c)], ..Bus::default() };
        let below = Bus { number: 12, channel: Some("3-0070/channel-0".to_owned()), ..Bus::default() };
        let gone = Bus { number: 13, ..Bus::default() };
        let mut found = Found { buses: vec![above, below, gone], ..Found::default() };
        let asked = Arc::new(Mutex::new(Vec::new()));
        scan(&mut found, |number| match number {
            3 => Box::new(Fake(vec![0x4c, 0x58, 0x70], Arc::clone(&asked))),
            12 => Box::new(Fake(vec![0x4c, 0x58, 0x6a, 0x70], Arc::default())),
            _ => Box::new(Gone),
        });
        let answered: Vec<_> = found.buses.iter().map(|bus| bus.answered.clone()).collect();
        assert_eq!(answered, [vec![0x58], vec![0x6a], vec![]]);
        // What the bus above has may be behind the multiplexer: it keeps its last channel connected.
        assert_eq!(found.buses[1].skipped, [0x70, 0x4c, 0x58]);
        let asked = asked.lock().unwrap();
        assert_eq!((asked.len(), asked.contains(&0x4c)), (0x70 - 2, false));
        assert!(found.buses[0].unscanned.is_none() && found.buses[2].unscanned.is_some());
    }
}
