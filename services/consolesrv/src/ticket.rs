//! What allows a session on the socket: given over the bus to whom the gate let pass, good once and for seconds.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serial::Holder;
use tokio::time::Instant;

/// How long a ticket is good.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// Tickets that are out at a time. They are for who is about to come: with more the account's oldest goes, or the oldest of all.
const OUT_MAX: usize = 64;

/// What a session may do, and for whom it is.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// Which console.
    pub(crate) desk: usize,
    /// Whose the session is.
    pub(crate) holder: Holder,
    pub(crate) address: String,
    pub(crate) request_id: String,
    pub(crate) replay: u32,
    pub(crate) read_only: bool,
    pub(crate) take_over: bool,
    /// Nothing is told beside bytes.
    pub(crate) bytes_only: bool,
}

/// Those that are out.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    out: Vec<(String, Instant, Pass)>,
}

impl Tickets {
    /// A ticket for this pass.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub(crate) fn issue(&mut self, pass: Pass, now: Instant) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let ticket = HEXLOWER.encode(&bytes);
        self.out.retain(|(_, until, _)| *until > now);
        if self.out.len() >= OUT_MAX {
            // The account's own goes, if it has one: who asks for many does not push out others'.
            let own = self.out.iter().position(|(.., out)| out.holder.account == pass.holder.account);
            self.out.remove(own.unwrap_or(0));
        }
        self.out.push((ticket.clone(), now + GOOD_FOR, pass));
        Ok(ticket)
    }

    /// The pass of a ticket, which is used up.
    pub(crate) fn take(&mut self, ticket: &[u8], now: Instant) -> Option<Pass> {
        self.out.retain(|(_, until, _)| *until > now);
        let index = self.out.iter().position(|(known, ..)| known.as_bytes() == ticket)?;
        Some(self.out.remove(index).2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(desk: usize) -> Pass {
        Pass {
            desk,
            holder: Holder { account: String::new(), is_administrator: false },
            address: String::new(),
            request_id: String::new(),
            replay: 0,
            read_only: false,
            take_over: false,
            bytes_only: false,
        }
    }

    #[test]
    fn a_ticket_is_good_once_and_for_a_while_and_few_are_out() {
        let (mut tickets, now) = (Tickets::default(), Instant::now());
        let first = tickets.issue(pass(1), now).unwrap();
        assert!(tickets.take(b"", now).is_none());
        assert_eq!(tickets.take(first.as_bytes(), now).unwrap().desk, 1);
        assert!(tickets.take(first.as_bytes(), now).is_none(), "used up");
        let late = tickets.issue(pass(2), now).unwrap();
        assert!(tickets.take(late.as_bytes(), now + GOOD_FOR).is_none());
        let oldest = tickets.issue(pass(3), now).unwrap();
        for _ in 0..OUT_MAX {
            tickets.issue(pass(4), now).unwrap();
        }
        let holder = Holder { account: "ann".to_owned(), is_administrator: false };
        let ann = Pass { holder, ..pass(5) };
        let anns = tickets.issue(ann, now).unwrap();
        tickets.issue(pass(4), now).unwrap();
        for _ in 0..OUT_MAX {
            tickets.issue(pass(4), now).unwrap();
        }
        assert!(tickets.take(anns.as_bytes(), now).is_some(), "others ask for many");
        tickets.issue(pass(4), now).unwrap();
        assert_eq!((tickets.out.len(), tickets.take(oldest.as_bytes(), now).is_none()), (OUT_MAX, true));
    }
}
