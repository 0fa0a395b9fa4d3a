//! What the scripted host prints on its serial console.

use boot_override::Target;

/// Firmware starts.
pub(crate) const POST: &str = "\r\nTwin BIOS 1.0\r\nMemory test: 65536 MB OK\r\n";
/// Firmware starts that is to say little.
pub(crate) const QUIET_POST: &str = "\r\nTwin BIOS 1.0\r\n";
/// The boot loader hands over.
pub(crate) const KERNEL: &str = "[    0.000000] Linux version 6.1.0-twin\r\n";
/// What the firmware boots from; without any boot option it stays in its set-up.
pub(crate) fn boot(target: Option<Target>) -> &'static str {
    let Some(target) = target else { return "No boot option is enabled\r\nTwin BIOS set-up utility\r\n" };
    match target {
        Target::None | Target::Hdd => "Booting from hard disk...\r\n",
        Target::Pxe => "Booting from network (PXE)...\r\n",
        Target::Cd => "Booting from CD/DVD...\r\n",
        Target::Usb => "Booting from USB stick...\r\n",
        Target::BiosSetup => "Twin BIOS set-up utility\r\n",
        Target::Diags => "Booting diagnostics...\r\n",
        Target::UefiHttp => "Booting from network (HTTP)...\r\n",
        Target::UefiTarget => "Booting from UEFI device path...\r\n",
        Target::UefiBootNext => "Booting from boot option...\r\n",
    }
}
/// The system is up.
pub(crate) const LOGIN: &str = "\r\nTwin GNU/Linux 12 twin ttyS0\r\n\r\ntwin login: ";
/// The operating system saw the power button.
pub(crate) const POWER_KEY: &str =
    "\r\nsystemd-logind: Power key pressed short.\r\nsystemd-logind: Powering off...\r\n";
/// The operating system has stopped and asks the chipset to cut power.
pub(crate) const POWER_DOWN: &str = "[  OK  ] Reached target Power-Off.\r\nreboot: Power down\r\n";
/// A non-maskable interrupt arrived.
pub(crate) const NMI: &str = "\r\nUhhuh. NMI received for unknown reason 2d on CPU 0.\r\nDazed and confused, but trying to continue\r\n";
