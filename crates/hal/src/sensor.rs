//! Sensors the kernel reads: where a device is, and what one owner of a bus can ask of it.

use std::fmt;
use std::io;

use sensors::Fault;

/// Which of the kernel's I2C buses is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Adapter {
    /// By its number, where aliases of the device tree fix it.
    Number(u32),
    /// By the end of the path of the device it belongs to.
    Path(String),
}

/// Where a device is. Never by the number of its hwmon folder, which is another one after the next boot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Location {
    /// On an I2C bus.
    I2c {
        /// The bus.
        adapter: Adapter,
        /// Its address, 7 bits.
        address: u16,
    },
    /// The end of the path of its device below `/sys/devices`, in whole names.
    Path(String),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I2c { adapter: Adapter::Number(number), address } => {
                write!(f, "i2c-{number} 0x{address:02x}")
            }
            Self::I2c { adapter: Adapter::Path(path), address } => write!(f, "{path} 0x{address:02x}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

/// Which of the kernel's classes a channel belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ChannelClass {
    /// `/sys/class/hwmon`.
    Hwmon,
    /// `/sys/bus/iio`.
    Iio,
}

/// A channel of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Where the device is.
    pub location: Location,
    /// The driver's name for it, when another one shall not be taken for it.
    pub driver: Option<String>,
    /// The class.
    pub class: ChannelClass,
    /// The channel: `temp1`, `voltage0`, `temp1_crit_alarm`; with a label the part before the number.
    pub channel: String,
    /// The driver's label of it.
    pub label: Option<String>,
}

/// The limits a driver or a device has for a channel, in the channel's unit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// `min`.
    pub min: Option<f64>,
    /// `max`.
    pub max: Option<f64>,
    /// `lcrit`.
    pub lcrit: Option<f64>,
    /// `crit`.
    pub crit: Option<f64>,
    /// `emergency`.
    pub emergency: Option<f64>,
}

/// A sample without a value.
#[derive(Debug)]
pub struct SampleError {
    /// What it means for the sensor.
    pub fault: Fault,
    /// What the system said.
    pub source: Option<io::Error>,
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, sensors::Reason::from(self.fault)) {
            (Some(source), reason) => write!(f, "{}: {source}", reason.as_str()),
            (None, reason) => f.write_str(reason.as_str()),
        }
    }
}

impl From<Fault> for SampleError {
    fn from(fault: Fault) -> Self {
        Self { fault, source: None }
    }
}

/// The channels of one bus, for the one thread that owns it: every call may block for as long as the hardware does.
///
/// An implementer owes:
/// - a value is in the base unit of its kind (degrees Celsius, volts, amperes, watts, joules, revolutions a minute, percent);
/// - a value is what the device says now, never one that was kept;
/// - a device that leaves and comes back is found again by the next calls, whatever it is called then;
/// - nothing is written to the device.
pub trait SensorBus: Send + fmt::Debug {
    /// Reads the channel with this place in the list the bus was made of.
    ///
    /// # Errors
    /// Why there is no value; [`Fault::Missing`] for a place that is not in the list.
    fn read(&mut self, channel: usize) -> Result<f64, SampleError>;

    /// The limits that its driver or device has for it; none where there are none.
    ///
    /// # Errors
    /// They could not be read, which says nothing about whether there are any: they are to be asked for again.
    fn limits(&mut self, channel: usize) -> Result<Limits, SampleError>;
}
