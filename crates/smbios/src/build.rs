//! Tables as a firmware hands them over.

/// Makes a table, structure by structure.
///
/// ```
/// let (entry, table) = smbios::Builder::default()
///     .add(2, &[1, 2, 0, 0, 0], &["ACME", "Mainboard"])
///     .finish(0x20);
/// let machine = smbios::Machine::read(&entry, &table).unwrap();
/// assert_eq!(machine.boards[0].product.as_deref(), Some("Mainboard"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    table: Vec<u8>,
    next: u16,
}

impl Builder {
    /// The handle of the structure that is added next.
    #[must_use]
    pub fn next_handle(&self) -> u16 {
        self.next
    }

    /// Adds a structure: its bytes from offset 4 on, at most 251, and its strings, which the bytes number from 1. Zeros in strings are left out.
    #[must_use]
    pub fn add(mut self, kind: u8, body: &[u8], strings: &[&str]) -> Self {
        let body = body.get(..251).unwrap_or(body);
        let length = u8::try_from(body.len() + 4).unwrap_or(u8::MAX);
        self.table.extend([kind, length]);
        self.table.extend(self.next.to_le_bytes());
        self.table.extend(body);
        for string in strings {
            self.table.extend(string.bytes().filter(|byte| *byte != 0));
            self.table.push(0);
        }
        if strings.is_empty() {
            self.table.push(0);
        }
        self.table.push(0);
        self.next = self.next.wrapping_add(1);
        self
    }

    /// Ends the table. Returns an entry point of 64 bits, of version 3.7, that says the table lies at `address`, and the table.
    #[must_use]
    pub fn finish(self, address: u64) -> (Vec<u8>, Vec<u8>) {
        let table = self.add(127, &[], &[]).table;
        let mut entry = b"_SM3_\x00\x18\x03\x07\x00\x01\x00".to_vec();
        entry.extend(u32::try_from(table.len()).unwrap_or(u32::MAX).to_le_bytes());
        entry.extend(address.to_le_bytes());
        let sum = entry.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
        if let Some(place) = entry.get_mut(5) {
            *place = sum;
        }
        (entry, table)
    }

    /// The same as one file: the entry point, and the table from offset 32 on.
    #[must_use]
    pub fn dump(self) -> Vec<u8> {
        let (mut bytes, table) = self.finish(32);
        bytes.resize(32, 0);
        bytes.extend(table);
        bytes
    }
}
