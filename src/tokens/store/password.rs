//! The password of the database's user.

use std::fmt;
use std::sync::Arc;

/// It is read by the master, which may read its file, for workers, which may not. Nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<str>);

impl Password {
    /// The text of a file, without the line break at its end.
    ///
    /// # Errors
    /// When it is not UTF-8, which `PostgreSQL` wants, or has a NUL, which it cannot take.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(Self(text.into())),
            Ok(_) | Err(_) => Err("the password is not UTF-8 text".to_owned()),
        }
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_text_and_is_not_shown() {
        let password = Password::new(b"secret".to_vec()).unwrap();
        assert_eq!(password.reveal(), "secret");
        assert_eq!(format!("{password:?}"), "Password");
        assert!(Password::new(vec![0xff]).is_err() && Password::new(b"a\0b".to_vec()).is_err());
    }
}
