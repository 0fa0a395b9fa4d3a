//! Sessions with viewers that speak RFB, and a guest that is a VNC server.

use std::path::Path;

use host_session::Opener;
use rfb::{Client, Rect, Screen};
use serial::Holder;
use serial::frame::{HEAD, encode};
use service::Clock;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;

use super::*;
use crate::origin::Source;
use crate::{source, text};

/// Somebody who looks with a viewer of RFB, over the frames of the socket.
struct Viewer {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    client: Client,
    screen: Screen,
    told: Vec<Notice>,
}

impl Viewer {
    async fn new(shared: &Arc<Shared>, account: &str, view_only: bool) -> Self {
        let pass = Pass {
            desk: 0,
            by: Opener {
                holder: Holder { account: account.to_owned(), is_administrator: false },
                address: String::new(),
                request_id: String::new(),
            },
            view_only,
            take_over: false,
            bytes_only: false,
        };
        let now = shared.clock.now();
        shared.tickets.lock().await.issue(account.to_owned(), account, pass, now);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = Arc::clone(shared);
        tokio::spawn(async move { serve(theirs, &served).await });
        let (from, to) = ours.into_split();
        let mut viewer = Self {
            from,
            to,
            client: Client::default(),
            screen: Screen::new(64, 64).unwrap(),
            told: Vec::new(),
        };
        viewer.to.write_all(&encode(Kind::Ticket, account.as_bytes())).await.unwrap();
        viewer
    }

    /// The next frame; whether the session goes on.
    async fn turn(&mut self) -> bool {
        let output = self.client.take_output();
        if !output.is_empty() {
            // Who ended the session reads no more; what it said before is still to be read.
            let _ = self.to.write_all(&encode(Kind::Data, &output)).await;
        }
        let mut bytes = [0; HEAD];
        if self.from.read_exact(&mut bytes).await.is_err() {
            return false;
        }
        let (kind, length) = serial::frame::head_within(bytes, PICTURE_MAX).unwrap();
        let mut payload = vec![0; length];
        self.from.read_exact(&mut payload).await.unwrap();
        match kind {
            Kind::Data => {
                let updates = self.client.updates();
                self.client.receive(&payload, &mut self.screen).unwrap();
                if self.client.updates() != updates {
                    self.client.request();
                }
            }
            Kind::Control => self.told.push(serde_json::from_slice(&payload).unwrap()),
            Kind::Ticket => panic!("a ticket"),
        }
        true
    }

    async fn shows(&mut self, wanted: impl Fn(&Screen) -> bool) {
        while !wanted(&self.screen) {
            assert!(self.turn().await, "the session has ended");
        }
    }

    async fn told(&mut self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        loop {
            if let Some(at) = self.told.iter().position(&wanted) {
                return self.told.drain(..=at).next_back().unwrap();
            }
            assert!(self.turn().await, "the session has ended");
        }
    }

    async fn writer(&mut self, wanted: &str) {
        self.told(|notice| matches!(notice, Notice::State { writer, .. } if writer == wanted)).await;
    }

    async fn refused(&mut self) -> String {
        match self.told(|notice| matches!(notice, Notice::Refused { .. })).await {
            Notice::Refused { reason } => reason,
            _ => unreachable!(),
        }
    }

    async fn open(&mut self) {
        while !self.client.is_open() {
            assert!(self.turn().await, "the session has ended");
        }
    }

    async fn input(&mut self, input: Input) {
        self.open().await;
        self.client.input(input);
        let output = self.client.take_output();
        self.to.write_all(&encode(Kind::Data, &output)).await.unwrap();
    }

    async fn key(&mut self, down: bool, keysym: u32) {
        self.input(key(down, keysym)).await;
    }

    async fn ask(&mut self, command: &str) {
        let said = format!(r#"{{"type":"{command}"}}"#);
        self.to.write_all(&encode(Kind::Control, said.as_bytes())).await.unwrap();
    }
}

impl Viewer {
    /// Bytes of a viewer of another make.
    async fn say(&mut self, bytes: &[u8]) {
        self.to.write_all(&encode(Kind::Data, bytes)).await.unwrap();
    }

    /// How many frames of RFB come until their bytes end with these.
    async fn frames_until(&mut self, end: &[u8]) -> usize {
        let (mut frames, mut bytes) = (0, Vec::<u8>::new());
        while !bytes.ends_with(end) {
            let (kind, payload) = self.frame().await;
            if kind == Kind::Data {
                frames += 1;
                bytes.extend(payload);
            }
        }
        frames
    }

    /// How many pictures it was sent.
    async fn sent(&mut self) -> u64 {
        self.to.write_all(&encode(Kind::Control, br#"{"type":"ping","at":7}"#)).await.unwrap();
        loop {
            let (kind, payload) = self.frame().await;
            if kind == Kind::Control
                && let Notice::Pong { sent, .. } = serde_json::from_slice(&payload).unwrap()
            {
                return sent;
            }
        }
    }

    async fn frame(&mut self) -> (Kind, Vec<u8>) {
        let mut bytes = [0; HEAD];
        self.from.read_exact(&mut bytes).await.unwrap();
        let (kind, length) = serial::frame::head_within(bytes, PICTURE_MAX).unwrap();
        let mut payload = vec![0; length];
        self.from.read_exact(&mut payload).await.unwrap();
        (kind, payload)
    }
}

const fn key(down: bool, keysym: u32) -> Input {
    Input::Key { down, keysym, code: None }
}

fn shared(source: Source) -> (Arc<Shared>, Arc<Desk>, mpsc::Receiver<SessionEvent>) {
    let clock = Clock::new();
    let desk = Arc::new(Desk::new("system", source, clock, &rfb::Room::new(0)).unwrap());
    let (tell, told) = mpsc::channel(64);
    let shared = Shared { desks: vec![Arc::clone(&desk)], tickets: Default::default(), tell, clock };
    (Arc::new(shared), desk, told)
}

/// What comes to the host next.
async fn next(desk: &Desk) -> Input {
    loop {
        if let Some(input) = desk.next_input() {
            return input;
        }
        desk.typed().await;
    }
}

#[tokio::test]
async fn one_types_another_takes_over_and_no_key_stays_down() {
    let (shared, desk, mut told) = shared(Source::Synthetic);
    desk.shown();
    let mut ann = Viewer::new(&shared, "ann", false).await;
    let mut bob = Viewer::new(&shared, "bob", false).await;
    // Who moves over the picture takes nothing; who presses does.
    ann.input(Input::Pointer { buttons: 0, x: 1, y: 1 }).await;
    ann.key(true, 65).await;
    ann.writer("ann").await;
    assert_eq!(next(&desk).await, key(true, 65));
    bob.key(true, 66).await;
    assert!(bob.refused().await.contains("ann has the keyboard"));
    bob.ask("take_over").await;
    bob.writer("bob").await;
    ann.told(|notice| matches!(notice, Notice::TakenOver { by } if by == "bob")).await;
    assert_eq!(next(&desk).await, key(false, 65), "what ann held down");
    bob.input(Input::Pointer { buttons: 1, x: 5, y: 6 }).await;
    assert_eq!(next(&desk).await, Input::Pointer { buttons: 1, x: 5, y: 6 });
    bob.key(true, 66).await;
    assert_eq!(next(&desk).await, key(true, 66));
    drop(bob);
    assert_eq!(next(&desk).await, key(false, 66), "what bob held down");
    assert_eq!(next(&desk).await, Input::Pointer { buttons: 0, x: 5, y: 6 });
    ann.writer("").await;
    let mut kinds = Vec::new();
    while !kinds.contains(&SessionEventKind::Closed) {
        kinds.push(told.recv().await.unwrap().what);
    }
    let count = |wanted: &SessionEventKind| kinds.iter().filter(|kind| *kind == wanted).count();
    let from = "ann".to_owned();
    assert_eq!((count(&SessionEventKind::Opened), count(&SessionEventKind::TookOver { from })), (2, 1));
    assert_eq!(count(&SessionEventKind::Input), 2, "both typed, and that is told of each");
}

#[tokio::test]
async fn who_only_looks_sees_and_never_types() {
    let (shared, desk, _told) = shared(Source::Synthetic);
    let served = Arc::clone(&desk);
    let source = tokio::spawn(async move { source::serve(&served).await });
    let mut eve = Viewer::new(&shared, "eve", true).await;
    eve.shows(|screen| screen.size() == (640, 480) && screen.row(0, 0, 1) == [0x00c0_c0c0]).await;
    eve.told(|notice| matches!(notice, Notice::State { may_write: false, connected: true, .. })).await;
    eve.key(true, 65).await;
    assert!(eve.refused().await.contains("reading only"));
    eve.ask("take_over").await;
    assert!(eve.refused().await.contains("reading only"));
    eve.ask("break").await;
    assert!(eve.refused().await.contains("no break"));
    // Nobody is left: nothing is captured.
    assert!(desk.lock().signal);
    drop(eve);
    let mut changes = desk.changes();
    while desk.lock().signal {
        changes.changed().await.unwrap();
    }
    assert_eq!(desk.lock().sessions.count(), 0);
    let look = desk.look();
    assert_eq!(look.screen().await.unwrap().row(0, 0, 1), [0x00c0_c0c0], "a picture is taken for who asks");
    drop(look);
    source.abort();
}

#[tokio::test]
async fn a_viewer_that_speaks_no_rfb_is_told_and_ended() {
    let (shared, _desk, _told) = shared(Source::Synthetic);
    let mut eve = Viewer::new(&shared, "eve", true).await;
    eve.to.write_all(&encode(Kind::Data, b"GET / HTTP/1.1\r\n")).await.unwrap();
    eve.told(|notice| matches!(notice, Notice::End { reason } if reason.contains("RFB"))).await;
    while eve.turn().await {}
    let mut late = Viewer::new(&shared, "late", true).await;
    late.open().await;
    late.to.write_all(&encode(Kind::Ticket, b"late")).await.unwrap();
    assert!(late.refused().await.contains("open already"));
}

#[tokio::test]
async fn a_viewer_that_asks_and_takes_nothing_is_over_at_once() {
    let (shared, desk, _told) = shared(Source::Synthetic);
    desk.shown();
    let mut eve = Viewer::new(&shared, "eve", false).await;
    eve.key(true, 65).await;
    eve.writer("eve").await;
    assert_eq!(next(&desk).await, key(true, 65));
    // Fences that are to come back, and are never read.
    let mut fence = vec![248, 0, 0, 0, 0x80, 0, 0, 0, 64];
    fence.extend([7; 64]);
    let frame = encode(Kind::Data, &fence.repeat(50));
    let mut changes = desk.changes();
    while desk.lock().sessions.count() > 0 {
        if eve.to.write_all(&frame).await.is_err() {
            break;
        }
    }
    while desk.lock().sessions.count() > 0 {
        changes.changed().await.unwrap();
    }
    assert_eq!(next(&desk).await, key(false, 65), "what it held down");
}

/// The next press of a text.
async fn until_typed(desk: &Desk) {
    while !matches!(next(desk).await, Input::Key { down: true, .. }) {}
}

/// Takes what comes of a text until it ends: how many keys.
async fn rest(desk: &Desk) -> usize {
    let (mut changes, mut keys) = (desk.changes(), 0);
    while !Desk::text_holder(&desk.lock()).is_empty() || desk.texts.available_permits() == 0 {
        while desk.next_input().is_some() {
            keys += 1;
        }
        tokio::select! {
            () = desk.typed() => {}
            changed = changes.changed() => changed.unwrap(),
        }
        tokio::task::yield_now().await;
    }
    while desk.next_input().is_some() {}
    keys
}

#[tokio::test]
async fn a_text_is_stopped_by_a_key_by_asking_and_by_giving_back() {
    let (shared, desk, _told) = shared(Source::Synthetic);
    desk.shown();
    let long = "A".repeat(1000);
    let begin = || text::begin(&desk, "ann", hid::Layout::Us, &long);
    let mut ann = Viewer::new(&shared, "ann", false).await;
    ann.open().await;
    for stop in 0..4 {
        begin().await.unwrap();
        until_typed(&desk).await;
        assert!(begin().await.is_err(), "one at a time");
        match stop {
            0 => ann.key(true, 65).await,
            1 => assert_eq!(desk.stop_text(|account| account == "bob"), None, "that is another's"),
            2 => ann.ask("release").await,
            _ => {}
        }
        if stop % 2 == 1 {
            assert_eq!(desk.stop_text(|account| account == "ann").as_deref(), Some("ann"));
        }
        let keys = rest(&desk).await;
        assert!(keys < 1000, "{stop}: {keys}");
    }
    // A key of somebody else is refused, and stops nothing.
    begin().await.unwrap();
    until_typed(&desk).await;
    assert_eq!(Desk::text_holder(&desk.lock()), "ann");
}

#[tokio::test]
async fn who_comes_and_goes_all_the_time_is_told_once_he_stays() {
    let (shared, _desk, mut told) = shared(Source::Synthetic);
    for _ in 0..12 {
        let mut eve = Viewer::new(&shared, "eve", true).await;
        eve.open().await;
    }
    let mut eve = Viewer::new(&shared, "eve", true).await;
    eve.open().await;
    tokio::time::pause();
    // All are told or counted, once the one that stays is told.
    let (mut events, mut known) = (0, 0);
    while known < 13 {
        let event = told.recv().await.unwrap();
        if event.what == SessionEventKind::Opened {
            events += 1;
            known += 1 + event.untold;
        }
    }
    assert_eq!(known, 13);
    assert!((11..=12).contains(&events), "ten at once and the one that stays: {events}");
}

#[tokio::test]
async fn that_an_account_types_is_no_event_for_each_session() {
    let (shared, desk, mut told) = shared(Source::Synthetic);
    desk.shown();
    for _ in 0..20 {
        let mut ann = Viewer::new(&shared, "ann", false).await;
        ann.key(true, 65).await;
        ann.writer("ann").await;
        drop(ann);
        while desk.lock().sessions.count() > 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut events = 0;
    while let Ok(event) = told.try_recv() {
        events += u32::from(event.what != SessionEventKind::Closed);
    }
    // Of forty; one more on a machine that takes 10 s for them.
    assert!((10..=12).contains(&events), "{events}");
}

/// A guest's VNC server: what is on its screen, and what is typed there.
struct Guest {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    server: Server,
    screen: Screen,
    deflater: rfb::Deflater,
    typed: Vec<Input>,
}

impl Guest {
    async fn accept(listener: &UnixListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let (from, to) = stream.into_split();
        let screen = Screen::new(720, 400).unwrap();
        Self {
            from,
            to,
            server: Server::new("guest"),
            screen,
            deflater: rfb::Deflater::default(),
            typed: Vec::new(),
        }
    }

    /// Whether the connection goes on.
    async fn turn(&mut self) -> bool {
        self.server.update(&self.screen, &mut self.deflater).unwrap();
        let output = self.server.take_output();
        if self.to.write_all(&output).await.is_err() {
            return false;
        }
        let mut bytes = [0; 4096];
        let count = self.from.read(&mut bytes).await.unwrap_or(0);
        let mut events = Vec::new();
        self.server.receive(&bytes[..count], &self.screen, &mut events).unwrap();
        self.typed.extend(events.into_iter().filter_map(|event| match event {
            Event::Input(input) => Some(input),
            _ => None,
        }));
        count > 0
    }

    async fn serve(&mut self) {
        while self.turn().await {}
    }

    async fn typed(&mut self, wanted: Input) {
        while !self.typed.contains(&wanted) {
            assert!(self.turn().await, "the connection has ended");
        }
    }
}

fn guest_socket(folder: &Path) -> (std::path::PathBuf, UnixListener) {
    let path = folder.join("guest-system.vnc");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    (path, listener)
}

#[tokio::test]
async fn a_guest_is_seen_and_typed_at_and_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, listener) = guest_socket(folder.path());
    let (shared, desk, _told) = shared(Source::Qemu(path.clone()));
    let served = Arc::clone(&desk);
    let source = tokio::spawn(async move { source::serve(&served).await });
    let mut ann = Viewer::new(&shared, "ann", false).await;
    let mut guest = Guest::accept(&listener).await;
    guest.screen.draw(Rect { x: 700, y: 399, width: 1, height: 1 }, &[0x0012_3456]);
    tokio::select! {
        () = guest.serve() => panic!("the connection has ended"),
        () = ann.shows(|screen| screen.row(399, 700, 1) == [0x0012_3456]) => {}
    }
    ann.input(Input::Key { down: true, keysym: 65, code: Some(30) }).await;
    tokio::select! {
        () = guest.typed(Input::Key { down: true, keysym: 65, code: Some(30) }) => {}
        _ = ann.told(|notice| matches!(notice, Notice::Refused { .. })) => panic!("refused"),
    }

    // Its power goes, and comes: the viewer stays. What was down is not down for the next.
    ann.told.clear();
    drop((guest, listener));
    ann.told(|notice| matches!(notice, Notice::State { connected: false, .. })).await;
    assert_eq!(desk.lock().fault, "the guest is off");
    assert!(desk.look().screen().await.is_err());
    let (_, listener) = guest_socket(folder.path());
    let mut guest = Guest::accept(&listener).await;
    tokio::select! {
        () = guest.serve() => panic!("the connection has ended"),
        _ = ann.told(|notice| matches!(notice, Notice::State { connected: true, .. })) => {}
    }
    ann.input(Input::Key { down: true, keysym: 66, code: Some(48) }).await;
    guest.typed(Input::Key { down: true, keysym: 66, code: Some(48) }).await;
    assert!(!guest.typed.contains(&Input::Key { down: false, keysym: 65, code: Some(30) }));

    // The last viewer goes: nothing is captured for nobody, and what it held down is released before.
    ann.input(Input::Pointer { buttons: 1, x: 9, y: 9 }).await;
    guest.typed(Input::Pointer { buttons: 1, x: 9, y: 9 }).await;
    drop(ann);
    guest.serve().await;
    assert!(guest.typed.contains(&Input::Pointer { buttons: 0, x: 9, y: 9 }), "{:?}", guest.typed);
    assert!(guest.typed.contains(&Input::Key { down: false, keysym: 66, code: Some(48) }));
    assert!(!desk.lock().signal);
    source.abort();
}

#[tokio::test]
async fn a_text_needs_nobody_who_looks_at_a_guest_and_is_refused_where_none_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (path, listener) = guest_socket(folder.path());
    let (_shared, desk, _told) = shared(Source::Qemu(path.clone()));
    let served = Arc::clone(&desk);
    let source = tokio::spawn(async move { source::serve(&served).await });
    let texts = async {
        assert_eq!(text::begin(&desk, "ann", hid::Layout::Us, "aB").await.unwrap(), 2);
        assert_eq!(Desk::text_holder(&desk.lock()), "ann");
    };
    // The connection ends when the text is typed: nothing is captured for nobody.
    let taken = async {
        let mut guest = Guest::accept(&listener).await;
        guest.serve().await;
        guest.typed
    };
    let ((), typed) = tokio::join!(texts, taken);
    let keys = |inputs: Vec<Input>| -> Vec<(bool, u32)> {
        let key = |input| match input {
            Input::Key { down, keysym, .. } => Some((down, keysym)),
            Input::Pointer { .. } => None,
        };
        inputs.into_iter().filter_map(key).collect()
    };
    assert_eq!(keys(typed), keys(hid::strokes(hid::Layout::Us, "aB").unwrap()));
    assert!(!desk.lock().signal && Desk::text_holder(&desk.lock()).is_empty());

    // Its power goes: that is the answer, and nothing waits for the guest after it.
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let refused = text::begin(&desk, "ann", hid::Layout::Us, "a").await.unwrap_err();
    assert!(refused.message.contains("the guest is off"), "{}", refused.message);
    assert_eq!(refused.reason(), "NO_HOST");
    assert!(Desk::text_holder(&desk.lock()).is_empty() && desk.next_input().is_none());

    // Stopped while the first picture is waited for: no key of it is typed.
    let mut changes = desk.changes();
    while !desk.lock().fault.is_empty() {
        changes.changed().await.unwrap();
    }
    let (_, listener) = guest_socket(folder.path());
    let begun = text::begin(&desk, "ann", hid::Layout::Us, "a");
    let stopped = async {
        let mut guest = Guest::accept(&listener).await;
        assert_eq!(desk.stop_text(|account| account == "ann").as_deref(), Some("ann"));
        guest.serve().await;
        guest.typed
    };
    let (begun, typed) = tokio::join!(begun, stopped);
    assert_eq!((begun.unwrap_err().code, typed), (ipc::Code::Aborted, Vec::new()));
    source.abort();
}

/// Serves a guest of 1920x1200 pixels to each who comes.
async fn serve_large(listener: &UnixListener) {
    loop {
        let mut guest = Guest::accept(listener).await;
        guest.screen = Screen::new(1920, 1200).unwrap();
        guest.serve().await;
    }
}

#[tokio::test]
async fn an_update_in_pieces_is_one_picture() {
    let (shared, desk, _told) = shared(Source::Synthetic);
    desk.shown();
    let mut ann = Viewer::new(&shared, "ann", true).await;
    ann.say(b"RFB 003.008\n\x01\x01").await;
    ann.frames_until(b"system").await;
    let last_rect = rfb::encoding::LAST_RECT.to_be_bytes();
    ann.say(&[&[2, 0, 0, 2][..], &rfb::encoding::RAW.to_be_bytes(), &last_rect].concat()).await;
    let before = ann.sent().await;
    // All of its 640 by 480 pixels, raw: 1.2 MB.
    ann.say(&[3, 0, 0, 0, 0, 0, 0x02, 0x80, 0x01, 0xe0]).await;
    let frames = ann.frames_until(&[&[0; 8][..], &last_rect].concat()).await;
    assert!(frames > 3, "{frames}");
    assert_eq!(ann.sent().await, before + 1);
}

#[tokio::test]
async fn a_screen_that_has_no_memory_is_refused_with_the_reason_and_seen_once_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, listener) = guest_socket(folder.path());
    let room = rfb::Room::new(1920 * 1200 * 4);
    let other = Desk::new("other", Source::Synthetic, Clock::new(), &room).unwrap();
    other.draw(|screen| screen.resize(1920, 1200)).unwrap();
    let desk = Arc::new(Desk::new("system", Source::Qemu(path), Clock::new(), &room).unwrap());
    let served = Arc::clone(&desk);
    let source = tokio::spawn(async move { source::serve(&served).await });
    let looks = async {
        let look = desk.look();
        let refused = look.shown().await.unwrap_err();
        assert!(refused.contains("no memory for a screen of 1920x1200"), "{refused}");
        assert_eq!(desk.size(), (640, 480));
        // Nobody looks at the other any more: it is tried again without being asked.
        other.stopped();
        let mut changes = desk.changes();
        while !desk.lock().signal {
            changes.changed().await.unwrap();
        }
        assert_eq!(desk.size(), (1920, 1200));
    };
    tokio::select! {
        () = serve_large(&listener) => {}
        () = looks => {}
    }
    source.abort();
}

#[tokio::test]
async fn frames_of_an_engine_are_shown_as_they_are_and_what_is_too_long_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest-system.frames");
    let listener = UnixListener::bind(&path).unwrap();
    let (_shared, desk, _told) = shared(Source::Frames(path));
    let served = Arc::clone(&desk);
    let source = tokio::spawn(async move { source::serve(&served).await });
    let look = desk.look();
    let (mut engine, _) = listener.accept().await.unwrap();
    let jpeg = [7; 1000];
    let (width, height, length) = (1920_u16.to_be_bytes(), 1080_u16.to_be_bytes(), 1000_u32.to_be_bytes());
    engine.write_all(&[&width[..], &height, &length, &jpeg].concat()).await.unwrap();
    let screen = look.screen().await.unwrap();
    assert_eq!((screen.size(), screen.jpeg().map(|jpeg| jpeg.to_vec())), ((1920, 1080), Some(jpeg.to_vec())));
    assert!(!desk.source.takes_input());
    let mut changes = desk.changes();
    engine.write_all(&[&width[..], &height, &u32::MAX.to_be_bytes()].concat()).await.unwrap();
    while desk.lock().signal {
        changes.changed().await.unwrap();
    }
    assert!(desk.lock().fault.contains("too long"), "{}", desk.lock().fault);
    drop(look);
    source.abort();
}
