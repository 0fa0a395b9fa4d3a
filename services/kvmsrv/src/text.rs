//! Text that is typed at a host as keys, for who asks for that instead of pressing them. It ends when it is stopped, when its author presses a key or gives the
//! keyboard back, when another takes over, and when something about the author's account changes.

use std::sync::Arc;
use std::time::Duration;

use hid::Layout;
use ipc::Status;
use rfb::Input;
use schema::v1alpha1 as v1;

use crate::desk::{Desk, Look};

/// How long a simulated host's screen may take for its first picture, where nobody looks yet: its host takes keys with its display.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// Between two keys that go down or up: a host's old keyboard port holds eight of them, and is read when its system has time.
const EACH: Duration = Duration::from_millis(10);

/// The layout that is meant.
pub(crate) const fn layout(wire: v1::KeyboardLayout) -> Layout {
    match wire {
        v1::KeyboardLayout::Unspecified | v1::KeyboardLayout::Us => Layout::Us,
        v1::KeyboardLayout::Gb => Layout::Gb,
        v1::KeyboardLayout::De => Layout::De,
    }
}

/// Begins to type a text for this account; how many characters it has. A simulated host's screen is captured for as long as that takes, so that it needs nobody
/// who looks: its keys go by the connection that its pictures come by.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is on no key, `FAILED_PRECONDITION` while another has the keyboard or there is no host, `RESOURCE_EXHAUSTED` while another text
/// is being typed, `ABORTED` if it is stopped before its first key. Nothing is typed then.
pub(crate) async fn begin(
    desk: &Arc<Desk>,
    account: &str,
    layout: Layout,
    text: &str,
) -> Result<u32, Status> {
    let inputs =
        hid::strokes(layout, text).map_err(|untypable| Status::about_field("text", untypable.to_string()))?;
    desk.may_have_keyboard(account)?;
    let Ok(turn) = Arc::clone(&desk.texts).try_acquire_owned() else {
        let text = match Desk::text_holder(&desk.lock()).as_str() {
            "" => "another text is being typed there: ask again".to_owned(),
            who => format!("a text of {who} is being typed there: ask again, or stop it (`kvm stop`)"),
        };
        return Err(Status::resource_exhausted(text).with_reason("BUSY"));
    };
    let look = desk.source.takes_input().then(|| desk.look());
    // From here on it can be stopped.
    let id = desk.begin_text(account);
    if let Err(status) = until_typable(desk, look.as_ref(), account, id).await {
        desk.end_text(id);
        return Err(status);
    }
    let (desk, account) = (Arc::clone(desk), account.to_owned());
    tokio::spawn(async move {
        paste(&desk, id, &account, inputs).await;
        desk.end_text(id);
        // What is down is released before the capture ends.
        drop(look);
        drop(turn);
    });
    Ok(u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

/// Returns when the host takes this text.
async fn until_typable(desk: &Desk, look: Option<&Look>, account: &str, id: u64) -> Result<(), Status> {
    if let Some(look) = look {
        let shown = tokio::time::timeout(SHOWN_WITHIN, look.shown()).await;
        shown.unwrap_or_else(|_| Err("no picture came".to_owned())).map_err(|why| {
            Status::failed_precondition(format!("there is no host to take it: {why}")).with_reason("NO_HOST")
        })?;
    }
    desk.may_paste(account)?;
    if desk.is_begun(id) { Ok(()) } else { Err(Status::aborted("it was stopped before its first key")) }
}

async fn paste(desk: &Desk, id: u64, account: &str, inputs: Vec<Input>) {
    let mut every = tokio::time::interval(EACH);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut held: Vec<(u32, Option<u32>)> = Vec::new();
    for input in inputs {
        every.tick().await;
        if !desk.paste(id, account, input) {
            break;
        }
        if let Input::Key { down, keysym, code } = input {
            held.retain(|key| *key != (keysym, code));
            if down {
                held.push((keysym, code));
            }
        }
    }
    // It was ended in between.
    for (keysym, code) in held {
        desk.unpaste(Input::Key { down: false, keysym, code });
    }
}
