//! Drives host power: buttons, power-good, sequences.
