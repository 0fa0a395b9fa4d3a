//! What allows a session on the socket of a daemon: given over the bus to whom the gate let pass, good once and for seconds.

use units::{Millis, Mono};

/// How long a ticket is good.
pub const TICKET_FOR: Millis = Millis::from_secs(10);
/// Tickets that are out at a time. They are for who is about to come: with more the account's oldest goes, or the oldest of all.
const OUT_MAX: usize = 64;

#[derive(Debug)]
struct Ticket<P> {
    secret: String,
    until: Mono,
    account: String,
    pass: P,
}

/// Those that are out, with what each allows.
#[derive(Debug)]
pub struct Tickets<P> {
    out: Vec<Ticket<P>>,
}

impl<P> Default for Tickets<P> {
    fn default() -> Self {
        Self { out: Vec::new() }
    }
}

impl<P> Tickets<P> {
    /// Takes note of a ticket; `secret` is one that nobody can guess.
    pub fn issue(&mut self, secret: String, account: &str, pass: P, now: Mono) {
        self.out.retain(|ticket| ticket.until > now);
        if self.out.len() >= OUT_MAX {
            // The account's own goes, if it has one: who asks for many does not push out others'.
            let own = self.out.iter().position(|ticket| ticket.account == account);
            self.out.remove(own.unwrap_or(0));
        }
        self.out.push(Ticket { secret, until: now + TICKET_FOR, account: account.to_owned(), pass });
    }

    /// What a ticket allows, which is used up.
    pub fn take(&mut self, secret: &[u8], now: Mono) -> Option<P> {
        self.out.retain(|ticket| ticket.until > now);
        let index = self.out.iter().position(|ticket| ticket.secret.as_bytes() == secret)?;
        Some(self.out.remove(index).pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_a_while_and_few_are_out() {
        let (mut tickets, now) = (Tickets::default(), Mono::from_millis(5));
        tickets.issue("first".to_owned(), "bob", 1, now);
        assert!(tickets.take(b"", now).is_none());
        assert_eq!(tickets.take(b"first", now), Some(1));
        assert!(tickets.take(b"first", now).is_none(), "used up");
        tickets.issue("late".to_owned(), "bob", 2, now);
        assert!(tickets.take(b"late", now + TICKET_FOR).is_none());
        tickets.issue("oldest".to_owned(), "bob", 3, now);
        tickets.issue("ann's".to_owned(), "ann", 4, now);
        for number in 0..2 * OUT_MAX {
            tickets.issue(number.to_string(), "bob", 5, now);
        }
        assert_eq!(tickets.out.len(), OUT_MAX);
        assert_eq!(tickets.take(b"ann's", now), Some(4), "others ask for many");
        assert!(tickets.take(b"oldest", now).is_none());
    }
}
