//! The limits a device has for a reading of its own.

/// One of each limit, or none where the device has none: their values in the unit of the reading, or the commands that hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits<T = f64> {
    /// From here on it protects itself from too much.
    pub upper_fault: Option<T>,
    /// From here on it warns of too much.
    pub upper_warning: Option<T>,
    /// From here on it warns of too little.
    pub lower_warning: Option<T>,
    /// From here on it protects itself from too little.
    pub lower_fault: Option<T>,
}

impl<T> Default for Limits<T> {
    fn default() -> Self {
        Limits { upper_fault: None, upper_warning: None, lower_warning: None, lower_fault: None }
    }
}

impl<T> Limits<T> {
    /// Each of them, in the order of the fields.
    pub fn each(self) -> [Option<T>; 4] {
        [self.upper_fault, self.upper_warning, self.lower_warning, self.lower_fault]
    }

    /// What is made of each.
    ///
    /// # Errors
    /// The first one of `make`.
    pub fn try_map<U, E>(self, mut make: impl FnMut(T) -> Result<Option<U>, E>) -> Result<Limits<U>, E> {
        let mut one = |limit: Option<T>| limit.map_or(Ok(None), &mut make);
        Ok(Limits {
            upper_fault: one(self.upper_fault)?,
            upper_warning: one(self.upper_warning)?,
            lower_warning: one(self.lower_warning)?,
            lower_fault: one(self.lower_fault)?,
        })
    }
}
