//! Which list is next.

use std::collections::{HashMap, VecDeque};

/// Which list is next: several at once, and no account takes all places.
pub(crate) struct Turns<T> {
    waiting: VecDeque<(String, T)>,
    running: HashMap<String, usize>,
    places: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: HashMap::new(), places: Self::RUNNING }
    }
}

impl<T> Turns<T> {
    /// Lists at the same time: each holds a page, 0.5 MiB at most.
    const RUNNING: usize = 8;
    /// Of those, for one account.
    const RUNNING_EACH: usize = 2;
    /// Requests that wait, each some hundred bytes.
    const WAITING: usize = 128;
    /// Of those, of one account.
    const WAITING_EACH: usize = 32;

    /// Puts one in the line; gives it back when there is no place.
    pub(crate) fn offer(&mut self, account: String, what: T) -> Result<(), T> {
        let own = self.waiting.iter().filter(|(other, _)| *other == account).count();
        if self.waiting.len() >= Self::WAITING || own >= Self::WAITING_EACH {
            return Err(what);
        }
        self.waiting.push_back((account, what));
        Ok(())
    }

    /// The next one to begin, if one may.
    pub(crate) fn next(&mut self) -> Option<(String, T)> {
        if self.places == 0 {
            return None;
        }
        let may = |account: &String| self.running.get(account).is_none_or(|own| *own < Self::RUNNING_EACH);
        let at = self.waiting.iter().position(|(account, _)| may(account))?;
        let (account, what) = self.waiting.remove(at)?;
        *self.running.entry(account.clone()).or_default() += 1;
        self.places -= 1;
        Some((account, what))
    }

    /// One of this account has ended.
    pub(crate) fn done(&mut self, account: &str) {
        let Some(own) = self.running.get_mut(account) else { return };
        *own -= 1;
        self.places += 1;
        if *own == 0 {
            self.running.remove(account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_account_takes_all_places() {
        let mut turns = Turns::default();
        for n in 0..100 {
            let _ = turns.offer("reader".to_owned(), n);
        }
        assert_eq!(turns.waiting.len(), Turns::<i32>::WAITING_EACH);
        let begun = |turns: &mut Turns<i32>| {
            std::iter::from_fn(|| turns.next()).map(|(who, _)| who).collect::<Vec<_>>()
        };
        assert_eq!(begun(&mut turns), ["reader", "reader"]);
        turns.offer("admin".to_owned(), 1).unwrap();
        assert_eq!(begun(&mut turns), ["admin"], "before the thirty that wait");
        turns.done("reader");
        assert_eq!(begun(&mut turns), ["reader"]);
    }

    #[test]
    fn all_waiting_are_served_once_in_any_order_of_ends() {
        let mut turns = Turns::default();
        let accounts = ["a", "b", "c", "d", "e"];
        for n in 0..Turns::<usize>::WAITING {
            turns.offer(accounts[n % 5].to_owned(), n).unwrap();
        }
        assert_eq!(turns.offer("f".to_owned(), 0), Err(0));
        let (mut served, mut running) = (Vec::new(), VecDeque::new());
        loop {
            while let Some((account, n)) = turns.next() {
                served.push(n);
                running.push_back(account);
                assert!(running.len() <= Turns::<usize>::RUNNING);
            }
            let Some(account) = running.pop_back() else { break };
            turns.done(&account);
        }
        served.sort_unstable();
        assert_eq!(served, (0..Turns::<usize>::WAITING).collect::<Vec<_>>());
    }
}
