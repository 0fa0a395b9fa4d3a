//! Sessions: a bounded table of token digests with an idle and an absolute limit.

use std::collections::HashMap;
use std::fmt;

use data_encoding::HEXLOWER;
use units::{Millis, Mono};

use crate::account::UserId;
use crate::token::TokenDigest;
use crate::wall::UnixMillis;

/// How long a gateway goes on with the answer to a check before it tells of further use: so much later than its last check may
/// a session have been used last.
pub const USE_GRAIN: Millis = Millis::from_secs(1);

/// Limits of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// A session not used for this long is over.
    pub idle_limit: Millis,
    /// A session is over after this long, however busy.
    pub absolute_limit: Millis,
    /// Sessions in total. In a full table the account that has most gives up its least recently used one.
    pub total: usize,
    /// Sessions of one account; beyond it the account's own least recently used one goes.
    pub per_user: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            idle_limit: Millis::from_secs(30 * 60),
            absolute_limit: Millis::from_secs(24 * 60 * 60),
            total: 64,
            per_user: 16,
        }
    }
}

impl SessionConfig {
    /// By how much a use is later than the stored one when it is stored anew: a tenth of the idle limit, and with a short limit half a minute or half of it. Storing every use
    /// would wear the flash; storing none would end an active session when the daemon restarts.
    #[must_use]
    pub fn touch_interval(&self) -> Millis {
        let limit = self.idle_limit.get();
        Millis::new((limit / 10).max((limit / 2).min(30_000)))
    }

    /// How often [`Sessions::stale_in_store`] is asked for: each half of [`Self::touch_interval`], 1 s at least and a minute at most. So a stored time gets no
    /// older than three quarters of an idle limit of 4 s or more, and a session in use is not over for a restart.
    #[must_use]
    pub fn look_interval(&self) -> Millis {
        Millis::new((self.touch_interval().get() / 2).clamp(1_000, 60_000))
    }
}

/// Names a session in lists and events; knowing it gives no access.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// Bytes of randomness in an id.
    pub const BYTES: usize = 8;

    /// An id of 16 hexadecimal digits.
    #[must_use]
    pub fn from_random(random: [u8; Self::BYTES]) -> Self {
        Self(HEXLOWER.encode(&random))
    }

    /// Reads an id; `None` when the text cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        (text.len() == Self::BYTES * 2 && digits).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One session, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its public name.
    pub id: SessionId,
    /// What its token hashes to.
    pub digest: TokenDigest,
    /// Whose it is.
    pub user: UserId,
    /// The epoch of the account it was made under.
    pub epoch: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last used.
    pub last_used_at: UnixMillis,
    /// Where the login came from, as text for people; at most [`Session::MAX_TEXT`] bytes.
    pub address: String,
    /// What the client calls itself; at most [`Session::MAX_TEXT`] bytes.
    pub user_agent: String,
}

impl Session {
    /// Longest client-given text that is kept, in bytes.
    pub const MAX_TEXT: usize = 256;

    /// Cuts client-given text to what is kept, at a character's border, without control characters.
    #[must_use]
    pub fn clip(text: &str) -> String {
        let mut kept = String::new();
        for c in text.chars().filter(|c| !c.is_control()) {
            if kept.len() + c.len_utf8() > Self::MAX_TEXT {
                break;
            }
            kept.push(c);
        }
        kept
    }
}

#[derive(Debug)]
struct Slot {
    session: Session,
    /// End by the absolute limit.
    expires: Mono,
    /// End by the idle limit if it is not used again.
    idle_until: Mono,
    /// Until when it may have been in use: the order of these is the order in which sessions make room.
    used: Mono,
    /// The `last_used_at` that is stored; `None` while the store has nothing of the session.
    stored_use: Option<UnixMillis>,
    /// A write whose end nobody knows may have brought it there all the same.
    doubtful: bool,
}

impl Slot {
    fn ends(&self) -> Mono {
        self.expires.min(self.idle_until)
    }
}

/// The table of live sessions.
#[derive(Debug)]
pub struct Sessions {
    config: SessionConfig,
    slots: HashMap<SessionId, Slot>,
    by_digest: HashMap<TokenDigest, SessionId>,
}

impl Sessions {
    /// An empty table.
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        Self { config, slots: HashMap::new(), by_digest: HashMap::new() }
    }

    /// Another idle limit from now on, also for the sessions there are: each is over that long after its last use. One that is over by the new limit is
    /// among [`Self::over`] at once; one that was over by the limit before stays over.
    pub fn set_idle_limit(&mut self, limit: Millis, now: Mono) {
        let before = std::mem::replace(&mut self.config.idle_limit, limit);
        for slot in self.slots.values_mut().filter(|slot| slot.ends() > now) {
            // It counts from the last use, which the limit before tells.
            slot.idle_until = if limit >= before {
                slot.idle_until.saturating_add(limit.saturating_sub(before))
            } else {
                slot.idle_until.saturating_sub(before.saturating_sub(limit))
            };
        }
    }

    /// Puts a stored session back after a restart. `false` when it is over, or when `wall` is before the stored
    /// times: a clock that went backwards cannot tell how old the session is, and a doubtful session ends.
    pub fn restore(&mut self, session: Session, now: Mono, wall: UnixMillis) -> bool {
        let (Some(age), Some(idle)) = (wall.since(session.created_at), wall.since(session.last_used_at))
        else {
            return false;
        };
        let left = self.config.absolute_limit.saturating_sub(Millis::new(age));
        let idle_left = self.config.idle_limit.saturating_sub(Millis::new(idle));
        if left.is_zero() || idle_left.is_zero() || self.slots.len() >= self.config.total {
            return false;
        }
        let stored_use = Some(session.last_used_at);
        let (expires, idle_until) = (now.saturating_add(left), now.saturating_add(idle_left));
        // In the order of last use among themselves, and before all that comes.
        let used = now.saturating_sub(Millis::new(idle));
        self.place(Slot { session, expires, idle_until, used, stored_use, doubtful: false });
        true
    }

    /// The sessions that must go for one more of `user`: the account's least recently used when it has its share, else, when the
    /// table is full, that of the account with the most sessions.
    #[must_use]
    pub fn evicted_by(&self, user: &UserId) -> Vec<SessionId> {
        let mut evicted = self.oldest_of(user, self.config.per_user);
        if self.slots.len() - evicted.len() >= self.config.total {
            let mut shares: HashMap<&UserId, (usize, Mono)> = HashMap::new();
            for slot in self.slots.values().filter(|slot| !evicted.contains(&slot.session.id)) {
                let share = shares.entry(&slot.session.user).or_insert((0, slot.used));
                *share = (share.0 + 1, share.1.min(slot.used));
            }
            // Of equal shares the one whose session was not used for longest.
            let largest = shares.iter().max_by_key(|(user, (count, used))| {
                (*count, std::cmp::Reverse(*used), std::cmp::Reverse(user.as_str()))
            });
            if let Some((user, (count, _))) = largest {
                evicted.extend(self.oldest_of(user, *count));
            }
        }
        evicted
    }

    /// Adds a new session and removes those it pushes out, which are returned. `stored`: the store has it.
    pub fn insert(&mut self, session: Session, stored: bool, now: Mono) -> Vec<Session> {
        let evicted = self.evicted_by(&session.user);
        let evicted = evicted.iter().filter_map(|id| self.remove(id)).collect();
        let stored_use = stored.then_some(session.last_used_at);
        let expires = now.saturating_add(self.config.absolute_limit);
        let idle_until = now.saturating_add(self.config.idle_limit);
        self.place(Slot { session, expires, idle_until, used: now, stored_use, doubtful: false });
        evicted
    }

    /// The least recently used of `user`'s sessions if they are `limit` or more: as many as must go for one more to fit.
    fn oldest_of(&self, user: &UserId, limit: usize) -> Vec<SessionId> {
        let mut slots: Vec<&Slot> = self.slots.values().filter(|slot| slot.session.user == *user).collect();
        let surplus = (slots.len() + 1).saturating_sub(limit.max(1));
        slots.sort_by(|left, right| (left.used, &left.session.id).cmp(&(right.used, &right.session.id)));
        slots.into_iter().take(surplus).map(|slot| slot.session.id.clone()).collect()
    }

    fn place(&mut self, slot: Slot) {
        self.by_digest.insert(slot.session.digest, slot.session.id.clone());
        if let Some(old) = self.slots.insert(slot.session.id.clone(), slot) {
            // The same id again (64 random bits): the older session must not stay reachable by its token.
            if self.slots.get(&old.session.id).is_some_and(|new| new.session.digest != old.session.digest) {
                self.by_digest.remove(&old.session.digest);
            }
        }
    }

    /// Recognises a token and marks its session as used. `None` for an unknown token and a session that is over;
    /// the caller still compares the epoch with the account's.
    pub fn touch(&mut self, digest: &TokenDigest, now: Mono, wall: UnixMillis) -> Option<&Session> {
        let id = self.by_digest.get(digest)?;
        let slot = self.slots.get_mut(id)?;
        if slot.ends() <= now {
            return None;
        }
        slot.idle_until = slot.idle_until.max(now.saturating_add(self.config.idle_limit));
        slot.session.last_used_at = slot.session.last_used_at.max(wall);
        slot.used = slot.used.max(now.saturating_add(USE_GRAIN));
        Some(&slot.session)
    }

    /// The session of that id, unless it is over.
    #[must_use]
    pub fn get(&self, id: &SessionId, now: Mono) -> Option<&Session> {
        self.slots.get(id).filter(|slot| slot.ends() > now).map(|slot| &slot.session)
    }

    /// Live sessions by time of creation, with the time each has left if it is not used.
    #[must_use]
    pub fn list(&self, now: Mono) -> Vec<(&Session, Millis)> {
        let mut list: Vec<_> = self
            .slots
            .values()
            .filter(|slot| slot.ends() > now)
            .map(|slot| (&slot.session, now.until(slot.ends())))
            .collect();
        list.sort_by(|(left, _), (right, _)| (left.created_at, &left.id).cmp(&(right.created_at, &right.id)));
        list
    }

    /// Time the session has left if it is not used, and its time under the absolute limit.
    #[must_use]
    pub fn remaining(&self, id: &SessionId, now: Mono) -> Option<(Millis, Millis)> {
        let slot = self.slots.get(id)?;
        Some((now.until(slot.ends()), now.until(slot.expires)))
    }

    /// The wall clock was set by `by_ms` milliseconds, negative when it was set back: the times of all sessions move along, and each is as old by them as it was. Those whose
    /// stored times would not do any more are among [`Self::stale_in_store`] then, so that a restart finds them right.
    pub fn clock_set(&mut self, by_ms: i64) {
        let moved = |at: UnixMillis| UnixMillis(at.0.saturating_add_signed(by_ms));
        for Slot { session, .. } in self.slots.values_mut() {
            session.created_at = moved(session.created_at);
            session.last_used_at = moved(session.last_used_at);
        }
    }

    /// Ends a session.
    pub fn remove(&mut self, id: &SessionId) -> Option<Session> {
        let slot = self.slots.remove(id)?;
        self.by_digest.remove(&slot.session.digest);
        Some(slot.session)
    }

    /// The sessions of `user`, but for `keep`.
    #[must_use]
    pub fn of_user(&self, user: &UserId, keep: Option<&SessionId>) -> Vec<SessionId> {
        let mut ids: Vec<_> = self
            .slots
            .values()
            .filter(|slot| slot.session.user == *user && Some(&slot.session.id) != keep)
            .map(|slot| slot.session.id.clone())
            .collect();
        ids.sort();
        ids
    }

    /// Moves a session to the account's new epoch: the one that made the change itself.
    pub fn renew_epoch(&mut self, id: &SessionId, epoch: u64) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.session.epoch = epoch;
        }
    }

    /// Sessions that are over at `now` and are to be removed.
    #[must_use]
    pub fn over(&self, now: Mono) -> Vec<SessionId> {
        self.slots.values().filter(|slot| slot.ends() <= now).map(|slot| slot.session.id.clone()).collect()
    }

    /// When the next session is over if none is used.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.slots.values().map(|slot| slot.ends()).min()
    }

    /// Sessions whose stored time of last use has become too old, or lies ahead since the clock was set back; storing them is the caller's, who then calls
    /// [`Self::stored`].
    #[must_use]
    pub fn stale_in_store(&self) -> Vec<Session> {
        let interval = self.config.touch_interval().get();
        self.slots
            .values()
            .filter(|slot| {
                // Where the store has a later one the clock was set back since.
                slot.stored_use.is_some_and(|stored| {
                    slot.session.last_used_at.since(stored).is_none_or(|by| by >= interval.max(1))
                })
            })
            .map(|slot| slot.session.clone())
            .collect()
    }

    /// Notes that this session is stored with this `last_used_at`.
    pub fn stored(&mut self, id: &SessionId, last_used_at: UnixMillis) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.stored_use = Some(last_used_at);
        }
    }

    /// Notes that nobody knows whether the store has it.
    pub fn doubt(&mut self, id: &SessionId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.doubtful = true;
        }
    }

    /// Whether the store has the session or may have it: then it has not ended for good before the store has forgotten it.
    #[must_use]
    pub fn may_be_stored(&self, id: &SessionId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.doubtful || slot.stored_use.is_some())
    }

    /// Whether the store has the session; one it has not ends with the process.
    #[must_use]
    pub fn is_stored(&self, id: &SessionId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.stored_use.is_some())
    }

    /// Sessions held, those that are over but not yet removed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::Token;

    fn user(n: u8) -> UserId {
        UserId::from_random([n; 8])
    }

    fn session(n: u8, whose: u8) -> Session {
        Session {
            id: SessionId::from_random([n; 8]),
            digest: Token::from_random([n; 32]).digest(),
            user: user(whose),
            epoch: 1,
            created_at: UnixMillis(1_000_000),
            last_used_at: UnixMillis(1_000_000),
            address: String::new(),
            user_agent: String::new(),
        }
    }

    fn minutes(n: u64) -> Mono {
        Mono::from_millis(n * 60_000)
    }

    fn digest(n: u8) -> TokenDigest {
        Token::from_random([n; 32]).digest()
    }

    const WALL: UnixMillis = UnixMillis(1_000_000);

    #[test]
    fn a_short_limit_does_not_store_each_use() {
        let every = |seconds| {
            let config = SessionConfig { idle_limit: Millis::from_secs(seconds), ..SessionConfig::default() };
            config.touch_interval()
        };
        let expected = [(1_800, 180_000), (120, 30_000), (30, 15_000), (2, 1_000)];
        assert_eq!(expected.map(|(seconds, _)| every(seconds)), expected.map(|(_, ms)| Millis::new(ms)));
    }

    #[test]
    fn a_session_in_use_outlives_a_restart_at_any_time() {
        // How long nobody is there who knows of its use, milliseconds.
        const AWAY: u64 = 5_000;
        let wall = |ms: u64| UnixMillis(1_000_000 + ms);
        for limit in [30, 31, 45, 60, 120, 300, 1_800] {
            let config = SessionConfig { idle_limit: Millis::from_secs(limit), ..SessionConfig::default() };
            let pause = config.look_interval().get();
            // So long after it was made is the first look.
            for phase in (0..pause).step_by(1_250) {
                let mut sessions = Sessions::new(config);
                let mut stored = session(1, 1);
                sessions.insert(stored.clone(), true, Mono::ZERO);
                let mut look = phase;
                for ms in (0..limit * 2_000).step_by(500) {
                    // A gateway tells of use once a second.
                    if ms % 1_000 == 0 {
                        assert!(sessions.touch(&digest(1), Mono::from_millis(ms), wall(ms)).is_some());
                    }
                    if look <= ms {
                        look = ms + pause;
                        for due in sessions.stale_in_store() {
                            sessions.stored(&due.id, due.last_used_at);
                            stored = due;
                        }
                    }
                    let lives = Sessions::new(config).restore(stored.clone(), Mono::ZERO, wall(ms + AWAY));
                    assert!(lives, "limit of {limit} s, first look after {phase} ms, a stop after {ms} ms");
                }
            }
        }
    }

    #[test]
    fn a_session_ends_after_half_an_hour_without_use() {
        let mut sessions = Sessions::new(SessionConfig::default());
        sessions.insert(session(1, 1), true, minutes(0));
        assert!(sessions.touch(&digest(1), minutes(29), WALL).is_some());
        assert!(sessions.touch(&digest(1), minutes(58), WALL).is_some());
        assert_eq!(sessions.deadline(), Some(minutes(88)));
        assert!(sessions.touch(&digest(1), minutes(88), WALL).is_none());
        assert_eq!(sessions.over(minutes(88)).len(), 1);
        assert!(sessions.list(minutes(88)).is_empty());
    }

    #[test]
    fn another_idle_limit_counts_from_the_last_use_of_each_session_that_is_not_over() {
        let span = |minutes: u64| Millis::from_secs(minutes * 60);
        let mut sessions = Sessions::new(SessionConfig::default());
        sessions.insert(session(1, 1), true, minutes(0));
        sessions.insert(session(2, 1), true, minutes(0));
        sessions.insert(session(3, 1), true, minutes(0));
        assert!(sessions.touch(&digest(1), minutes(20), WALL).is_some());
        assert!(sessions.touch(&digest(2), minutes(29), WALL).is_some());
        // Shorter: who was used lately stays, who was not is over; the third was before.
        sessions.set_idle_limit(span(5), minutes(31));
        let mut over = sessions.over(minutes(31));
        over.sort();
        assert_eq!(over, [session(1, 1).id, session(3, 1).id]);
        assert_eq!(sessions.remaining(&session(2, 1).id, minutes(31)).unwrap().0, span(3));
        // Longer: nobody who is over comes back.
        sessions.set_idle_limit(span(60), minutes(31));
        assert_eq!(sessions.remaining(&session(2, 1).id, minutes(31)).unwrap().0, span(58));
        assert_eq!(sessions.over(minutes(31)).len(), 2);
        assert!(sessions.touch(&digest(2), minutes(80), WALL).is_some());
        assert_eq!(sessions.remaining(&session(2, 1).id, minutes(80)).unwrap().0, span(60));
    }

    #[test]
    fn a_session_ends_after_a_day_however_busy() {
        let mut sessions = Sessions::new(SessionConfig::default());
        sessions.insert(session(1, 1), true, minutes(0));
        for quarter in 1..96 {
            assert!(sessions.touch(&digest(1), minutes(quarter * 15), WALL).is_some(), "{quarter}");
        }
        assert!(sessions.touch(&digest(1), minutes(24 * 60), WALL).is_none());
    }

    #[test]
    fn a_full_table_gives_up_the_least_recently_used() {
        let config = SessionConfig { total: 3, per_user: 3, ..SessionConfig::default() };
        let mut sessions = Sessions::new(config);
        for n in 1..=3 {
            sessions.insert(session(n, n), true, minutes(u64::from(n)));
        }
        sessions.touch(&digest(1), minutes(5), WALL);
        let gone = sessions.insert(session(4, 4), true, minutes(6));
        assert_eq!(gone.iter().map(|s| s.id.clone()).collect::<Vec<_>>(), [session(2, 2).id]);
        assert!(sessions.touch(&digest(2), minutes(6), WALL).is_none());
        assert!(sessions.touch(&digest(1), minutes(6), WALL).is_some());
    }

    #[test]
    fn an_account_at_its_share_pushes_out_its_own() {
        let config = SessionConfig { total: 64, per_user: 2, ..SessionConfig::default() };
        let mut sessions = Sessions::new(config);
        sessions.insert(session(9, 9), true, minutes(0));
        sessions.insert(session(1, 1), true, minutes(1));
        sessions.insert(session(2, 1), true, minutes(2));
        let gone = sessions.insert(session(3, 1), true, minutes(3));
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].id, session(1, 1).id);
        assert!(sessions.touch(&digest(9), minutes(3), WALL).is_some());
    }

    #[test]
    fn a_full_table_is_made_room_in_by_the_account_that_has_most() {
        let config = SessionConfig { total: 6, per_user: 4, ..SessionConfig::default() };
        let mut sessions = Sessions::new(config);
        sessions.insert(session(9, 9), true, minutes(0));
        for n in 1..=4 {
            sessions.insert(session(n, 1), true, minutes(u64::from(n)));
        }
        sessions.insert(session(8, 8), true, minutes(5));
        let gone = sessions.insert(session(7, 7), true, minutes(6));
        assert_eq!(gone.iter().map(|s| s.id.clone()).collect::<Vec<_>>(), [session(1, 1).id]);
        assert!(sessions.touch(&digest(9), minutes(6), WALL).is_some(), "idle for longest, and the only one");
    }

    #[test]
    fn a_session_in_use_outlives_any_number_of_later_logins() {
        let mut sessions = Sessions::new(SessionConfig::default());
        sessions.insert(session(1, 1), true, Mono::ZERO);
        for n in 2..100_u8 {
            let now = Mono::from_millis(u64::from(n) * 50);
            // A gateway tells of use once a second.
            if n % 20 == 2 {
                assert!(sessions.touch(&digest(1), now, WALL).is_some(), "{n}");
            }
            sessions.insert(session(n, 1), true, now);
        }
        assert!(sessions.touch(&digest(1), Mono::from_millis(5000), WALL).is_some());
    }

    #[test]
    fn what_the_store_never_had_is_not_brought_up_to_date_in_it() {
        let mut sessions = Sessions::new(SessionConfig::default());
        sessions.insert(session(1, 1), false, minutes(0));
        sessions.touch(&digest(1), minutes(20), UnixMillis(1_000_000 + 60_000 * 20));
        assert!(!sessions.is_stored(&session(1, 1).id) && sessions.stale_in_store().is_empty());
        sessions.stored(&session(1, 1).id, UnixMillis(1_000_000));
        assert!(sessions.is_stored(&session(1, 1).id) && !sessions.stale_in_store().is_empty());
    }

    #[test]
    fn a_restart_takes_nothing_and_gives_nothing() {
        let config = SessionConfig::default();
        let mut sessions = Sessions::new(config);
        let stored = Session { last_used_at: UnixMillis(1_000_000 + 60_000 * 100), ..session(1, 1) };
        // 110 minutes after creation, 10 after the last use; the new process's clock starts at zero.
        assert!(sessions.restore(stored, Mono::ZERO, UnixMillis(1_000_000 + 60_000 * 110)));
        assert_eq!(sessions.deadline(), Some(minutes(20)));
        assert!(sessions.touch(&digest(1), minutes(20), WALL).is_none());
    }

    #[test]
    fn a_session_used_after_a_restart_lives_on_up_to_its_absolute_limit() {
        let mut sessions = Sessions::new(SessionConfig::default());
        let start = Mono::from_millis(3_600_000 * 5);
        let late = UnixMillis(1_000_000 + 60_000 * (23 * 60 + 30));
        let stored = Session { last_used_at: late, ..session(1, 1) };
        assert!(sessions.restore(stored, start, late));
        let after = |n: u64| Mono::from_millis(start.as_millis() + n * 60_000);
        assert!(sessions.touch(&digest(1), after(25), late).is_some());
        assert!(sessions.touch(&digest(1), after(30), late).is_none(), "a day is over");
    }

    #[test]
    fn a_session_is_not_restored_when_over_or_when_the_clock_went_backwards() {
        let mut sessions = Sessions::new(SessionConfig::default());
        let idle = UnixMillis(1_000_000 + 60_000 * 30);
        assert!(!sessions.restore(session(1, 1), Mono::ZERO, idle));
        assert!(!sessions.restore(session(1, 1), Mono::ZERO, UnixMillis(999_999)));
        assert!(sessions.restore(session(1, 1), Mono::ZERO, UnixMillis(1_000_000)));
    }

    #[test]
    fn a_session_outlives_a_restart_after_the_clock_was_set_and_no_longer_than_without() {
        const BORN: u64 = 100 * 86_400_000;
        let wall = |ms: u64, by: i64| UnixMillis((BORN + ms).checked_add_signed(by).unwrap());
        for days in [-40, -1, 1, 40] {
            let by: i64 = days * 86_400_000;
            let mut sessions = Sessions::new(SessionConfig::default());
            let born = UnixMillis(BORN);
            let made = Session { created_at: born, last_used_at: born, ..session(1, 1) };
            sessions.insert(made, true, Mono::ZERO);
            assert!(sessions.touch(&digest(1), minutes(20), wall(20 * 60_000, 0)).is_some());
            sessions.clock_set(by);
            let due = sessions.stale_in_store();
            assert_eq!(due.len(), 1, "{days}");
            assert_eq!(
                (due[0].created_at, due[0].last_used_at),
                (wall(0, by), wall(20 * 60_000, by)),
                "{days}"
            );
            sessions.stored(&due[0].id, due[0].last_used_at);
            assert!(sessions.stale_in_store().is_empty(), "{days}: once");
            // Ten minutes after the last use: as much is left as without a restart.
            let mut again = Sessions::new(SessionConfig::default());
            assert!(again.restore(due[0].clone(), Mono::ZERO, wall(30 * 60_000, by)), "{days}");
            let left = again.remaining(&due[0].id, Mono::ZERO).unwrap();
            assert_eq!(left, sessions.remaining(&due[0].id, minutes(30)).unwrap(), "{days}");
            // And it is over at its time.
            let mut late = Sessions::new(SessionConfig::default());
            assert!(!late.restore(due[0].clone(), Mono::ZERO, wall(50 * 60_000, by)), "{days}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_by_little_leaves_no_time_in_the_future_in_the_store() {
        let mut sessions = Sessions::new(SessionConfig::default());
        sessions.insert(session(1, 1), true, minutes(0));
        sessions.insert(session(2, 1), false, minutes(0));
        sessions.clock_set(-1_000);
        let due: Vec<_> = sessions.stale_in_store().into_iter().map(|due| due.id).collect();
        assert_eq!(due, [session(1, 1).id], "of what the store never had there is nothing to be set right");
        // A write that was under way brought the time before.
        sessions.stored(&session(1, 1).id, session(1, 1).last_used_at);
        assert_eq!(sessions.stale_in_store().len(), 1);
        // Forward by less than a time of last use may be late anyway nothing is written.
        sessions.clock_set(1_000);
        assert!(sessions.stale_in_store().is_empty());
    }

    #[test]
    fn the_time_of_last_use_is_stored_now_and_then_only() {
        let mut sessions = Sessions::new(SessionConfig::default());
        sessions.insert(session(1, 1), true, minutes(0));
        sessions.touch(&digest(1), minutes(2), UnixMillis(1_000_000 + 120_000));
        assert!(sessions.stale_in_store().is_empty());
        let used = UnixMillis(1_000_000 + 180_000);
        sessions.touch(&digest(1), minutes(3), used);
        let due = sessions.stale_in_store();
        assert_eq!(due.len(), 1);
        sessions.stored(&due[0].id, due[0].last_used_at);
        assert!(sessions.stale_in_store().is_empty());
    }

    #[test]
    fn what_a_client_says_of_itself_is_cut_and_cleaned() {
        assert_eq!(Session::clip("curl/8\r\nX-Evil: 1"), "curl/8X-Evil: 1");
        let long = Session::clip(&"ü".repeat(400));
        assert!(long.len() <= Session::MAX_TEXT && long.chars().all(|c| c == 'ü'));
    }

    #[test]
    fn ids_are_read_strictly() {
        let id = SessionId::from_random([0xa5; 8]);
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        for bad in ["", "A5A5a5a5a5a5a5a5", "a5a5a5a5a5a5a5a", "a5a5a5a5a5a5a5a5a", "a5a5a5a5.a5a5a5a", ">"] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_table_stays_bounded_and_every_token_finds_its_own_session(
            steps in proptest::collection::vec((any::<u8>(), 0..5_u8, 0..3_u8), 0..300),
        ) {
            let config = SessionConfig { total: 10, per_user: 4, ..SessionConfig::default() };
            let mut sessions = Sessions::new(config);
            let mut now = Mono::ZERO;
            for (n, whose, what) in steps {
                now = now.saturating_add(Millis::from_secs(7));
                match what {
                    0 => { sessions.insert(session(n, whose), true, now); }
                    1 => { sessions.remove(&SessionId::from_random([n; 8])); }
                    _ => {
                        if let Some(found) = sessions.touch(&digest(n), now, WALL) {
                            prop_assert_eq!(&found.id, &SessionId::from_random([n; 8]));
                        }
                    }
                }
                prop_assert!(sessions.len() <= config.total);
                prop_assert_eq!(sessions.by_digest.len(), sessions.slots.len());
                for whose in 0..5 {
                    prop_assert!(sessions.of_user(&user(whose), None).len() <= config.per_user);
                }
            }
        }
    }
}
