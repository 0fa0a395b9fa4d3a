//! Serial ports that several hosts share: lines say whose one is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use board::{Board, HalKind, SerialMux};
use hal::{Error, Gpio, Initial, OutputLine};
use hal_linux::HandedLines;
use tokio::sync::Mutex;

use crate::lines_socket;

/// The lines of one shared port, opened when they are first needed and held from then on.
#[derive(Debug)]
struct Held {
    mux: SerialMux,
    opened: Mutex<Vec<Option<Box<dyn OutputLine>>>>,
}

/// The lines of a board's shared serial ports.
///
/// On real hardware they are the operator's to drive, by the same socket as the lines of sensors: who reads what hosts print has no chip. Run by hand, without an
/// operator, and on a simulated board they are driven here.
#[derive(Debug)]
pub struct Muxes {
    held: Vec<Held>,
    gpio: Arc<dyn Gpio>,
    handed: Option<(PathBuf, HandedLines)>,
    owner: &'static str,
}

impl Muxes {
    /// Those of this board. Nothing is opened or driven yet. `owner` is what others are told who find a line held.
    #[must_use]
    pub fn new(board: &Board, run_dir: &Path, gpio: Arc<dyn Gpio>, owner: &'static str) -> Self {
        let socket = lines_socket(run_dir);
        let handed = (board.hal == HalKind::Linux).then(|| (socket.clone(), HandedLines::new(&socket)));
        Self { handed, ..Self::driven(board, gpio, owner) }
    }

    /// As [`Self::new`], for who drives them itself.
    #[must_use]
    pub fn driven(board: &Board, gpio: Arc<dyn Gpio>, owner: &'static str) -> Self {
        let held = |mux: &SerialMux| Held { mux: mux.clone(), opened: Mutex::default() };
        Self { held: board.serial_muxes.iter().map(held).collect(), gpio, handed: None, owner }
    }

    /// Whether a shared port with this id has such a position.
    #[must_use]
    pub fn has(&self, id: &str, position: Option<u8>) -> bool {
        let found = self.held.iter().find(|held| held.mux.id.as_str() == id);
        found.is_some_and(|held| {
            position.is_none_or(|position| u32::from(position) >> held.mux.select.len() == 0)
        })
    }

    /// Has the lines of a shared port take `position`, or tells with `None` which one they have. Where several lines change, others are selected between: nobody
    /// may use the port meanwhile.
    ///
    /// # Errors
    /// What became of a line; some of them may have changed.
    pub async fn select(&self, id: &str, position: Option<u8>) -> Result<u8, Error> {
        let gone = || Error::Unavailable { what: format!("the shared serial port {id:?}") };
        let held = self.held.iter().find(|held| held.mux.id.as_str() == id);
        let held = held.filter(|_| self.has(id, position)).ok_or_else(gone)?;
        if let Some((socket, handed)) = &self.handed
            && socket.exists()
        {
            return handed.select(id, position).await;
        }
        let mut opened = held.opened.lock().await;
        self.drive(&held.mux, &mut opened, position).await
    }

    async fn drive(
        &self,
        mux: &SerialMux,
        opened: &mut Vec<Option<Box<dyn OutputLine>>>,
        position: Option<u8>,
    ) -> Result<u8, Error> {
        opened.resize_with(mux.select.len(), || None);
        for (held, line) in opened.iter_mut().zip(&mux.select) {
            if held.is_none() {
                // As it is: what is selected stays so until somebody says otherwise.
                *held = Some(self.gpio.output(line, Initial::AsIs, self.owner).await?);
            }
        }
        let mut now = 0;
        for (bit, held) in opened.iter_mut().enumerate() {
            let Some(line) = held else { continue };
            let done = match position {
                Some(position) => {
                    let is_set = position >> bit & 1 == 1;
                    line.set(is_set).await.map(|()| is_set)
                }
                None => line.get().await,
            };
            match done {
                Ok(is_set) => now |= u8::from(is_set) << bit,
                Err(error) => {
                    // It may be gone, and comes again as another. The others are held on: what a line does that is let go is its driver's matter.
                    *held = None;
                    return Err(error);
                }
            }
        }
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Levels;

    use super::*;

    /// Lines that are levels.
    #[derive(Clone, Debug, Default)]
    struct Wires(Arc<Levels<std::collections::BTreeMap<String, bool>>>);

    #[derive(Debug)]
    struct Wire(Wires, hal::LineId);

    #[async_trait::async_trait]
    impl Gpio for Wires {
        async fn output(
            &self,
            line: &hal::Line,
            initial: Initial,
            _owner: &str,
        ) -> Result<Box<dyn OutputLine>, Error> {
            assert_eq!(initial, Initial::AsIs, "nothing changes when a line is opened");
            Ok(Box::new(Wire(self.clone(), line.id.clone())))
        }

        async fn input(&self, line: &hal::Line, _owner: &str) -> Result<Box<dyn hal::InputLine>, Error> {
            Err(Error::NotFound { line: line.id.clone() })
        }
    }

    #[async_trait::async_trait]
    impl OutputLine for Wire {
        async fn set(&self, active: bool) -> Result<(), Error> {
            let mut levels = self.0.0.lock().unwrap();
            if levels.contains_key(&format!("{} is broken", self.1)) {
                return Err(Error::NotFound { line: self.1.clone() });
            }
            levels.insert(self.1.to_string(), active);
            Ok(())
        }

        async fn get(&self) -> Result<bool, Error> {
            Ok(self.0.0.lock().unwrap().get(&self.1.to_string()).copied().unwrap_or(false))
        }

        fn id(&self) -> &hal::LineId {
            &self.1
        }
    }

    impl Drop for Wire {
        fn drop(&mut self) {
            self.0.0.lock().unwrap().insert(format!("{} was let go", self.1), true);
        }
    }

    #[tokio::test]
    async fn lines_take_a_position_and_tell_it() {
        let text = "[board]\nname = \"b\"\nvendor = \"v\"\nmodel = \"m\"\nhal = \"sim\"\n[[hosts]]\nid = \"system\"\n\
             [hosts.power]\nkind = \"buttons\"\npower = \"p\"\npower_good = \"g\"\n\
             [[serial_muxes]]\nid = \"uart1\"\nselect = [{ line = \"a\" }, { line = \"b\" }]\n";
        let board = board::parse(Path::new("board.toml"), text, &[]).into_board().unwrap();
        let wires = Wires::default();
        let muxes = Muxes::new(&board, Path::new("/nowhere"), Arc::new(wires.clone()), "test");
        assert_eq!(muxes.select("uart1", None).await.unwrap(), 0);
        for position in [2, 1, 3, 0] {
            assert_eq!(muxes.select("uart1", Some(position)).await.unwrap(), position);
            assert_eq!(muxes.select("uart1", None).await.unwrap(), position);
        }
        for (id, position) in [("uart1", Some(4)), ("uart2", Some(0)), ("uart2", None)] {
            assert!(
                muxes.select(id, position).await.is_err() && !muxes.has(id, position),
                "{id} {position:?}"
            );
        }
        // One that fails is opened again, and the others are held on.
        wires.0.lock().unwrap().insert("\"b\" is broken".to_owned(), true);
        assert!(muxes.select("uart1", Some(3)).await.is_err());
        let was_let_go = |id: &str| wires.0.lock().unwrap().contains_key(&format!("{id:?} was let go"));
        assert_eq!((was_let_go("a"), was_let_go("b")), (false, true));
        wires.0.lock().unwrap().remove("\"b\" is broken");
        assert_eq!(muxes.select("uart1", Some(3)).await.unwrap(), 3);
        // Another one of the same lines finds what is so.
        muxes.select("uart1", Some(2)).await.unwrap();
        let other = Muxes::driven(&board, Arc::new(wires), "other");
        assert_eq!(other.select("uart1", None).await.unwrap(), 2);
    }
}
