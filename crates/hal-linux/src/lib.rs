//! The hardware traits on Linux.
//!
//! ```text
//!  hal::Gpio     ──► LinuxGpio     ──► /dev/gpiochip*  (character device, interface version 2)
//!  hal::Watchdog ──► LinuxWatchdog ──► /dev/watchdog*
//! ```
//!
//! The only crate of the project that may hold `unsafe` code, for what the kernel's interfaces need and no library offers safely;
//! each block says why it is sound.
//!
//! What it must never do: touch a line or a device before it is requested, or keep a level of its own beside the kernel's.

mod gpio;
mod watchdog;

pub use gpio::LinuxGpio;
pub use watchdog::LinuxWatchdog;
