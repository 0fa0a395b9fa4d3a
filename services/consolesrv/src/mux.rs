//! A serial port that several hosts share: one console has it at a time, and the others are told whose it is.
//!
//! Nobody but this task has the lines switched. While they are, the port is closed: what is on its way belongs to nobody, and is discarded.

use std::path::PathBuf;
use std::sync::Arc;

use board::{Console, SerialMux};
use hw::Muxes;
use ipc::Status;
use service::ErrorChain;
use tokio::sync::{mpsc, oneshot, watch};

use crate::desk::Desk;
use crate::port;

/// Requests to switch that wait for the one before.
const WAITING: usize = 8;

/// That a console is to have the port.
pub(crate) struct Switch {
    /// Which of those behind it.
    place: usize,
    /// Who wants that.
    by: String,
    /// Whether the lines are so; whose it was.
    done: oneshot::Sender<Result<Option<usize>, String>>,
}

/// What others know of a shared port.
#[derive(Clone)]
pub(crate) struct Mux {
    /// Its id.
    pub(crate) id: String,
    /// The consoles behind it, by their place on the board.
    behind: Vec<usize>,
    /// Which of these has it; none before it is known, and where it cannot be switched.
    selected: watch::Receiver<Option<usize>>,
    switch: mpsc::Sender<Switch>,
}

impl Mux {
    /// Whether this console is behind it.
    pub(crate) fn has(&self, console: usize) -> bool {
        self.behind.contains(&console)
    }

    /// The console that has it.
    pub(crate) fn selected(&self) -> Option<usize> {
        let place = *self.selected.borrow();
        self.behind.get(place?).copied()
    }

    /// Switches it to a console. Which one had it.
    ///
    /// # Errors
    /// Its lines cannot be driven, or too much waits for that.
    pub(crate) async fn select(&self, console: usize, by: &str) -> Result<Option<usize>, Status> {
        let place = self.behind.iter().position(|other| *other == console);
        let place = place.ok_or_else(|| Status::internal("the console is not behind this port"))?;
        let (done, answer) = oneshot::channel();
        let busy = || Status::unavailable("the port is being switched: ask again");
        self.switch.try_send(Switch { place, by: by.to_owned(), done }).map_err(|_| busy())?;
        let before = answer.await.map_err(|_| busy())?;
        let before = before.map_err(|why| Status::unavailable(format!("cannot switch the port: {why}")))?;
        Ok(before.and_then(|place| self.behind.get(place).copied()))
    }
}

/// A console behind the port.
struct Seat {
    desk: Arc<Desk>,
    console: Console,
    device: PathBuf,
    position: u8,
}

/// The task of a shared port.
pub(crate) struct Task {
    id: String,
    seats: Vec<Seat>,
    lines: Arc<Muxes>,
    selected: watch::Sender<Option<usize>>,
    asked: mpsc::Receiver<Switch>,
}

/// The port, for others, and its task. `consoles` are all of the board, with the path of each one's device.
pub(crate) fn mux(
    of: &SerialMux,
    consoles: &[(Arc<Desk>, Console, PathBuf)],
    lines: &Arc<Muxes>,
) -> (Mux, Task) {
    let (tell, selected) = watch::channel(None);
    let (switch, asked) = mpsc::channel(WAITING);
    let is_behind = |(index, (desk, console, device)): (usize, &(Arc<Desk>, Console, PathBuf))| {
        let place = console.mux.as_ref().filter(|place| place.id == of.id)?;
        let (desk, console, device) = (Arc::clone(desk), console.clone(), device.clone());
        Some((index, Seat { desk, console, device, position: place.position }))
    };
    let (behind, seats): (Vec<_>, Vec<_>) = consoles.iter().enumerate().filter_map(is_behind).unzip();
    let id = of.id.as_str().to_owned();
    let task = Task { id: id.clone(), seats, lines: Arc::clone(lines), selected: tell, asked };
    (Mux { id, behind, selected, switch }, task)
}

impl Task {
    /// Serves the port until this is dropped.
    pub(crate) async fn serve(mut self) {
        let mut wanted = self.at_start().await;
        // Who asked for that, and what had it before.
        let mut asked: Option<(Switch, Option<usize>)> = None;
        loop {
            let Some(seat) = self.seats.get(wanted) else { return };
            if asked.is_some() {
                // Before the lines change: what is typed at another one meanwhile would count as sent, and reach nobody.
                self.tell(wanted, None);
            }
            let switched = self.lines.select(&self.id, Some(seat.position)).await;
            let fault = switched.err().map(|error| ErrorChain(&error).to_string());
            self.selected.send_replace(fault.is_none().then_some(wanted));
            self.tell(wanted, fault.as_deref());
            if let Some((Switch { by, done, .. }, before)) = asked.take() {
                if fault.is_none() {
                    self.mark(wanted, before, &by);
                }
                // Who asked may have gone.
                let _ = done.send(fault.clone().map_or(Ok(before), Err));
            }
            let (seats, requests) = (&self.seats, &mut self.asked);
            let used = async {
                match (&fault, seats.get(wanted)) {
                    (None, Some(seat)) => port::serve(&seat.desk, &seat.console, seat.device.clone()).await,
                    _ => tokio::time::sleep(port::AGAIN).await,
                }
            };
            tokio::select! {
                switch = requests.recv() => match switch {
                    Some(switch) => {
                        let before = *self.selected.borrow();
                        wanted = switch.place;
                        asked = Some((switch, before));
                    }
                    None => return,
                },
                () = used => {}
            }
        }
    }

    /// Which one has the port now: a restart of the controller switches nothing.
    async fn at_start(&self) -> usize {
        match self.lines.select(&self.id, None).await {
            Ok(position) => self.seats.iter().position(|seat| seat.position == position).unwrap_or(0),
            Err(error) => {
                let error = ErrorChain(&error).to_string();
                tracing::warn!(port = self.id, error, "cannot read lines of shared serial port");
                0
            }
        }
    }

    /// Those that have not got the port are told whose it is, and all when it is nobody's.
    fn tell(&self, selected: usize, fault: Option<&str>) {
        let name = self.seats.get(selected).map(|seat| seat.desk.name.clone()).unwrap_or_default();
        for (place, seat) in self.seats.iter().enumerate() {
            if let Some(fault) = fault {
                if seat.desk.closed(&format!("cannot switch the serial port: {fault}")) {
                    let console = seat.desk.name.as_str();
                    tracing::warn!(console, error = fault, "cannot switch serial port: retrying");
                }
            } else if place != selected {
                seat.desk.closed(&format!("the serial port is switched to {name}"));
                // Nobody types there.
                seat.desk.free();
            }
        }
    }

    /// Both logs and screens say what happened.
    fn mark(&self, selected: usize, before: Option<usize>, by: &str) {
        if before == Some(selected) {
            return;
        }
        let (Some(seat), before) = (self.seats.get(selected), before.and_then(|place| self.seats.get(place)))
        else {
            return;
        };
        if let Some(before) = before {
            before.desk.mark(&format!("{by} switched the serial port to {}", seat.desk.name));
        }
        seat.desk
            .mark(&format!("{by} switched the serial port to this host; what it printed before is not here"));
        tracing::info!(port = self.id, console = seat.desk.name, by, "switched serial port");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::Mutex;

    use board::Board;
    use hal::{Error, Gpio, Initial, InputLine, Line, LineId, OutputLine};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use serial::{Holder, Typed};
    use service::Clock;

    use super::*;

    /// One line, and what it was set to; it fails while told so.
    #[derive(Clone, Debug, Default)]
    struct Wire(Arc<Mutex<(Vec<bool>, bool)>>);

    #[async_trait::async_trait]
    impl Gpio for Wire {
        async fn output(&self, _: &Line, _: Initial, _: &str) -> Result<Box<dyn OutputLine>, Error> {
            Ok(Box::new(self.clone()))
        }

        async fn input(&self, line: &Line, _: &str) -> Result<Box<dyn InputLine>, Error> {
            Err(Error::NotFound { line: line.id.clone() })
        }
    }

    #[async_trait::async_trait]
    impl OutputLine for Wire {
        async fn set(&self, active: bool) -> Result<(), Error> {
            let mut state = self.0.lock().unwrap();
            if state.1 {
                return Err(Error::Unavailable { what: "the line".to_owned() });
            }
            state.0.push(active);
            Ok(())
        }

        async fn get(&self) -> Result<bool, Error> {
            Ok(self.0.lock().unwrap().0.last().copied().unwrap_or(false))
        }

        fn id(&self) -> &LineId {
            static ID: std::sync::LazyLock<LineId> =
                std::sync::LazyLock::new(|| LineId::Name("sel".to_owned()));
            &ID
        }
    }

    fn board() -> Board {
        let host = |id: &str| {
            format!(
                "[[hosts]]\nid = \"{id}\"\n[hosts.power]\nkind = \"buttons\"\npower = \"p-{id}\"\npower_good = \"g-{id}\"\n"
            )
        };
        let text = format!(
            "[board]\nname = \"b\"\nvendor = \"v\"\nmodel = \"m\"\nhal = \"sim\"\n{}{}\
             [[serial_muxes]]\nid = \"uart1\"\nselect = [{{ line = \"sel\" }}]\n\
             [[consoles]]\nhost = \"system\"\nmux = \"uart1\"\n\
             [[consoles]]\nhost = \"host1\"\nmux = \"uart1\"\nposition = 1\n",
            host("system"),
            host("host1")
        );
        board::parse(std::path::Path::new("board.toml"), &text, &[]).into_board().unwrap()
    }

    async fn until(desk: &Desk, wanted: impl Fn(&Desk) -> bool) {
        let mut changes = desk.changes();
        while !wanted(desk) {
            changes.changed().await.unwrap();
        }
    }

    fn printed(desk: &Desk) -> String {
        let state = desk.lock();
        String::from_utf8_lossy(state.ring.read(0, 4096).1).into_owned()
    }

    #[tokio::test]
    async fn one_console_has_the_port_and_a_switch_is_seen_on_both() {
        let board = board();
        let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&host).unwrap();
        unlockpt(&host).unwrap();
        let device = PathBuf::from(ptsname(&host, Vec::new()).unwrap().into_string().unwrap());
        let mut host = std::fs::File::from(host);
        let consoles: Vec<_> = board
            .consoles
            .iter()
            .map(|console| {
                let desk = Arc::new(Desk::new(console.host.as_str(), Clock::new()));
                (desk, console.clone(), device.clone())
            })
            .collect();
        let (first, second) = (Arc::clone(&consoles[0].0), Arc::clone(&consoles[1].0));
        let wire = Wire::default();
        // What is so when the daemon starts stays so.
        wire.0.lock().unwrap().0.push(true);
        let lines = Arc::new(Muxes::driven(&board, Arc::new(wire.clone()), "test"));
        let (mux, task) = mux(&board.serial_muxes[0], &consoles, &lines);
        let task = tokio::spawn(task.serve());
        until(&second, |desk| desk.lock().connected).await;
        assert_eq!((mux.selected(), mux.has(0)), (Some(1), true));
        assert_eq!(first.lock().fault, "the serial port is switched to host1");

        let holder = Holder { account: "ann".to_owned(), is_administrator: false };
        let ann = second.join("ann", holder.clone(), true).unwrap();
        second.typed(ann).unwrap();
        second.send(ann, Typed::Bytes(b"to host1".to_vec())).await.unwrap();
        let (mut host, read) = tokio::task::spawn_blocking(move || {
            let mut read = [0; 8];
            host.read_exact(&mut read).unwrap();
            (host, read)
        })
        .await
        .unwrap();
        assert_eq!(&read, b"to host1");

        assert_eq!(mux.select(0, "bob").await.unwrap(), Some(1));
        until(&first, |desk| desk.lock().connected).await;
        assert_eq!(mux.selected(), Some(0));
        assert!(second.lock().sessions.writer().is_none() && !second.lock().connected);
        assert!(second.send(ann, Typed::Bytes(b"x".to_vec())).await.unwrap_err().contains("not open"));
        host.write_all(b"from system").unwrap();
        until(&first, |desk| printed(desk).ends_with("from system")).await;
        assert!(printed(&first).contains("[bob switched the serial port to this host;"));
        assert!(printed(&second).contains("[bob switched the serial port to system]"));
        assert!(!printed(&second).contains("from system"));
        assert_eq!(wire.0.lock().unwrap().0, [true, true, false]);

        // Lines that cannot be driven: nobody has the port, and who asked is told.
        wire.0.lock().unwrap().1 = true;
        let refused = mux.select(1, "bob").await.unwrap_err();
        assert!(refused.message.contains("cannot switch"), "{refused:?}");
        assert_eq!(mux.selected(), None);
        assert!(
            first.lock().fault.contains("cannot switch") && second.lock().fault.contains("cannot switch")
        );
        wire.0.lock().unwrap().1 = false;
        until(&second, |desk| desk.lock().connected).await;
        assert_eq!(mux.selected(), Some(1), "it is tried again");
        task.abort();
    }
}
