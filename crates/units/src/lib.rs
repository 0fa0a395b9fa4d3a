//! Quantities with units: time, temperature, speed, duty.
