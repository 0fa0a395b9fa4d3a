//! Every BMC of a fleet at once, through the NATS server they are connected to.
//!
//! ```text
//!   bucket `ubmc` (cards) ───────────► who should answer ─┐
//!   ubmc.all.rpc.<Service>.<Method> ─► who does answer ───┴─► a line for each, the silent ones among them
//! ```
//!
//! A partial answer is shown as one: a BMC that has a card and says nothing is listed, and the exit code tells.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use async_nats::{ConnectOptions, HeaderMap, Message, ServerAddr};
use base64::Engine as _;
use futures_util::StreamExt as _;
use prost::Message as _;
use schema::rpc::host_service;
use schema::v1alpha1::{
    ChangeHostStateRequest, Host, HostAction, HostStatus, ListHostsRequest, ListHostsResponse,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cli::{Fleet, FleetAction, FleetCommand, Global};
use crate::failure::Failure;
use crate::output::{Format, Output, Table, note};
use crate::prompt;
use crate::text::enum_word;

/// Bucket in which each BMC keeps its card.
const CARDS: &str = "ubmc";

/// What a BMC says about itself; what this program does not know of it is passed over.
#[derive(Debug, Clone, Default, Deserialize)]
struct Card {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    at: u64,
    #[serde(default)]
    hosts: Vec<HostLine>,
}

/// One host in a line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HostLine {
    name: String,
    status: String,
}

/// One BMC in the answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    id: String,
    name: String,
    version: String,
    /// Whether it answered just now.
    answered: bool,
    /// What it answered instead of doing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// From its answer, or from its card when it did not answer: then it is old news.
    hosts: Vec<HostLine>,
    /// Seconds since its card was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    card_age_s: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Answer {
    bmcs: Vec<Line>,
    answered: usize,
    silent: usize,
    failed: usize,
}

/// Runs a `fleet` command.
pub(crate) async fn run(global: &Global, fleet: Fleet, output: Output) -> Result<(), Failure> {
    let changes = match &fleet.command {
        FleetCommand::Power { bmc, all: false, .. } if bmc.is_empty() => {
            return Err(Failure::Usage("which BMCs? Name them with --bmc ID, or say --all".into()));
        }
        FleetCommand::Power { .. } => true,
        FleetCommand::Ls | FleetCommand::Get { .. } => false,
    };
    let address = address(&fleet.nats)?;
    let account = account(global);
    keep_secret(&address, &fleet, account.is_some())?;
    // What was meant for one BMC, in the environment perhaps, goes to all of them: that is said before it does.
    if changes || account.is_some() {
        let whom = account
            .map_or("with the role each BMC gives the fleet".to_owned(), |(user, _)| format!("as {user}"));
        note(&format!("fleet: {} {whom}", shown(&address)));
    }
    let link = Link::open(global, &fleet, &address).await?;
    let cards = link.cards(global.timeout).await;
    if !cards.complete {
        note(
            "the list of cards could not be read to its end: a BMC that does not answer may be missing here",
        );
    }
    match fleet.command {
        FleetCommand::Ls => {
            let answer = link.hosts(&[], &cards).await?;
            show(&answer, output)
        }
        FleetCommand::Get { ids } => {
            let answer = link.hosts(&ids, &cards).await?;
            show(&answer, output)?;
            unless_complete(&answer)
        }
        FleetCommand::Power { action, bmc, all, host } => {
            let request = ChangeHostStateRequest { host_name: host, action: wire_action(action).into() };
            // Whoever acts or refuses has to be seen, with a card or without: nobody's time is cut short.
            let patience = if all { Patience::All } else { Patience::Known };
            let method = host_service::CHANGE_HOST_STATE.subject;
            let asked = link.ask(method, &request.encode_to_vec(), &bmc, &cards, patience).await?;
            let answer = lines(asked, &cards.cards, |_| Some(Vec::new()));
            show(&answer, output)?;
            if all && !cards.complete {
                return Err(Failure::Wait(
                    "who did not answer is not known: the cards could not be read".into(),
                ));
            }
            unless_complete(&answer)
        }
    }
}

/// Credentials of an account that is the same on every BMC; without them the BMCs act with their `fleet.role`.
fn account(global: &Global) -> Option<(&str, &Path)> {
    global.user.as_deref().zip(global.password_file.as_deref())
}

/// The server's address. The text may hold a password and is not repeated.
fn address(text: &str) -> Result<ServerAddr, Failure> {
    text.parse().map_err(|_| Failure::Usage("--nats is no server: write tls://host[:port]".into()))
}

/// The address without what may be secret in it.
fn shown(address: &ServerAddr) -> String {
    let host = address.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{}://{host}:{}", address.scheme(), address.port())
}

/// Whether what is said there is encrypted, whatever the server, or somebody in its place, says.
fn is_encrypted(address: &ServerAddr) -> bool {
    matches!(address.scheme(), "tls" | "wss")
}

/// Refuses to send a password where others read it. `account`: one of the BMCs' is sent.
fn keep_secret(address: &ServerAddr, fleet: &Fleet, account: bool) -> Result<(), Failure> {
    let host = address.host();
    let stays_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_encrypted(address) || stays_here || fleet.nats_plain {
        return Ok(());
    }
    let whose = if account {
        "of --user (or UBMC_USER)"
    } else if fleet.nats_user.is_some() || address.has_user_pass() {
        "for the NATS server"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(format!(
        "{} is not encrypted, and whoever is in between would read the password {whose}: write tls://, or accept it with --nats-plain",
        shown(address)
    )))
}

fn wire_action(action: FleetAction) -> HostAction {
    match action {
        FleetAction::On => HostAction::On,
        FleetAction::Off => HostAction::Off,
        FleetAction::ForceOff => HostAction::ForceOff,
        FleetAction::Restart => HostAction::Reboot,
        FleetAction::ForceRestart => HostAction::ForceRestart,
        FleetAction::Cycle => HostAction::PowerCycle,
    }
}

/// Whom there is to hear from.
#[derive(Debug)]
struct Cards {
    cards: BTreeMap<String, Card>,
    /// False when the list broke off: there may be more.
    complete: bool,
}

/// How long answers are waited for, within the time there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until those who were named have answered.
    Known,
    /// Until those with a card have answered and nobody else has for [`GRACE`].
    Grace,
    /// All the time there is: one without a card may answer.
    All,
}

/// Those without a card answer about when the others do.
const GRACE: Duration = Duration::from_millis(500);

impl Patience {
    /// Until when, with the last answer at `last`; `None` for all the time there is. Without cards nobody knows who is still to come.
    fn until(self, said: &Said, complete: bool, last: Instant) -> Option<Instant> {
        let all_here = !said.is_empty() && said.values().all(Option::is_some);
        match self {
            Self::Known => all_here.then_some(last),
            Self::Grace => (all_here && complete).then(|| last + GRACE),
            Self::All => None,
        }
    }
}

/// The connection to the fleet's server.
struct Link {
    nats: async_nats::Client,
    headers: HeaderMap,
    wait: Duration,
}

/// What each asked BMC said: its payload, its refusal, or nothing.
type Said = BTreeMap<String, Option<Result<Vec<u8>, String>>>;

impl Link {
    async fn open(global: &Global, fleet: &Fleet, address: &ServerAddr) -> Result<Self, Failure> {
        let unreachable = |cause: String| Failure::Unreachable { server: shown(address), cause };
        let mut options = match (&fleet.nats_user, &fleet.creds) {
            (Some(user), _) => {
                let file = fleet
                    .nats_password_file
                    .as_deref()
                    .ok_or_else(|| Failure::Usage("--nats-user needs --nats-password-file".into()))?;
                ConnectOptions::with_user_and_password(user.clone(), prompt::secret_from(file).await?)
            }
            (None, Some(file)) => ConnectOptions::with_credentials_file(file)
                .await
                .map_err(|error| Failure::Local(format!("{}: {error}", file.display())))?,
            (None, None) => ConnectOptions::new(),
        };
        if let Some(ca) = &fleet.nats_ca {
            options = options.add_root_certificates(ca.clone());
        }
        let nats = options
            .name("ubmcctl")
            .connection_timeout(global.timeout)
            // Of the servers this one names, too.
            .require_tls(address.tls_required())
            .connect(address.clone())
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut headers = HeaderMap::new();
        if let Some((user, file)) = account(global) {
            let pair = format!("{user}:{}", prompt::secret_from(file).await?);
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            headers.insert("Authorization", format!("Basic {pair}"));
        }
        Ok(Self { nats, headers, wait: fleet.wait })
    }

    /// The cards there are, read within `limit`; none where the server keeps no streams.
    async fn cards(&self, limit: Duration) -> Cards {
        let mut cards = BTreeMap::new();
        let read = async {
            let store = match jetstream::new(self.nats.clone()).get_key_value(CARDS).await {
                Ok(store) => store,
                Err(error) => return are_none(&error),
            };
            let Ok(mut keys) = store.keys().await else { return false };
            while let Some(id) = keys.next().await {
                let Ok(id) = id else { return false };
                match store.get(id.as_str()).await {
                    // A card that cannot be read is a card: its BMC is expected to answer.
                    Ok(Some(value)) => {
                        drop(cards.insert(id, serde_json::from_slice(&value).unwrap_or_default()))
                    }
                    Ok(None) => {}
                    Err(_) => return false,
                }
            }
            true
        };
        let complete = tokio::time::timeout(limit, read).await.unwrap_or(false);
        Cards { cards, complete }
    }

    async fn hosts(&self, ids: &[String], cards: &Cards) -> Result<Answer, Failure> {
        let request = ListHostsRequest::default().encode_to_vec();
        let patience = if ids.is_empty() { Patience::Grace } else { Patience::Known };
        let asked = self.ask(host_service::LIST_HOSTS.subject, &request, ids, cards, patience).await?;
        Ok(lines(asked, &cards.cards, |payload| {
            Some(ListHostsResponse::decode(payload).ok()?.hosts.iter().map(host_line).collect())
        }))
    }

    /// Asks the BMCs named, or all, and gathers what comes, as long as `patience` says and not longer than the time there is.
    async fn ask(
        &self,
        method: &str,
        payload: &[u8],
        ids: &[String],
        cards: &Cards,
        patience: Patience,
    ) -> Result<Said, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Unreachable {
            server: "the fleet's NATS server".into(),
            cause: error.to_string(),
        };
        let inbox = self.nats.new_inbox();
        let mut replies = self.nats.subscribe(inbox.clone()).await.map_err(|error| broken(&error))?;
        let mut said: Said = if ids.is_empty() {
            cards.cards.keys().map(|id| (id.clone(), None)).collect()
        } else {
            ids.iter().map(|id| (id.clone(), None)).collect()
        };
        let whom: Vec<&str> =
            if ids.is_empty() { vec!["all"] } else { ids.iter().map(String::as_str).collect() };
        for id in &whom {
            let subject = format!("ubmc.{id}.{method}");
            self.nats
                .publish_with_reply_and_headers(
                    subject,
                    inbox.clone(),
                    self.headers.clone(),
                    payload.to_vec().into(),
                )
                .await
                .map_err(|error| broken(&error))?;
        }
        let until = Instant::now() + self.wait;
        let mut last = Instant::now();
        loop {
            let until = until.min(patience.until(&said, cards.complete, last).unwrap_or(until));
            let Ok(Some(message)) = tokio::time::timeout_at(until, replies.next()).await else { break };
            last = Instant::now();
            if let Some((id, outcome)) = outcome(&message) {
                said.insert(id, Some(outcome));
            }
        }
        Ok(said)
    }
}

/// Who answered, and what. "No responders" is nobody's answer.
fn outcome(message: &Message) -> Option<(String, Result<Vec<u8>, String>)> {
    let headers = message.headers.as_ref()?;
    let id = headers.get("Ubmc-Id")?.as_str().to_string();
    if headers.get("Grpc-Status").is_none() {
        return Some((id, Ok(message.payload.to_vec())));
    }
    let status = schema::google::rpc::Status::decode(message.payload.clone()).unwrap_or_default();
    Some((id, Err(status.message)))
}

/// Whether the server says that there are no cards. One that does not answer, or may not, says nothing.
fn are_none(error: &(dyn std::error::Error + 'static)) -> bool {
    use jetstream::ErrorCode;
    use jetstream::context::{GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        if let Some(error) = error.downcast_ref::<GetStreamError>()
            && let GetStreamErrorKind::JetStream(error) = error.kind()
        {
            let none = [
                ErrorCode::STREAM_NOT_FOUND,
                ErrorCode::JETSTREAM_NOT_ENABLED,
                ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
            ];
            return none.contains(&error.error_code());
        }
        // A server without streams has nobody who hears the question.
        error
            .downcast_ref::<RequestError>()
            .is_some_and(|error| error.kind() == RequestErrorKind::NoResponders)
    })
}

fn host_line(host: &Host) -> HostLine {
    let status = host.status.and_then(|s| HostStatus::try_from(s).ok()).unwrap_or_default();
    HostLine { name: host.name.clone(), status: status.as_str_name().into() }
}

fn lines(
    said: Said,
    cards: &BTreeMap<String, Card>,
    hosts: impl Fn(&[u8]) -> Option<Vec<HostLine>>,
) -> Answer {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut answered, mut silent, mut failed) = (0, 0, 0);
    let bmcs = said
        .into_iter()
        .map(|(id, said)| {
            let card = cards.get(&id);
            let (from_answer, error) = match &said {
                None => {
                    silent += 1;
                    (None, None)
                }
                Some(Err(why)) => {
                    failed += 1;
                    (None, Some(why.clone()))
                }
                Some(Ok(payload)) => {
                    answered += 1;
                    (hosts(payload), None)
                }
            };
            Line {
                name: card.map(|card| card.name.clone()).unwrap_or_default(),
                version: card.map(|card| card.version.clone()).unwrap_or_default(),
                answered: said.is_some(),
                error,
                hosts: from_answer
                    .filter(|hosts| !hosts.is_empty())
                    .or_else(|| card.map(|card| card.hosts.clone()))
                    .unwrap_or_default(),
                card_age_s: card.map(|card| now.saturating_sub(card.at)),
                id,
            }
        })
        .collect();
    Answer { bmcs, answered, silent, failed }
}

fn show(answer: &Answer, output: Output) -> Result<(), Failure> {
    if output.format == Format::Json {
        let value = serde_json::to_value(answer).map_err(|error| Failure::Local(error.to_string()))?;
        return output.value(&value);
    }
    let mut table = Table::new(&["BMC", "NAME", "VERSION", "ANSWER", "HOSTS", "LAST CARD"])
        .empty("no BMC has a card and none answered; is fleet.nats.url set on them?");
    for line in &answer.bmcs {
        let hosts: Vec<String> = line
            .hosts
            .iter()
            .map(|h| format!("{} {}", h.name, enum_word(&h.status, "HOST_STATUS_")))
            .collect();
        let said = match (&line.error, line.answered) {
            (Some(why), _) => format!("refused: {why}"),
            (None, true) => "ok".into(),
            (None, false) => "no answer".into(),
        };
        table.row([
            line.id.clone(),
            line.name.clone(),
            line.version.clone(),
            said,
            hosts.join(", "),
            line.card_age_s.map(|age| format!("{age} s ago")).unwrap_or_default(),
        ]);
    }
    output.table(&table)?;
    if answer.silent > 0 {
        note(&format!(
            "{} of {} did not answer; what is shown of them is from their last card",
            answer.silent,
            answer.bmcs.len()
        ));
    }
    Ok(())
}

/// An answer that lacks somebody is a failure for a script.
fn unless_complete(answer: &Answer) -> Result<(), Failure> {
    if answer.silent == 0 && answer.failed == 0 {
        return Ok(());
    }
    Err(Failure::Wait(format!(
        "{} answered, {} refused, {} did not answer",
        answer.answered, answer.failed, answer.silent
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_says_so_has_no_cards() {
        use jetstream::context::{
            GetStreamError, GetStreamErrorKind, KeyValueError, KeyValueErrorKind, RequestError,
            RequestErrorKind,
        };
        let asked = |kind| {
            let error = GetStreamError::with_source(GetStreamErrorKind::Request, RequestError::new(kind));
            are_none(&KeyValueError::with_source(KeyValueErrorKind::GetBucket, error))
        };
        assert!(asked(RequestErrorKind::NoResponders));
        assert!(!asked(RequestErrorKind::TimedOut) && !asked(RequestErrorKind::Other));
        let answered = |code: u64| {
            let error = serde_json::json!({"code": 404, "err_code": code, "description": ""});
            let error = serde_json::from_value(error).expect("an error");
            let error = GetStreamError::new(GetStreamErrorKind::JetStream(error));
            are_none(&KeyValueError::with_source(KeyValueErrorKind::GetBucket, error))
        };
        assert!(answered(10_059) && answered(10_076));
        assert!(!answered(10_008), "a cluster without a leader");
    }

    #[test]
    fn with_all_asked_one_without_a_card_is_waited_for() {
        let now = Instant::now();
        let open: Said = [("a".to_string(), None), ("b".to_string(), Some(Ok(Vec::new())))].into();
        let here: Said = [("a".to_string(), Some(Ok(Vec::new())))].into();
        for (patience, complete, said, until) in [
            (Patience::Known, true, &open, None),
            (Patience::Known, false, &here, Some(now)),
            (Patience::Grace, true, &open, None),
            (Patience::Grace, true, &here, Some(now + GRACE)),
            (Patience::Grace, false, &here, None),
            (Patience::Grace, true, &Said::new(), None),
            (Patience::All, true, &here, None),
        ] {
            assert_eq!(patience.until(said, complete, now), until, "{patience:?} {complete}");
        }
    }

    #[test]
    fn a_password_goes_where_nobody_else_reads_it() {
        use clap::Parser as _;
        let refused = |options: &str, account: bool| {
            let line = format!("ubmcctl fleet {options} ls");
            let cli = crate::cli::Cli::try_parse_from(line.split_whitespace()).unwrap();
            let crate::cli::Command::Fleet(fleet) = cli.command else { panic!("{options}") };
            let refused = keep_secret(&address(&fleet.nats).unwrap(), &fleet, account).err()?;
            Some(format!("{refused:?}"))
        };
        for options in [
            "--nats tls://fleet.example",
            "--nats wss://fleet.example",
            "--nats nats://127.0.0.1:4222",
            "--nats nats://[::1]",
            "--nats localhost",
            "--nats nats://fleet.example --nats-plain",
        ] {
            let with_user = format!("{options} --nats-user ann --nats-password-file x");
            assert_eq!((refused(options, true), refused(&with_user, false)), (None, None), "{options}");
        }
        for server in ["nats://fleet.example", "fleet.example:4222", "ws://fleet.example", "192.0.2.1"] {
            let options = format!("--nats {server}");
            assert_eq!(refused(&options, false), None, "nothing is secret");
            assert!(refused(&options, true).unwrap().contains("UBMC_USER"), "{server}");
            let with_user = format!("{options} --nats-user ann --nats-password-file x");
            assert!(refused(&with_user, false).unwrap().contains("NATS"), "{server}");
        }
        let within = refused("--nats nats://ann:s3cret@fleet.example", false).unwrap();
        assert!(within.contains("nats://fleet.example:4222") && !within.contains("s3cret"), "{within}");
        assert!(
            address("http://s3cret@fleet.example")
                .is_err_and(|failure| !format!("{failure:?}").contains("s3cret"))
        );
        assert_eq!(shown(&address("tls://[fd00::1]:4443").unwrap()), "tls://[fd00::1]:4443");
    }

    #[test]
    fn the_silent_are_listed_with_what_their_card_says() {
        let card = Card {
            name: "rack7".into(),
            version: "1".into(),
            at: 0,
            hosts: vec![HostLine { name: "system".into(), status: "HOST_STATUS_ON".into() }],
        };
        let cards: BTreeMap<String, Card> = [("a".to_string(), card.clone()), ("b".to_string(), card)].into();
        let said: Said = [
            ("a".to_string(), None),
            ("b".to_string(), Some(Err("the host is off".to_string()))),
            ("c".to_string(), Some(Ok(Vec::new()))),
        ]
        .into();
        let answer = lines(said, &cards, |_| Some(Vec::new()));
        assert_eq!((answer.answered, answer.failed, answer.silent), (1, 1, 1));
        assert_eq!(answer.bmcs[0].hosts[0].status, "HOST_STATUS_ON");
        assert!(!answer.bmcs[0].answered && answer.bmcs[1].answered);
        assert_eq!(answer.bmcs[1].error.as_deref(), Some("the host is off"));
        assert!(unless_complete(&answer).is_err());
    }
}
