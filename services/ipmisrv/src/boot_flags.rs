//! What is kept of the system boot options beside the override that the machine's owner keeps, and how long boot flags are valid.

use model::Snapshot;
use prost::Message as _;
use prost_types::FieldMask;
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

/// Boot flags of a client that sends no Chassis Control within so long are not valid any more (parameter 3, bit 3).
const VALID_FOR: Millis = Millis::from_secs(60);
/// Pause before the machine's owner is asked again, who did not answer.
const AGAIN: Millis = Millis::from_secs(5);
/// Blocks of the mailbox (parameter 7), and bytes of one.
const BLOCKS: usize = 5;
const BLOCK: usize = 16;

/// An override that a client has set, until the machine is asked to do something.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    host: String,
    /// The override's, so that none is taken back that somebody has set since.
    id: String,
    until: Mono,
}

/// What is kept here.
#[derive(Debug, Default)]
pub(crate) struct BootOptions {
    /// The session that says that it is setting them.
    pub(crate) setter: Option<u32>,
    pub(crate) partition: u8,
    pub(crate) outlasts: bool,
    pub(crate) acknowledged: u8,
    pub(crate) initiator: [u8; 9],
    pub(crate) mailbox: [[u8; BLOCK]; BLOCKS],
    waiting: Option<Waiting>,
    /// What the machine's owner is asked to take back, until it has said something.
    asked: Option<(String, String)>,
}

impl BootOptions {
    /// A session is over.
    pub(crate) fn ended(&mut self, session: u32) {
        self.setter = self.setter.filter(|setter| *setter != session);
    }

    /// Boot flags were set: the machine's owner calls its override so.
    pub(crate) fn set(&mut self, now: Mono, host: String, id: String) {
        self.waiting = (!self.outlasts).then(|| Waiting { host, id, until: now.saturating_add(VALID_FOR) });
    }

    /// Whether flags outlast a client that sends no Chassis Control.
    pub(crate) fn outlast(&mut self, outlasts: bool) {
        self.outlasts = outlasts;
        if outlasts {
            self.waiting = None;
        }
    }

    /// Chassis Control came: the time begins anew.
    pub(crate) fn controlled(&mut self, now: Mono) {
        if let Some(waiting) = &mut self.waiting {
            waiting.until = now.saturating_add(VALID_FOR);
        }
    }

    /// What was due is done, or is not to be any more.
    pub(crate) fn taken_back(&mut self) {
        self.asked = None;
    }

    /// The host and the id of the override that is to be taken back, unless its client says something.
    pub(crate) fn to_be_taken_back(&self) -> Option<(String, String)> {
        let waiting = self.waiting.as_ref().map(|waiting| (waiting.host.clone(), waiting.id.clone()));
        waiting.or_else(|| self.asked.clone())
    }

    /// What was due was not done: it is due again, unless other flags were set since.
    pub(crate) fn not_taken_back(&mut self, now: Mono, request: v1::UpdateHostRequest) {
        self.asked = None;
        let id = request.host.and_then(|host| host.boot_override).map(|wanted| wanted.id).unwrap_or_default();
        if self.waiting.is_none() && !self.outlasts {
            let until = now.saturating_add(AGAIN);
            self.waiting = Some(Waiting { host: request.host_name, id, until });
        }
    }

    /// When [`BootOptions::due`] is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.waiting.as_ref().map(|waiting| waiting.until)
    }

    /// What is to be asked of the machine's owner, when the flags are not valid any more. It refuses it where the override is another one by now.
    pub(crate) fn due(&mut self, now: Mono) -> Option<v1::UpdateHostRequest> {
        let waiting = self.waiting.take_if(|waiting| now >= waiting.until)?;
        self.asked = Some((waiting.host.clone(), waiting.id.clone()));
        let wanted = v1::BootOverride {
            enabled: v1::BootOverrideEnabled::Disabled.into(),
            id: waiting.id,
            ..v1::BootOverride::default()
        };
        Some(update(waiting.host, wanted, &["boot_override.enabled"]))
    }
}

/// The id of the override that this host is shown with.
pub(crate) fn shown(snapshot: &Snapshot, host: &str) -> Option<String> {
    let view = snapshot.hosts().get(host)?;
    view.value.boot_override.as_ref().map(|set| set.id.clone()).filter(|id| !id.is_empty())
}

/// That of the override which this answer is about.
pub(crate) fn set_by(answer: &[u8]) -> Option<String> {
    let host = v1::UpdateHostResponse::decode(answer).ok()?.host?;
    Some(host.boot_override.map(|set| set.id).unwrap_or_default())
}

/// An override of the machine's that is to be as this says in these fields.
pub(crate) fn update(host_name: String, wanted: v1::BootOverride, paths: &[&str]) -> v1::UpdateHostRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    v1::UpdateHostRequest {
        host_name,
        host: Some(v1::Host { boot_override: Some(wanted), ..v1::Host::default() }),
        field_mask: Some(FieldMask { paths }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn flags_are_valid_for_a_minute_after_the_last_sign_of_their_client() {
        let mut options = BootOptions::default();
        assert_eq!(options.deadline(), None);
        options.set(at(10), "system".to_owned(), "b1".to_owned());
        options.controlled(at(50));
        assert_eq!((options.deadline(), options.due(at(109))), (Some(at(110)), None));
        let request = options.due(at(110)).unwrap();
        assert_eq!(request.host_name, "system");
        let wanted = request.host.unwrap().boot_override.unwrap();
        assert_eq!((wanted.enabled(), wanted.id.as_str()), (v1::BootOverrideEnabled::Disabled, "b1"));
        assert_eq!((options.deadline(), options.due(at(999))), (None, None));
        // Its owner did not answer: once more, unless other flags were set meanwhile.
        let again = update("system".to_owned(), wanted, &[]);
        options.not_taken_back(at(110), again.clone());
        let request = options.due(at(115)).unwrap();
        assert_eq!(request.host.unwrap().boot_override.unwrap().id, "b1");
        options.set(at(116), "system".to_owned(), "b3".to_owned());
        options.not_taken_back(at(117), again);
        assert_eq!(options.deadline(), Some(at(176)));
        assert!(options.due(at(176)).is_some());
        // Parameter 3 says that they outlast that.
        options.outlasts = true;
        options.set(at(10), "system".to_owned(), "b2".to_owned());
        assert_eq!(options.deadline(), None);
    }
}
