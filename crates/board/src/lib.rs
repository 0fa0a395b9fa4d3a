//! Board files: the wiring of a board as validated data.
