//! Pages: several outputs behind one address.

use smbus::{Address, Transfer};

/// The page that is all pages: commands to it are written to each (Part II, section 11.10). It cannot be read from.
pub const ALL_PAGES: u8 = 0xff;

/// Which page of a device is selected, as far as is known. The one who owns the bus has one of these for each device with pages.
///
/// A page is believed to be selected once a transfer that selects it is done, and no longer after any that failed: the device may have been
/// reset, or another may have taken the byte.
///
/// ```
/// use pmbus::Pages;
/// use smbus::{Address, Transfer};
///
/// let device = Address::new(0x40).unwrap();
/// let mut pages = Pages::new(device, false);
/// let first = pages.select(1).expect("nothing is known yet");
/// assert_eq!(first.written(), [0x00, 1]);
/// pages.selected(1);
/// assert_eq!(pages.select(1), None);
/// pages.lost();
/// assert!(pages.select(1).is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    device: Address,
    pec: bool,
    page: Option<u8>,
}

impl Pages {
    /// Nothing is known of the device, but whether transfers have a packet error code.
    #[must_use]
    pub fn new(device: Address, pec: bool) -> Self {
        Pages { device, pec, page: None }
    }

    /// The transfer that has to be done before one to a page. `None` when that page is selected already.
    #[must_use]
    pub fn select(&self, page: u8) -> Option<Transfer> {
        if self.page == Some(page) {
            return None;
        }
        let transfer = Transfer::write_byte(self.device, crate::Command::Page.code(), page);
        Some(if self.pec { transfer.with_pec() } else { transfer })
    }

    /// The transfer of [`select`](Self::select) is done.
    pub fn selected(&mut self, page: u8) {
        self.page = Some(page);
    }

    /// A transfer to the device failed, or the device was away.
    pub fn lost(&mut self) {
        self.page = None;
    }
}
