//! What a caller shows to say who it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Longest token or password that is looked at, bytes. usermgr takes less; this only keeps work bounded.
const SECRET_MAX: usize = 1024;

/// What a caller showed. Wiped when dropped; a stream keeps it to ask again with.
#[derive(Clone)]
pub enum Credential {
    /// A session's token.
    Token(Zeroizing<String>),
    /// Name and password.
    Basic {
        /// The account's name.
        username: String,
        /// Its password.
        password: Zeroizing<String>,
    },
}

/// Never with the secret.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(…)"),
            Self::Basic { username, .. } => {
                f.debug_struct("Basic").field("username", username).finish_non_exhaustive()
            }
        }
    }
}

/// Something was shown that is no credential here. It must not turn into "nothing was shown".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Malformed or too long.
    #[error("the credentials cannot be read")]
    Unreadable,
    /// Another scheme of HTTP authentication.
    #[error("only Bearer and Basic are understood")]
    Scheme,
    /// Names and passwords are not taken with each request.
    #[error("HTTP Basic is switched off here: create a session")]
    BasicOff,
}

impl Credential {
    /// A token by itself.
    #[must_use]
    pub fn token(token: &str) -> Self {
        Self::Token(Zeroizing::new(token.to_owned()))
    }

    /// The value of an `Authorization` field (RFC 9110 §11.6.2): Bearer (RFC 6750), or Basic (RFC 7617) if `basic`.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub fn from_authorization(value: &str, basic: bool) -> Result<Self, CredentialError> {
        let (scheme, rest) = value.split_once(' ').ok_or(CredentialError::Unreadable)?;
        let rest = rest.trim();
        if rest.len() > SECRET_MAX * 2 {
            return Err(CredentialError::Unreadable);
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Self::token(rest));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(CredentialError::Scheme);
        }
        if !basic {
            return Err(CredentialError::BasicOff);
        }
        let decoded = Zeroizing::new(STANDARD.decode(rest).map_err(|_| CredentialError::Unreadable)?);
        let text = std::str::from_utf8(&decoded).map_err(|_| CredentialError::Unreadable)?;
        let (username, password) = text.split_once(':').ok_or(CredentialError::Unreadable)?;
        if username.len() > SECRET_MAX || password.len() > SECRET_MAX {
            return Err(CredentialError::Unreadable);
        }
        Ok(Self::Basic { username: username.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str, basic: bool) -> String {
        match Credential::from_authorization(value, basic) {
            Ok(Credential::Token(token)) => format!("token {}", *token),
            Ok(Credential::Basic { username, password }) => format!("basic {username} {}", *password),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_value_is_a_credential_or_an_error_that_says_why() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let unreadable = CredentialError::Unreadable.to_string();
        assert_eq!(show("Bearer abc", true), "token abc");
        assert_eq!(show("bearer  abc ", false), "token abc");
        assert_eq!(show(&basic("admin:a:b"), true), "basic admin a:b");
        assert_eq!(show(&basic("admin:x"), false), CredentialError::BasicOff.to_string());
        assert_eq!(show("Digest x", true), CredentialError::Scheme.to_string());
        for bad in ["Bearer", "", "Basic !!!", &basic("no colon"), &format!("Bearer {}", "x".repeat(5000))] {
            assert_eq!(show(bad, true), unreadable, "{bad:.20}");
        }
        assert_eq!(show(&basic(&format!("a:{}", "x".repeat(1500))), true), unreadable);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let token = Credential::token("s3cret");
        let basic = Credential::Basic { username: "ann".into(), password: Zeroizing::new("s3cret".into()) };
        assert!(!format!("{token:?} {basic:?}").contains("s3cret"));
    }
}
