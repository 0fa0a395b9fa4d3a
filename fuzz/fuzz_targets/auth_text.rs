//! Any text where a token, a name, an id, an address or a stored hash is expected: no panic, and what is accepted reads back.
#![no_main]

use auth::{Address, PasswordHash, SessionId, Token, UserId, UserName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(token) = Token::parse(text) {
        assert!(token.to_text().eq_ignore_ascii_case(text));
    }
    if let Ok(name) = UserName::new(text) {
        assert_eq!(name.as_str(), text);
        assert!(UserId::parse(text).is_none(), "a name is never an id");
    }
    if let Some(id) = SessionId::parse(text) {
        assert_eq!(id.as_str(), text);
    }
    let _ = Address::parse(text);
    if let Ok(hash) = PasswordHash::parse(text) {
        assert!(hash.cost().is_allowed());
        assert_eq!(hash.as_phc(), text);
    }
});
