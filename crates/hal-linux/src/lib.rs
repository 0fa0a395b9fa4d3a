//! The hardware traits on Linux, and the kernel interfaces that have no safe library.
//!
//! ```text
//!  hal::Gpio     ──► LinuxGpio ──► a thread for each chip ──► /dev/gpiochip*  (character device, interface version 2)
//!                ──► HandedLines ──► lines that the operator requested
//!  hal::SensorBus ─► SysfsBus ──► /sys/class/hwmon, /sys/bus/iio (kept-open attributes)
//!  hal::I2c      ──► LinuxI2c ──► /dev/i2c-*
//!  hal::FanBus   ──► SysfsFans ──► pwmN of /sys/class/hwmon (kept-open attributes)
//!  hal::Led      ──► LinuxLeds ──► a thread for each controller ──► /sys/class/leds
//!  gadget        ──► the USB devices it is to a host: /sys/kernel/config/usb_gadget
//!  hal::Watchdog ──► LinuxWatchdog ──► /dev/watchdog*
//!  kvmsrv       ──► video ──► /dev/video*   (Video for Linux: capture, timings)
//!               ──► HidFunction ──► /dev/hidg*
//!  boot          ──► block, dm, module ──► /sys, /dev, device mapper
//!  operator      ──► entropy, net, rtc ──► /dev/random, lo, /dev/rtc*
//!  ipmisrv       ──► ipmi ──► /dev/ipmi-kcs*, /dev/ipmi-bt-host
//!  daemons       ──► memory ──► malloc_trim
//!  daemons       ──► sched  ──► sched_setattr
//!  daemons       ──► seccomp ──► seccomp(2)
//!  statemgr      ──► reset ──► /sys/class/watchdog, /sys/fs/pstore
//! ```
//!
//! The only crate of the project that may hold `unsafe` code, for what the kernel's interfaces need and no library offers safely;
//! each block says why it is sound.
//!
//! What it must never do: touch a line or a device before it is requested, or keep a level of its own beside the kernel's.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

pub mod block;
pub mod dm;
mod eeprom;
pub mod entropy;
mod fail;
mod fan;
pub mod gadget;
#[cfg(feature = "gpio")]
mod gpio;
#[cfg(feature = "gpio")]
mod handed;
mod i2c;
#[cfg(feature = "gpio")]
pub mod ipmi;
#[cfg(feature = "gpio")]
mod led;
pub mod memory;
pub mod module;
pub mod net;
pub mod place;
pub mod reset;
pub mod rtc;
pub mod sched;
pub mod seccomp;
mod sensor;
mod usb_hid;
pub mod video;
mod watchdog;
#[cfg(feature = "gpio")]
mod worker;

pub use eeprom::{SysfsEeprom, eeprom_file};
pub use fan::{SysfsFans, output_files};
#[cfg(feature = "gpio")]
pub use gpio::LinuxGpio;
#[cfg(feature = "gpio")]
pub use handed::{Asked, Given, HandedLines, hand_over};
pub use i2c::{LinuxI2c, i2c_device};
#[cfg(feature = "gpio")]
pub use led::LinuxLeds;
pub use sensor::SysfsBus;
#[cfg(feature = "gpio")]
pub use usb_hid::WatchedHid;
pub use usb_hid::{HidFunction, Sent, hid_device};
pub use watchdog::LinuxWatchdog;
#[cfg(feature = "gpio")]
pub use worker::{Call, WITHIN, Worker};
