//! A password that cannot be printed by accident.

use std::fmt;

/// A password. `Debug` shows `***`, there is no `Display`, and comparing is left to those who do it in constant time.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes the clear text.
    pub fn new(clear: impl Into<String>) -> Self {
        Self(clear.into())
    }

    /// The clear text, for the one place that computes with it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the password is empty, which some accounts have.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_password_also_inside_others() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }
}
