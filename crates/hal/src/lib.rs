//! Hardware traits: GPIO lines, watchdog.
