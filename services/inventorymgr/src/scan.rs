//! What is read of which bus: one part after the other on a bus, all buses beside each other, so that one that hangs holds only what is on it.

use std::collections::BTreeMap;

use board::Board;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An EEPROM, by its place in the board file.
    Fru(usize),
    /// A drive, by its place in the board file.
    Drive(usize),
}

/// The buses of a board, and what is under way on them.
pub(crate) struct Buses<T> {
    on: Vec<(Vec<Item>, Option<AbortHandle>)>,
    reading: JoinSet<()>,
    tell: mpsc::Sender<(Item, T)>,
    told: mpsc::Receiver<(Item, T)>,
}

impl<T: Send + 'static> Buses<T> {
    /// Those of the board. What is on no bus is one by itself.
    pub(crate) fn new(board: &Board) -> Self {
        let mut on: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        for (index, fru) in board.frus.iter().enumerate() {
            let bus = fru.bus.as_ref().unwrap_or(&fru.id).as_str();
            on.entry(bus.to_owned()).or_default().push(Item::Fru(index));
        }
        for (index, drive) in board.drives.iter().enumerate() {
            on.entry(drive.bus.as_str().to_owned()).or_default().push(Item::Drive(index));
        }
        Self::of(on.into_values())
    }

    fn of(on: impl IntoIterator<Item = Vec<Item>>) -> Self {
        let (tell, told) = mpsc::channel(16);
        let on = on.into_iter().map(|items| (items, None)).collect();
        Self { on, reading: JoinSet::new(), tell, told }
    }

    /// Begins to read what is wanted of each bus on which nothing is under way; the others are asked the next time.
    pub(crate) fn start<F>(
        &mut self,
        wanted: impl Fn(Item) -> bool,
        ask: impl Fn(Item) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = T> + Send,
    {
        while self.reading.try_join_next().is_some() {}
        for (items, under_way) in &mut self.on {
            if under_way.as_ref().is_some_and(|task| !task.is_finished()) {
                continue;
            }
            let items: Vec<Item> = items.iter().copied().filter(|item| wanted(*item)).collect();
            if items.is_empty() {
                continue;
            }
            let (ask, tell) = (ask.clone(), self.tell.clone());
            *under_way = Some(self.reading.spawn(async move {
                for item in items {
                    let answer = ask(item).await;
                    if tell.send((item, answer)).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }

    /// What was read next; waits while nothing is under way. Safe to be given up.
    pub(crate) async fn next(&mut self) -> Option<(Item, T)> {
        self.told.recv().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_bus_that_hangs_holds_only_what_is_on_it_and_each_has_one_read_at_a_time() {
        let mut buses = Buses::of([vec![Item::Fru(0), Item::Fru(1)], vec![Item::Fru(2), Item::Drive(0)]]);
        let hung = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&hung);
        let ask = move |item| {
            let gate = Arc::clone(&gate);
            async move {
                if item == Item::Fru(0) {
                    gate.acquire().await.unwrap().forget();
                }
                item
            }
        };
        for _ in 0..2 {
            // The one that hangs is not asked again.
            buses.start(|_| true, ask.clone());
            assert_eq!(buses.next().await.unwrap().0, Item::Fru(2));
            assert_eq!(buses.next().await.unwrap().0, Item::Drive(0));
            while buses.on[1].1.as_ref().is_some_and(|task| !task.is_finished()) {
                tokio::task::yield_now().await;
            }
        }
        hung.add_permits(1);
        assert_eq!(buses.next().await.unwrap().0, Item::Fru(0));
        assert_eq!(buses.next().await.unwrap().0, Item::Fru(1));
        assert!(buses.told.try_recv().is_err(), "nothing is asked twice");
        buses.start(|item| item == Item::Drive(0), ask);
        assert_eq!(buses.next().await.unwrap().0, Item::Drive(0));
    }
}
