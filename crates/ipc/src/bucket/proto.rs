//! Values that are messages of the contract.

use prost::Message;

use super::{Value, ValueError};

/// A record that is a message of the contract. What a release does not know of it is skipped, and what is missing has its default, so that the release before and
/// after can read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proto<M>(pub M);

impl<M: Message + Default> Value for Proto<M> {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
        if version != Self::VERSION {
            return Err(ValueError::Version { found: version, known: Self::VERSION });
        }
        M::decode(bytes).map(Self).map_err(|error| ValueError::Malformed(error.to_string()))
    }
}
