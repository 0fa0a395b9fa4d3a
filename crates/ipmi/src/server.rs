//! Sessions: from the first datagram of a stranger to the last of somebody who is logged in.
//!
//! ```text
//!  Open Session ─► Opened ─ RAKP 1 ─► Challenging ┄┄► Challenged ─ RAKP 3 ─► Verifying ┄┄► live ─► closed, idle, revoked
//!      └──────────────── three seconds in all ────────────────┘   three more
//! ```
//!
//! What strangers can fill is bounded: so many logins under way, so many of one address, so many answers a second. When there is no room, the
//! address that has most gives up its oldest.

use std::collections::VecDeque;
use std::net::IpAddr;

use units::{Allowance, Millis, Mono, network};
use zeroize::Zeroizing;

use crate::bytes::Bytes;
use crate::channel::{CHANNEL, auth_capabilities, is_this_channel};
use crate::command::{Command, Row};
use crate::completion::{Completion, Reply};
use crate::crypto::{self, BLOCK, Keys, Suite};
use crate::level::Level;
use crate::packet::{self, Message, Origin, Packet, Sealed, Wrapper, payload};
use crate::path::Path;
use crate::status;
use crate::window::Window;

/// How long a login may take from Open Session on (§13.17 leaves it open; OpenBMC has the same).
const SETUP: Millis = Millis::from_secs(3);
/// Logins under way at once.
const SETUPS_MAX: usize = 64;
/// Of these, of one address.
const SETUPS_OF_ONE: usize = 16;
/// Requests of one session that wait for an answer.
const PENDING_MAX: usize = 8;
/// For so long a request that comes once more gets the answer it got: a client that did not get it asks again after a second or two.
const REPEATED: Millis = Millis::from_secs(3);
/// Answers of one session that are kept for that: as many as can wait at once.
const ANSWERED_MAX: usize = PENDING_MAX;
/// Sessions of one account.
const SESSIONS_OF_ONE: usize = 5;
/// Of so many sessions one is kept for administrators.
const KEPT_OF: u8 = 5;
/// A session that nobody has confirmed for so long ends: nothing but events ends one whose account changed, and one may be lost.
const AGE_MAX: Millis = Millis::from_secs(900);
/// A session that was not used for so long makes room for a new one.
const MAKES_ROOM: Millis = Millis::from_secs(10);
/// Answers to strangers in a second, and at once after a pause: to all.
const ALL_RATE: u32 = 512;
/// To one address.
const ONE_RATE: u32 = 64;
/// Addresses whose rates are kept.
const RATES_MAX: usize = 256;
/// Bytes of random numbers in RAKP.
const RANDOM: usize = 16;
/// Longest name in RAKP (table 13-11).
const NAME_MAX: usize = 16;
/// Cipher suites' records that go into one answer (§22.15.1).
const LIST_MAX: usize = 16;

/// What is set.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The controller's GUID, as RAKP shows it to strangers.
    pub guid: [u8; 16],
    /// Whether suite 3 is spoken beside suite 17.
    pub sha1: bool,
    /// Sessions at once, 1 to 63.
    pub sessions: u8,
    /// After how long without a packet a session ends.
    pub idle: Millis,
}

/// Names a question to who keeps accounts until it is answered.
pub type AskId = u64;
/// Names a request of a session until it is answered.
pub type RequestId = u64;

/// Wanted: the HMAC of `data` with a user's key, which RAKP 2 shows. It is shown for a name that is none, too, with a key that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// For [`Server::challenged`].
    pub id: AskId,
    /// Who wants to log in.
    pub username: String,
    /// From where.
    pub from: Path,
    /// Whose HMAC.
    pub suite: Suite,
    /// Of what.
    pub data: Vec<u8>,
}

/// Wanted: whether `code` is the HMAC of `data` with a user's key, and if so, that of `session` with it, which is the session's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// For [`Server::verified`].
    pub id: AskId,
    /// Who wants to log in.
    pub username: String,
    /// From where.
    pub from: Path,
    /// Whose HMAC.
    pub suite: Suite,
    /// What was to be proved.
    pub data: Vec<u8>,
    /// The proof.
    pub code: Vec<u8>,
    /// What the session's key is made of.
    pub session: Vec<u8>,
}

/// Somebody is who he says.
#[derive(Clone)]
pub struct Admitted {
    /// The session integrity key.
    pub key: Zeroizing<Vec<u8>>,
    /// What he may do at most.
    pub limit: Level,
    /// His account, for [`Server::revoke`].
    pub account: String,
    /// His number as a user of IPMI; 0 when he has none.
    pub number: u8,
}

/// Never with the key.
impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted")
            .field("limit", &self.limit)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The code is wrong, or the name is none, or it is locked out: nobody is told which.
    Wrong,
    /// The code is right, and the account may not be used all the same.
    Forbidden,
    /// Nobody knows.
    Unavailable,
}

/// Of what session a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its number at this side.
    pub id: u32,
    /// Its account.
    pub account: String,
    /// From where.
    pub from: Path,
    /// What it may do now.
    pub level: Level,
}

/// A request of a session, of a known command, of a right length, and that the session's privilege allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// For [`Server::replied`].
    pub id: RequestId,
    /// Whose.
    pub session: SessionInfo,
    /// What.
    pub command: Command,
    /// The logical unit it is for.
    pub lun: u8,
    /// Whose event it is that it tells of, as the SEL has it (table 32-1).
    pub generator: [u8; 2],
    /// Its data, without the group's byte.
    pub data: Vec<u8>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes, from the address that was asked.
    Send(Path, Vec<u8>),
    /// Ask who keeps accounts.
    Challenge(Challenge),
    /// Ask who keeps accounts.
    Verify(Verify),
    /// Answer this.
    Request(Request),
    /// A request was refused as the session's privilege does not suffice.
    Refused(SessionInfo, Command),
    /// A packet of Serial over LAN came in this session (§15).
    Sol(SessionInfo, Vec<u8>),
    /// A session began.
    Began(SessionInfo),
    /// A session is over, and why.
    Ended(SessionInfo, &'static str),
}

/// How far a login is.
#[derive(Debug)]
enum Stage {
    Opened,
    Challenging(AskId, Rakp1),
    /// With RAKP 2 as it was answered.
    Challenged(Rakp1, Vec<u8>),
    Verifying(AskId, Rakp1, Vec<u8>),
}

/// What RAKP 1 said, and what was drawn for the answer.
#[derive(Clone, Debug)]
struct Rakp1 {
    tag: u8,
    theirs: [u8; RANDOM],
    ours: [u8; RANDOM],
    /// As it came: with the bit for how the name is looked up.
    role: u8,
    name: Vec<u8>,
    /// RAKP 1 as it came but for its tag, to know it again: a client that repeats it may give it another (§13.20).
    whole: Vec<u8>,
    /// The tag of RAKP 3.
    tag3: u8,
}

/// A login under way.
#[derive(Debug)]
struct Setup {
    /// Number at this side.
    id: u32,
    /// Number at the other.
    remote: u32,
    from: Path,
    suite: Suite,
    /// What the session may do at most, as Open Session wants it; `None` for as much as the account.
    most: Option<Level>,
    since: Mono,
    stage: Stage,
}

impl Setup {
    /// When it is over. Who is asked whether a proof is right has its own time for the answer, and notes the login: what that opens is not over before it.
    fn end(&self) -> Mono {
        let is_asked = matches!(self.stage, Stage::Verifying(..));
        self.since.saturating_add(SETUP).saturating_add(if is_asked { SETUP } else { Millis::default() })
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    id: RequestId,
    origin: Origin,
    /// A code of its data, which may be a password.
    data: Vec<u8>,
    prefix: Option<u8>,
}

/// An answer, for a client that did not get it.
#[derive(Debug)]
struct Answered {
    at: Mono,
    origin: Origin,
    /// A code of the request's data.
    data: Vec<u8>,
    /// From the completion code on.
    answer: Vec<u8>,
}

impl Answered {
    /// Done, or perhaps done: once more would be twice.
    fn may_be_done(&self) -> bool {
        self.answer.first().is_some_and(|code| [Completion::OK.0, Completion::TIMEOUT.0].contains(code))
    }
}

/// A session.
#[derive(Debug)]
struct Live {
    id: u32,
    remote: u32,
    from: Path,
    /// 1 to the number of sessions.
    handle: u8,
    keys: Keys,
    account: String,
    number: u8,
    limit: Level,
    level: Level,
    since: Mono,
    used: Mono,
    sent: u32,
    window: Window,
    pending: Vec<Pending>,
    /// Something of a console was sent in it.
    has_console: bool,
    /// The latest answers, oldest first.
    answered: VecDeque<Answered>,
    /// RAKP 3's code and the answer in RAKP 4, for a client that did not get it.
    rakp4: (Vec<u8>, Vec<u8>),
}

impl Live {
    fn info(&self) -> SessionInfo {
        SessionInfo { id: self.id, account: self.account.clone(), from: self.from, level: self.level }
    }

    /// Whether a request came already. A client that repeats Chassis Control may give it another number: the same wish within so short a time
    /// is the same request, so that the machine is not reset twice. A wish after another one is new.
    fn once_more(&mut self, now: Mono, origin: Origin, data: &[u8]) -> Once {
        if self.pending.iter().any(|pending| pending.origin == origin && pending.data == data) {
            return Once::UnderWay;
        }
        let lately = |one: &&Answered| now < one.at.saturating_add(REPEATED);
        let mut latest = self.answered.iter().rev().take_while(lately);
        if let Some(found) = latest.clone().find(|one| one.origin == origin && one.data == data) {
            return Once::Answered(found.answer.clone());
        }
        if !is_control(origin) {
            return Once::New;
        }
        // What waits is newer than what is answered.
        if let Some(pending) = self.pending.iter_mut().rfind(|pending| is_control(pending.origin)) {
            if pending.data != data {
                return Once::New;
            }
            // The client waits for the answer to the latest number.
            pending.origin = origin;
            return Once::UnderWay;
        }
        let found = latest.find(|one| is_control(one.origin) && one.may_be_done());
        found.filter(|one| one.data == data).map_or(Once::New, |one| Once::Answered(one.answer.clone()))
    }
}

/// Whether a request came already.
enum Once {
    New,
    /// Its answer is still to come.
    UnderWay,
    /// With this.
    Answered(Vec<u8>),
}

fn is_control(origin: Origin) -> bool {
    Command::of(origin.function, origin.command, &[])
        .is_some_and(|row| row.command == Command::ChassisControl)
}

/// Fills a slice with random bytes; `false` when there are none.
type Entropy = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// All sessions, and all that want to be one.
pub struct Server {
    config: Config,
    entropy: Entropy,
    setups: Vec<Setup>,
    live: Vec<Live>,
    all: Allowance,
    rates: Vec<(IpAddr, Allowance)>,
    next: u64,
    /// Commands that the channel's firewall takes away.
    forbidden: Vec<Command>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("setups", &self.setups.len())
            .field("live", &self.live.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Nobody is there yet. `entropy` fills a slice with random bytes, and says whether it could.
    pub fn new(config: Config, entropy: impl FnMut(&mut [u8]) -> bool + Send + 'static) -> Self {
        Self {
            config,
            entropy: Box::new(entropy),
            setups: Vec::new(),
            live: Vec::new(),
            all: a_second(ALL_RATE),
            rates: Vec::new(),
            next: 0,
            forbidden: Vec::new(),
        }
    }

    /// Commands that nobody may use by this channel from now on (§21).
    pub fn forbid(&mut self, commands: Vec<Command>) {
        self.forbidden = commands;
    }

    /// Sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.live.len()
    }

    /// When [`Server::tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let setups = self.setups.iter().map(Setup::end);
        let live = self
            .live
            .iter()
            .map(|live| live.used.saturating_add(self.config.idle).min(live.since.saturating_add(AGE_MAX)));
        setups.chain(live).min()
    }

    /// Ends what has waited too long.
    pub fn tick(&mut self, now: Mono, out: &mut Vec<Action>) {
        self.setups.retain(|setup| now < setup.end());
        let idle = self.config.idle;
        self.end(out, "idle", |live| now >= live.used.saturating_add(idle));
        self.end(out, "as old as a session may be", |live| now >= live.since.saturating_add(AGE_MAX));
    }

    /// Ends the sessions of an account; all without one.
    pub fn revoke(&mut self, account: Option<&str>, out: &mut Vec<Action>) {
        self.end(out, "account changed", |live| account.is_none_or(|account| live.account == account));
    }

    /// Ends the sessions whose account may not have them any more, as somebody says who knows now; the others count as new.
    pub fn confirm(&mut self, now: Mono, may: impl Fn(&str, Level) -> bool, out: &mut Vec<Action>) {
        self.end(out, "account changed", |live| !may(&live.account, live.limit));
        for live in &mut self.live {
            live.since = now;
        }
    }

    /// Ends all sessions, and all logins under way.
    pub fn end_all(&mut self, why: &'static str, out: &mut Vec<Action>) {
        self.setups.clear();
        self.end(out, why, |_| true);
    }

    fn end(&mut self, out: &mut Vec<Action>, why: &'static str, over: impl Fn(&Live) -> bool) {
        // Whoever looks at a console there is told while the session has its keys.
        for at in 0..self.live.len() {
            if self.live.get(at).is_some_and(|live| live.has_console && over(live)) {
                self.send_as(payload::SOL, at, &crate::sol::deactivated(0), out);
            }
        }
        self.live.retain(|live| {
            let is_over = over(live);
            if is_over {
                out.push(Action::Ended(live.info(), why));
            }
            !is_over
        });
    }

    /// A datagram.
    pub fn input(&mut self, now: Mono, from: impl Into<Path>, datagram: &[u8], out: &mut Vec<Action>) {
        let from = from.into();
        self.tick(now, out);
        let Ok(packet) = Packet::parse(datagram) else { return };
        match packet {
            Packet::Sealed(sealed) => self.sealed(now, from, &sealed, out),
            _ if !self.affords(from, now, &packet) => {}
            Packet::Ping { tag } => out.push(Action::Send(from, packet::pong(tag))),
            Packet::Plain { wrapper, message } => self.plain(from, wrapper, &message, out),
            Packet::Setup { kind: payload::OPEN, data } => {
                let _ = self.open(now, from, data, out);
            }
            Packet::Setup { kind: payload::RAKP1, data } => {
                let _ = self.rakp1(from, data, out);
            }
            Packet::Setup { data, .. } => {
                let _ = self.rakp3(from, data, out);
            }
        }
    }

    /// Whether a stranger at this address may have one more answer. One with a login under way has been reached there: what all strangers ask
    /// together does not keep it out.
    fn affords(&mut self, from: Path, now: Mono, packet: &Packet<'_>) -> bool {
        let address = network(from.ip());
        let goes_on = match packet {
            Packet::Setup { kind: payload::RAKP1 | payload::RAKP3, data } => {
                let id = data.get(4..8).and_then(|id| id.first_chunk().copied()).map(u32::from_le_bytes);
                self.setups.iter().any(|setup| setup.from == from && Some(setup.id) == id)
            }
            _ => false,
        };
        let place = match self.rates.iter().position(|(known, _)| *known == address) {
            Some(place) => place,
            None => {
                if self.rates.len() >= RATES_MAX {
                    // The one that has asked for nothing for longest is full again, or the nearest to it.
                    let oldest = self.rates.iter().enumerate().min_by_key(|(_, (_, rate))| rate.asked());
                    if let Some(oldest) = oldest.map(|(place, _)| place) {
                        self.rates.swap_remove(oldest);
                    }
                }
                self.rates.push((address, a_second(ONE_RATE)));
                self.rates.len() - 1
            }
        };
        let one = self.rates.get_mut(place).is_some_and(|(_, rate)| rate.take(now));
        one && (goes_on || self.all.take(now))
    }

    fn random<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.entropy)(&mut bytes).then_some(bytes)
    }

    /// A message outside of a session: two commands are for everybody, the others are not answered.
    fn plain(&mut self, from: Path, wrapper: Wrapper, message: &Message<'_>, out: &mut Vec<Action>) {
        let Some(row) = Command::of(message.function, message.command, message.data) else { return };
        if row.level.is_some() {
            return;
        }
        let answer = match row.lengths.contains(&message.data.len()) {
            true => self.for_everybody(row.command, message.data),
            false => Err(Completion::LENGTH),
        };
        let message = message.origin().answer(&Reply::from(answer).bytes(None));
        out.push(Action::Send(from, packet::plain(wrapper, &message)));
    }

    fn for_everybody(&self, command: Command, data: &[u8]) -> Result<Vec<u8>, Completion> {
        match command {
            Command::GetChannelAuthCapabilities => auth_capabilities(data),
            Command::GetChannelCipherSuites => self.cipher_suites(data),
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    /// §22.15.
    fn cipher_suites(&self, data: &[u8]) -> Result<Vec<u8>, Completion> {
        let &[channel, kind, index] = data else { return Err(Completion::LENGTH) };
        is_this_channel(channel)?;
        // The same for both.
        if ![payload::IPMI, payload::SOL].contains(&(kind & 0x3f)) {
            return Err(Completion::INVALID_FIELD);
        }
        let suites = self.suites();
        let list: Vec<u8> = if index & 0x80 == 0 {
            // The algorithms, each once.
            let mut list: Vec<u8> = suites.iter().map(|suite| suite.authentication()).collect();
            list.extend(suites.iter().map(|suite| 0x40 | suite.integrity()));
            list.push(0x80 | Suite::Sha256.confidentiality());
            list
        } else {
            let record = |suite: &Suite| {
                [
                    0xc0,
                    suite.id(),
                    suite.authentication(),
                    0x40 | suite.integrity(),
                    0x80 | suite.confidentiality(),
                ]
            };
            suites.iter().flat_map(record).collect()
        };
        let shown = list.chunks(LIST_MAX).nth(usize::from(index & 0x3f)).unwrap_or_default();
        let mut out = vec![CHANNEL];
        out.extend_from_slice(shown);
        Ok(out)
    }

    fn suites(&self) -> Vec<Suite> {
        let mut suites = vec![Suite::Sha256];
        if self.config.sha1 {
            suites.push(Suite::Sha1);
        }
        suites
    }

    /// §13.17: Open Session Request.
    fn open(&mut self, now: Mono, from: Path, data: &[u8], out: &mut Vec<Action>) -> Option<()> {
        let mut bytes = Bytes::new(data);
        let ([tag, level, _, _], remote) = (bytes.array()?, bytes.u32()?);
        if remote == 0 || level & 0xf > Level::Administrator as u8 {
            return self.refuse(from, payload::OPENED, tag, status::PARAMETER, remote, out);
        }
        // Callback is less than there is here.
        if level & 0xf == 1 {
            return self.refuse(from, payload::OPENED, tag, status::ROLE, remote, out);
        }
        let most = Level::of(level & 0xf);
        let mut algorithm = |kind: u8| {
            let [found, _, _, length, algorithm, _, _, _] = bytes.array()?;
            // A length of zero leaves the choice to this side.
            (found == kind).then_some((length == 8).then_some(algorithm & 0x3f))
        };
        let wanted = (algorithm(0)?, algorithm(1)?, algorithm(2)?);
        let fits = |suite: &Suite| {
            let is = |wanted: Option<u8>, has: u8| wanted.is_none_or(|wanted| wanted == has);
            is(wanted.0, suite.authentication())
                && is(wanted.1, suite.integrity())
                && is(wanted.2, suite.confidentiality())
        };
        let Some(suite) = self.suites().into_iter().find(fits) else {
            return self.refuse(from, payload::OPENED, tag, status::NO_SUITE, remote, out);
        };
        // A client that did not get the answer asks again with the same number: it gets the same session.
        let same = |setup: &Setup| {
            setup.from == from
                && setup.remote == remote
                && setup.suite == suite
                && setup.most == most
                && matches!(setup.stage, Stage::Opened)
        };
        let id = match self.setups.iter().find(|setup| same(setup)) {
            Some(setup) => setup.id,
            None => {
                if !self.makes_room(from.ip()) {
                    return self.refuse(from, payload::OPENED, tag, status::RESOURCES, remote, out);
                }
                let id = self.number()?;
                self.setups.push(Setup { id, remote, from, suite, most, since: now, stage: Stage::Opened });
                id
            }
        };
        let level = most.unwrap_or(Level::Administrator) as u8;
        let mut answer = vec![tag, status::OK, level, 0];
        answer.extend(remote.to_le_bytes());
        answer.extend(id.to_le_bytes());
        for (kind, algorithm) in
            [(0, suite.authentication()), (1, suite.integrity()), (2, suite.confidentiality())]
        {
            answer.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        out.push(Action::Send(from, packet::setup(payload::OPENED, &answer)));
        Some(())
    }

    /// A number of a session that nobody can guess and no other has.
    fn number(&mut self) -> Option<u32> {
        loop {
            let id = u32::from_le_bytes(self.random()?);
            let is_taken =
                self.setups.iter().any(|setup| setup.id == id) || self.live.iter().any(|live| live.id == id);
            if id != 0 && !is_taken {
                return Some(id);
            }
        }
    }

    /// Whether one more login may begin: of an address that has many only in place of one of its own, of another in place of one of whoever
    /// has most. Who answered once can be reached there, and gives way only where none is left of whom that is not known: whoever sends from
    /// addresses that are not his own pushes out his own.
    fn makes_room(&mut self, address: IpAddr) -> bool {
        let count = |whose: IpAddr| {
            self.setups.iter().filter(|setup| network(setup.from.ip()) == network(whose)).count()
        };
        let own = count(address);
        let is_full_alone = own >= SETUPS_OF_ONE;
        if !is_full_alone && self.setups.len() < SETUPS_MAX {
            return true;
        }
        let candidates = self.setups.iter().enumerate().filter(|(_, setup)| match is_full_alone {
            true => network(setup.from.ip()) == network(address),
            false => count(setup.from.ip()) > own,
        });
        // The oldest of those alike: the first of them.
        let rank = |setup: &Setup| (matches!(setup.stage, Stage::Opened), count(setup.from.ip()));
        let victim = candidates.rev().max_by_key(|(_, setup)| rank(setup)).map(|(place, _)| place);
        if let Some(victim) = victim {
            self.setups.remove(victim);
        }
        victim.is_some()
    }

    /// A step that is refused (§13.18 to §13.23).
    #[allow(clippy::unused_self, reason = "stands at the end of steps")]
    fn refuse(&self, to: Path, kind: u8, tag: u8, why: u8, remote: u32, out: &mut Vec<Action>) -> Option<()> {
        let mut answer = vec![tag, why, 0, 0];
        answer.extend(remote.to_le_bytes());
        out.push(Action::Send(to, packet::setup(kind, &answer)));
        Some(())
    }

    /// §13.20.
    fn rakp1(&mut self, from: Path, data: &[u8], out: &mut Vec<Action>) -> Option<()> {
        let mut bytes = Bytes::new(data);
        let ([tag, _, _, _], id, theirs) = (bytes.array()?, bytes.u32()?, bytes.array::<RANDOM>()?);
        let [role, _, _, length] = bytes.array()?;
        let Some(at) = self.setups.iter().position(|setup| setup.id == id && setup.from == from) else {
            return self.refuse(from, payload::RAKP2, tag, status::SESSION, 0, out);
        };
        let remote = self.setups.get(at)?.remote;
        if usize::from(length) > NAME_MAX {
            return self.refuse(from, payload::RAKP2, tag, status::NAME_LENGTH, remote, out);
        }
        if role & 0xf > Level::Administrator as u8 || role & 0xf == 1 {
            return self.refuse(from, payload::RAKP2, tag, status::ROLE, remote, out);
        }
        let name = bytes.take(usize::from(length))?.to_vec();
        let ours = self.random::<RANDOM>()?;
        let ask = self.next;
        let whole = data.get(1..)?;
        let setup = self.setups.get_mut(at)?;
        match &mut setup.stage {
            Stage::Opened => {}
            // It comes once more: RAKP 2 was lost.
            Stage::Challenged(rakp, answer) if rakp.whole == whole => {
                out.push(again(from, payload::RAKP2, tag, answer));
                return Some(());
            }
            // It comes once more before there is an answer: the client waits for that of the latest tag.
            Stage::Challenging(_, rakp) if rakp.whole == whole => {
                rakp.tag = tag;
                return Some(());
            }
            _ => return None,
        }
        self.next += 1;
        let rakp = Rakp1 { tag, theirs, ours, role, name, whole: whole.to_vec(), tag3: 0 };
        let mut proved = Vec::new();
        proved.extend(setup.remote.to_le_bytes());
        proved.extend(setup.id.to_le_bytes());
        proved.extend(rakp.theirs);
        proved.extend(rakp.ours);
        proved.extend(self.config.guid);
        rakp.extend_with_who(&mut proved);
        out.push(Action::Challenge(Challenge {
            id: ask,
            username: rakp.username(),
            from,
            suite: setup.suite,
            data: proved,
        }));
        setup.stage = Stage::Challenging(ask, rakp);
        Some(())
    }

    /// What was asked by [`Action::Challenge`] is known; `None` when it cannot be.
    pub fn challenged(&mut self, id: AskId, code: Option<&[u8]>, out: &mut Vec<Action>) {
        let found = |setup: &Setup| matches!(setup.stage, Stage::Challenging(asked, _) if asked == id);
        let Some(at) = self.setups.iter().position(found) else { return };
        let Some(setup) = self.setups.get_mut(at) else { return };
        let Stage::Challenging(_, rakp) = &setup.stage else { return };
        let rakp = rakp.clone();
        let (from, remote) = (setup.from, setup.remote);
        let Some(code) = code.filter(|code| code.len() == setup.suite.hash_len()) else {
            self.setups.remove(at);
            self.refuse(from, payload::RAKP2, rakp.tag, status::RESOURCES, remote, out);
            return;
        };
        let mut answer = vec![rakp.tag, status::OK, 0, 0];
        answer.extend(remote.to_le_bytes());
        answer.extend(rakp.ours);
        answer.extend(self.config.guid);
        answer.extend_from_slice(code);
        out.push(Action::Send(from, packet::setup(payload::RAKP2, &answer)));
        setup.stage = Stage::Challenged(rakp, answer);
    }

    /// §13.22.
    fn rakp3(&mut self, from: Path, data: &[u8], out: &mut Vec<Action>) -> Option<()> {
        let mut bytes = Bytes::new(data);
        let ([tag, said, _, _], id) = (bytes.array()?, bytes.u32()?);
        let code = bytes.rest();
        if let Some(live) = self.live.iter().find(|live| live.id == id && live.from == from) {
            // It comes once more: RAKP 4 was lost.
            let (proof, answer) = &live.rakp4;
            if crypto::is_same(proof, code) {
                out.push(again(from, payload::RAKP4, tag, answer));
            }
            return Some(());
        }
        let Some(at) = self.setups.iter().position(|setup| setup.id == id && setup.from == from) else {
            return self.refuse(from, payload::RAKP4, tag, status::SESSION, 0, out);
        };
        if said != status::OK {
            // The client gives up: with the wrong password it sees so in RAKP 2.
            self.setups.remove(at);
            return Some(());
        }
        let ask = self.next;
        let setup = self.setups.get_mut(at)?;
        let remote = setup.remote;
        let rakp = match &mut setup.stage {
            Stage::Challenged(rakp, _) => Rakp1 { tag3: tag, ..rakp.clone() },
            Stage::Verifying(_, rakp, asked) => {
                // It comes once more before there is an answer: the client waits for that of the latest tag.
                if crypto::is_same(asked, code) {
                    rakp.tag3 = tag;
                }
                return Some(());
            }
            Stage::Opened | Stage::Challenging(..) => {
                return self.refuse(from, payload::RAKP4, tag, status::INACTIVE, remote, out);
            }
        };
        self.next += 1;
        let mut proved = rakp.ours.to_vec();
        proved.extend(remote.to_le_bytes());
        rakp.extend_with_who(&mut proved);
        let mut session = rakp.theirs.to_vec();
        session.extend(rakp.ours);
        rakp.extend_with_who(&mut session);
        out.push(Action::Verify(Verify {
            id: ask,
            username: rakp.username(),
            from,
            suite: setup.suite,
            data: proved,
            code: code.to_vec(),
            session,
        }));
        setup.stage = Stage::Verifying(ask, rakp, code.to_vec());
        Some(())
    }

    /// What was asked by [`Action::Verify`] is known; the number of the session that begins by it.
    pub fn verified(
        &mut self,
        now: Mono,
        id: AskId,
        verdict: Result<Admitted, Rejected>,
        out: &mut Vec<Action>,
    ) -> Option<u32> {
        let found = |setup: &Setup| matches!(setup.stage, Stage::Verifying(asked, ..) if asked == id);
        let at = self.setups.iter().position(found)?;
        let setup = self.setups.remove(at);
        let Stage::Verifying(_, rakp, code) = setup.stage else { return None };
        let Setup { id, remote, from, suite, most, .. } = setup;
        let refuse = |why: u8, out: &mut Vec<Action>| -> Option<u32> {
            let mut answer = vec![rakp.tag3, why, 0, 0];
            answer.extend(remote.to_le_bytes());
            out.push(Action::Send(from, packet::setup(payload::RAKP4, &answer)));
            None
        };
        let Admitted { key, limit, account, number } = match verdict {
            Ok(admitted) => admitted,
            Err(Rejected::Wrong) => return refuse(status::INTEGRITY, out),
            Err(Rejected::Forbidden) => return refuse(status::UNAUTHORIZED_NAME, out),
            Err(Rejected::Unavailable) => return refuse(status::RESOURCES, out),
        };
        // Whose proof is right may be told what he may not. Open Session bounds the session as the account does (table 13-9).
        let limit = most.map_or(limit, |most| most.min(limit));
        let limit = match rakp.role & 0xf {
            0 => limit,
            wanted if wanted > limit as u8 => return refuse(status::UNAUTHORIZED_ROLE, out),
            wanted => Level::of(wanted).unwrap_or(limit),
        };
        let Some(keys) = Keys::new(suite, &key) else { return refuse(status::RESOURCES, out) };
        match self.gives_way(now, &account, limit) {
            Ok(None) => {}
            Ok(Some(victim)) => self.end(out, "made room for another", |live| live.id == victim),
            Err(()) => return refuse(status::RESOURCES, out),
        }
        let free = |handle: &u8| self.live.iter().all(|live| live.handle != *handle);
        let Some(handle) = (1..=self.config.sessions).find(free) else {
            return refuse(status::RESOURCES, out);
        };
        // §13.23, §13.28.1: the code of RAKP 4 is as long as those of packets.
        let mut proved = rakp.theirs.to_vec();
        proved.extend(id.to_le_bytes());
        proved.extend(self.config.guid);
        let proof = suite.mac(&key, &proved);
        let mut answer = vec![rakp.tag3, status::OK, 0, 0];
        answer.extend(remote.to_le_bytes());
        answer.extend_from_slice(proof.get(..suite.code_len()).unwrap_or_default());
        let sent = packet::setup(payload::RAKP4, &answer);
        let live = Live {
            id,
            remote,
            from,
            handle,
            keys,
            account,
            number,
            limit,
            // A session begins as a user's (§6.8).
            level: Level::User,
            since: now,
            used: now,
            sent: 0,
            window: Window::default(),
            pending: Vec::new(),
            has_console: false,
            answered: VecDeque::new(),
            rakp4: (code, answer),
        };
        out.push(Action::Began(live.info()));
        out.push(Action::Send(from, sent));
        self.live.push(live);
        Some(id)
    }

    /// Which session gives way to a new one of this account, if one has to: of an account that has its share its own least used one; else one
    /// that is not used. `Err` when there is no room.
    fn gives_way(&self, now: Mono, account: &str, limit: Level) -> Result<Option<u32>, ()> {
        let least = |live: &&Live| live.used;
        let own = self.live.iter().filter(|live| live.account == account);
        if own.clone().count() >= SESSIONS_OF_ONE {
            return Ok(own.min_by_key(least).map(|live| live.id));
        }
        let unused = |live: &&Live| now >= live.used.saturating_add(MAKES_ROOM);
        let others = self.live.iter().filter(|live| live.limit < Level::Administrator);
        let for_others = usize::from(self.config.sessions - self.config.sessions / KEPT_OF);
        let victim = if limit < Level::Administrator && others.clone().count() >= for_others {
            others.filter(unused).min_by_key(least)
        } else if self.live.len() >= usize::from(self.config.sessions) {
            self.live.iter().filter(unused).min_by_key(least)
        } else {
            return Ok(None);
        };
        victim.map(|live| Some(live.id)).ok_or(())
    }

    /// A packet of a session.
    fn sealed(&mut self, now: Mono, from: Path, packet: &Sealed<'_>, out: &mut Vec<Action>) {
        let Some(at) = self.live.iter().position(|live| live.id == packet.session && live.from == from)
        else {
            return;
        };
        let Some(live) = self.live.get_mut(at) else { return };
        let Some((proved, code)) = packet.proof(live.keys.suite().code_len()) else { return };
        // Before it is proved nothing of it counts.
        if !live.keys.proves(proved, code) || !live.window.takes(packet.sequence) {
            return;
        }
        live.used = now;
        let Some(mut plain) = live.keys.decrypt(packet.data).map(Zeroizing::new) else { return };
        if packet.kind == payload::SOL {
            return out.push(Action::Sol(live.info(), std::mem::take(&mut plain)));
        }
        let Ok(message) = Message::parse(&plain) else { return };
        if packet.kind != payload::IPMI {
            return;
        }
        let origin = message.origin();
        let code = live.keys.code(message.data);
        match live.once_more(now, origin, &code) {
            Once::New => {}
            Once::UnderWay => return,
            Once::Answered(answer) => return self.send(at, &origin.answer(&answer), out),
        }
        let prefix =
            Command::of(message.function, message.command, message.data).and_then(|row| row.group.prefix());
        // Without an answer somebody else answers.
        if let Some((answer, ends)) = self.dispatch(at, &message, &code, out) {
            self.answer(now, at, origin, code, prefix, answer.into(), out);
            if let Some(id) = ends {
                self.end(out, "closed", |live| live.id == id);
            }
        }
    }

    /// What is answered here and now, and which session ends by it; `None` when the answer comes later.
    #[allow(clippy::type_complexity, reason = "named nowhere else")]
    fn dispatch(
        &mut self,
        at: usize,
        message: &Message<'_>,
        code: &[u8],
        out: &mut Vec<Action>,
    ) -> Option<(Result<Vec<u8>, Completion>, Option<u32>)> {
        let live = self.live.get(at)?;
        let (row, data): (&Row, &[u8]) = match self.allowed(live, message) {
            Ok(allowed) => allowed,
            Err(why) => {
                let row = Command::of(message.function, message.command, message.data);
                if let Some(row) = row.filter(|_| why == Completion::PRIVILEGE) {
                    out.push(Action::Refused(live.info(), row.command));
                }
                return Some((Err(why), None));
            }
        };
        let answer = match row.command {
            Command::GetChannelAuthCapabilities | Command::GetChannelCipherSuites => {
                self.for_everybody(row.command, data)
            }
            Command::SetSessionPrivilege => self.set_privilege(at, data),
            Command::GetSessionInfo => self.session_info(at, data),
            Command::CloseSession => match self.close(at, data) {
                Ok(id) => return Some((Ok(Vec::new()), Some(id))),
                Err(why) => Err(why),
            },
            command => {
                if live.pending.len() >= PENDING_MAX {
                    return Some((Err(Completion::BUSY), None));
                }
                let request = Request {
                    id: self.next,
                    session: live.info(),
                    command,
                    lun: message.lun,
                    generator: message.origin().generator(),
                    data: data.to_vec(),
                };
                let pending = Pending {
                    id: self.next,
                    origin: message.origin(),
                    data: code.to_vec(),
                    prefix: row.group.prefix(),
                };
                self.next += 1;
                self.live.get_mut(at)?.pending.push(pending);
                out.push(Action::Request(request));
                return None;
            }
        };
        Some((answer, None))
    }

    /// The row of a request, and its data without the group's byte.
    fn allowed<'a>(
        &self,
        live: &Live,
        message: &Message<'a>,
    ) -> Result<(&'static Row, &'a [u8]), Completion> {
        let row = Command::of(message.function, message.command, message.data)
            .ok_or(Completion::INVALID_COMMAND)?;
        if !Command::is_of_unit(message.lun, message.function, message.command) {
            return Err(Completion::INVALID_UNIT);
        }
        if row.level.is_some_and(|level| level > live.level) || self.forbidden.contains(&row.command) {
            return Err(Completion::PRIVILEGE);
        }
        let data = match row.group.prefix() {
            Some(_) => message.data.get(1..).unwrap_or_default(),
            None => message.data,
        };
        if row.lengths.contains(&data.len()) { Ok((row, data)) } else { Err(Completion::LENGTH) }
    }

    /// The answer to a request that was handed out: data without the group's byte, or why there is none.
    pub fn replied(
        &mut self,
        now: Mono,
        id: RequestId,
        answer: Result<Vec<u8>, Completion>,
        out: &mut Vec<Action>,
    ) {
        self.replied_with(now, id, answer.into(), out);
    }

    /// The same, for a code that has data behind it.
    pub fn replied_with(&mut self, now: Mono, id: RequestId, answer: Reply, out: &mut Vec<Action>) {
        let has = |live: &Live| live.pending.iter().position(|pending| pending.id == id);
        let found = self.live.iter().enumerate().find_map(|(at, live)| Some((at, has(live)?)));
        let Some((at, place)) = found else { return };
        let Some(live) = self.live.get_mut(at) else { return };
        let Pending { origin, data, prefix, .. } = live.pending.remove(place);
        self.answer(now, at, origin, data, prefix, answer, out);
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one answer")]
    fn answer(
        &mut self,
        now: Mono,
        at: usize,
        origin: Origin,
        data: Vec<u8>,
        prefix: Option<u8>,
        answer: Reply,
        out: &mut Vec<Action>,
    ) {
        let answer = answer.bytes(prefix);
        self.send(at, &origin.answer(&answer), out);
        if let Some(live) = self.live.get_mut(at) {
            if live.answered.len() >= ANSWERED_MAX {
                live.answered.pop_front();
            }
            live.answered.push_back(Answered { at: now, origin, data, answer });
        }
    }

    /// Sends a packet of Serial over LAN in this session; nothing where that is over.
    pub fn sol(&mut self, session: u32, packet: &[u8], out: &mut Vec<Action>) {
        if let Some(at) = self.live.iter().position(|live| live.id == session) {
            if let Some(live) = self.live.get_mut(at) {
                live.has_console = true;
            }
            self.send_as(payload::SOL, at, packet, out);
        }
    }

    fn send(&mut self, at: usize, message: &[u8], out: &mut Vec<Action>) {
        self.send_as(payload::IPMI, at, message, out);
    }

    fn send_as(&mut self, kind: u8, at: usize, message: &[u8], out: &mut Vec<Action>) {
        let Some(vector) = self.random::<BLOCK>() else { return };
        let Some(live) = self.live.get_mut(at) else { return };
        live.sent = live.sent.checked_add(1).unwrap_or(1);
        let data = live.keys.encrypt(&vector, message);
        let bytes = packet::sealed(kind, live.remote, live.sent, &data, |proved| live.keys.code(proved));
        out.push(Action::Send(live.from, bytes));
    }

    /// §22.18.
    fn set_privilege(&mut self, at: usize, data: &[u8]) -> Result<Vec<u8>, Completion> {
        let live = self.live.get_mut(at).ok_or(Completion::UNSPECIFIED)?;
        match data.first().map(|wanted| wanted & 0xf) {
            // Only asks.
            Some(0) => {}
            Some(wanted) => {
                // 80h: there is no such level here; 81h: it is beyond the user's.
                let level = Level::of(wanted).ok_or(Completion(0x80))?;
                if level > live.limit {
                    return Err(Completion(0x81));
                }
                live.level = level;
            }
            None => return Err(Completion::LENGTH),
        }
        Ok(vec![live.level as u8])
    }

    /// §22.19: one's own; that of another, as administrator.
    fn close(&self, at: usize, data: &[u8]) -> Result<u32, Completion> {
        let own = self.live.get(at).ok_or(Completion::UNSPECIFIED)?;
        let mut bytes = Bytes::new(data);
        let id = bytes.u32().ok_or(Completion::LENGTH)?;
        let found = match (id, bytes.u8()) {
            (0, Some(handle)) => {
                self.live.iter().find(|live| live.handle == handle).ok_or(Completion(0x88))?
            }
            (0, None) | (_, Some(_)) => return Err(Completion::LENGTH),
            (id, None) => self.live.iter().find(|live| live.id == id).ok_or(Completion(0x87))?,
        };
        if found.id != own.id && own.level < Level::Administrator {
            return Err(Completion::PRIVILEGE);
        }
        Ok(found.id)
    }

    /// §22.20.
    fn session_info(&self, at: usize, data: &[u8]) -> Result<Vec<u8>, Completion> {
        let own = self.live.get(at).ok_or(Completion::UNSPECIFIED)?;
        let mut bytes = Bytes::new(data);
        let which = bytes.u8().ok_or(Completion::LENGTH)?;
        let found = match (which, bytes.len()) {
            (0x00, 0) => Some(own),
            (0xfe, 1) => self.live.iter().find(|live| bytes.u8() == Some(live.handle)),
            (0xff, 4) => {
                let id = bytes.u32();
                self.live.iter().find(|live| id == Some(live.id))
            }
            (0xfe | 0xff, _) | (_, 1..) => return Err(Completion::LENGTH),
            (index, _) => self.live.get(usize::from(index) - 1),
        };
        // An unknown number of a session is an error; one beyond the last is the end of a list (table 22-25).
        if found.is_none() && which >= 0xfe {
            return Err(Completion::NOT_PRESENT);
        }
        let count = u8::try_from(self.live.len()).unwrap_or(u8::MAX);
        let mut out = vec![found.map_or(0, |live| live.handle), self.config.sessions, count];
        if let Some(live) = found {
            // RMCP+ (1) on the channel of the network.
            out.extend([live.number, live.level as u8, 1 << 4 | CHANNEL]);
            let address = match live.from.ip().to_canonical() {
                IpAddr::V4(v4) => v4.octets(),
                // It has no room for the other kind.
                IpAddr::V6(_) => [0; 4],
            };
            out.extend(address);
            out.extend([0; 6]);
            out.extend(live.from.port().to_le_bytes());
        }
        Ok(out)
    }
}

/// So many at once, and in each second.
fn a_second(rate: u32) -> Allowance {
    Allowance::new(rate, rate, Millis::from_secs(1))
}

/// An answer of RAKP once more, with the tag of who asks now.
fn again(to: Path, kind: u8, tag: u8, answer: &[u8]) -> Action {
    let answer = [&[tag], answer.get(1..).unwrap_or_default()].concat();
    Action::Send(to, packet::setup(kind, &answer))
}

impl Rakp1 {
    /// Role, length of the name, name: what all codes of RAKP end with.
    fn extend_with_who(&self, out: &mut Vec<u8>) {
        out.extend([self.role, u8::try_from(self.name.len()).unwrap_or(u8::MAX)]);
        out.extend_from_slice(&self.name);
    }

    fn username(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
