//! One connection to a name that has several addresses: whoever answers first (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

/// How long an address has before the next one is tried beside it (RFC 8305, 5 and 8: "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// The addresses with their families in turns, beginning with that of the first (RFC 8305, 4); each one once.
fn in_turns(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let Some(first) = all.first().map(SocketAddr::is_ipv6) else { return all };
    let (ours, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
    let mut turns = Vec::new();
    loop {
        match (ours.next(), others.next()) {
            (None, None) => return turns,
            (one, other) => turns.extend(one.into_iter().chain(other)),
        }
    }
}

/// The first of `addresses` to answer. An address that refuses makes way for the next one at once, a silent one after [`STAGGER`], and is waited for still.
///
/// # Errors
/// Of the address that failed last, when all have; `NotFound` when there are none.
pub(super) async fn first<T, F: Future<Output = io::Result<T>>>(
    addresses: impl Iterator<Item = SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut waiting = in_turns(addresses).into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    under_way.extend(waiting.next().map(&attempt));
    loop {
        tokio::select! {
            ended = under_way.next() => match ended {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => {
                    last = error;
                    under_way.extend(waiting.next().map(&attempt));
                }
                None => return Err(last),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => under_way.extend(waiting.next().map(&attempt)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Who was tried when, in milliseconds, and what came of it. Ports say what an address does: 1 refuses, 2 is silent, others answer after so many ms.
    async fn race(texts: &[&str]) -> (Vec<(SocketAddr, u128)>, io::Result<SocketAddr>) {
        let start = Instant::now();
        let tried = RefCell::new(Vec::new());
        let attempt = |address: SocketAddr| {
            tried.borrow_mut().push((address, start.elapsed().as_millis()));
            async move {
                match address.port() {
                    1 => return Err(io::ErrorKind::ConnectionRefused.into()),
                    2 => std::future::pending().await,
                    after => sleep(Duration::from_millis(after.into())).await,
                }
                Ok(address)
            }
        };
        let won = first(addresses(texts).into_iter(), attempt).await;
        (tried.into_inner(), won)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_address_costs_a_quarter_of_a_second_and_not_the_call() {
        let (tried, won) = race(&["[2001:db8::1]:2", "192.0.2.1:10"]).await;
        assert_eq!(won.unwrap(), addresses(&["192.0.2.1:10"])[0]);
        assert_eq!(tried.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [0, 250]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_makes_way_at_once_and_the_slow_one_may_still_win() {
        let (tried, won) = race(&["[2001:db8::1]:1", "192.0.2.1:400", "192.0.2.2:2"]).await;
        assert_eq!(won.unwrap(), addresses(&["192.0.2.1:400"])[0]);
        assert_eq!(tried.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [0, 0, 250]);
        let (tried, won) = race(&["192.0.2.1:10", "192.0.2.2:10"]).await;
        assert_eq!((tried.len(), won.is_ok()), (1, true), "one that answers in time is alone");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_it_ends_with_the_last_word() {
        let (tried, won) = race(&["[2001:db8::1]:1", "192.0.2.1:1"]).await;
        assert_eq!((tried.len(), won.unwrap_err().kind()), (2, io::ErrorKind::ConnectionRefused));
        assert_eq!(race(&[]).await.1.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn families_take_turns_and_no_address_comes_twice() {
        let given = addresses(&["[::1]:5", "[::2]:5", "[::1]:5", "[::3]:5", "192.0.2.1:5"]);
        let turns = addresses(&["[::1]:5", "192.0.2.1:5", "[::2]:5", "[::3]:5"]);
        assert_eq!(in_turns(given.into_iter()), turns);
    }
}
