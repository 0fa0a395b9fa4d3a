//! A disk for tests that loses power: it forgets what was not synced, keeps any part of what was being written, and
//! can be switched off in the middle of an operation. It also refuses, as full, worn and read-only media do.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Disk, DiskFile, Kind, Lock};

const SECTOR: usize = 512;

/// A small generator, so that a failing run can be repeated from its seed.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound.max(1)
    }
}

/// A change of a file or directory that is not on the medium yet.
#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
    /// Names that appear (with what they name) and that go, all at once.
    Names(Vec<(String, Option<u64>)>),
}

#[derive(Debug, Clone, Default)]
struct Node {
    is_dir: bool,
    /// What is on the medium.
    durable: Vec<u8>,
    durable_names: BTreeMap<String, u64>,
    /// What programs see.
    bytes: Vec<u8>,
    names: BTreeMap<String, u64>,
    changes: Vec<Change>,
}

impl Node {
    /// Everything that was changed reaches the medium: what a failed sync lost does not, unless it is written again.
    fn settle(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            self.apply(&change);
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                self.durable[*offset..end].copy_from_slice(bytes);
            }
            Change::Truncate(size) => self.durable.resize(*size, 0),
            Change::Names(names) => {
                for (name, inode) in names {
                    match inode {
                        Some(inode) => self.durable_names.insert(name.clone(), *inode),
                        None => self.durable_names.remove(name),
                    };
                }
            }
        }
    }

    /// A sync that fails: some writes are on the medium, the others count as clean and will never get there.
    fn lose(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Write(..) if random.below(2) == 0 => {}
                Change::Write(..) => self.apply(&change),
                // Names and lengths are in the journal of the file system, which is written later.
                other => self.changes.push(other),
            }
        }
    }

    /// What is left of it after power was lost.
    fn crash(&mut self, random: &mut Random) {
        let changes = std::mem::take(&mut self.changes);
        // Names change in order, so some first part of the changes is there.
        let mut kept_names = random.below(changes.len() + 1);
        for change in changes {
            match change {
                Change::Names(names) => {
                    if kept_names == 0 {
                        continue;
                    }
                    kept_names -= 1;
                    for (name, inode) in names {
                        match inode {
                            Some(inode) => self.durable_names.insert(name, inode),
                            None => self.durable_names.remove(&name),
                        };
                    }
                }
                Change::Truncate(size) => {
                    if random.below(2) == 0 {
                        self.durable.resize(size, 0);
                    }
                }
                Change::Write(offset, bytes) => {
                    // Any of its sectors, and of the last of them any part.
                    let mut at = 0;
                    while at < bytes.len() {
                        let size = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
                        let kept = match random.below(4) {
                            0 => 0,
                            1 => random.below(size + 1),
                            _ => size,
                        };
                        if kept > 0 {
                            let end = offset + at + kept;
                            if self.durable.len() < end {
                                self.durable.resize(end, 0);
                            }
                            self.durable[offset + at..end].copy_from_slice(&bytes[at..at + kept]);
                        }
                        at += size;
                    }
                }
            }
        }
        self.bytes.clone_from(&self.durable);
        self.names.clone_from(&self.durable_names);
    }
}

/// How a medium refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// What needs more room fails.
    Full,
    /// Everything that changes something fails.
    ReadOnly,
    /// Every other change or sync fails, and a failed sync loses data.
    Worn,
    /// Syncs fail and lose data.
    Unsynced,
}

enum Doing {
    Grow,
    Other,
    Sync(u64),
}

#[derive(Debug)]
struct State {
    nodes: BTreeMap<u64, Node>,
    fault: Option<(Fault, Random)>,
    next: u64,
    /// Changes and syncs left before the power goes; `None`: it stays.
    left: Option<usize>,
    /// What every change and sync is refused with.
    refused: Option<io::ErrorKind>,
    /// Files and directories with this in their path cannot be read.
    unreadable: Option<String>,
    /// Directories whose path ends like this cannot be synced.
    unsynced: Option<String>,
    /// A byte that cannot be read: of the file with this in its path.
    unreadable_byte: Option<(String, usize)>,
    /// Bytes of all files together, where they are bounded.
    room: Option<usize>,
}

const ROOT: u64 = 0;

impl State {
    fn new(nodes: BTreeMap<u64, Node>, next: u64) -> Self {
        Self {
            nodes,
            fault: None,
            next,
            left: None,
            refused: None,
            unreadable: None,
            unsynced: None,
            unreadable_byte: None,
            room: None,
        }
    }

    fn may_read(&self, path: &Path) -> io::Result<()> {
        let hit = self.unreadable.as_ref().is_some_and(|part| path.to_str().unwrap().contains(part.as_str()));
        if hit { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let name = name.to_str().unwrap();
                at = *self.nodes[&at].names.get(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok((self.find(path.parent().unwrap())?, name))
    }

    /// One operation that changes something: the power may go before it, and the medium may refuse.
    fn tick(&mut self, doing: Doing) -> io::Result<()> {
        if let Some(kind) = self.refused {
            return Err(kind.into());
        }
        if let Some((fault, random)) = &mut self.fault {
            let error = match (*fault, &doing) {
                (Fault::Full, Doing::Grow) => Some(io::ErrorKind::StorageFull.into()),
                (Fault::ReadOnly, _) => Some(io::ErrorKind::ReadOnlyFilesystem.into()),
                (Fault::Worn, _) if random.below(2) == 0 => Some(io::Error::other("bad block")),
                (Fault::Unsynced, Doing::Sync(_)) => Some(io::Error::other("bad block")),
                _ => None,
            };
            if let Some(error) = error {
                if let Doing::Sync(inode) = doing
                    && let Some(node) = self.nodes.get_mut(&inode)
                {
                    node.lose(random);
                }
                return Err(error);
            }
        }
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn make(&mut self, dir: u64, name: String, is_dir: bool) -> u64 {
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, Node { is_dir, ..Node::default() });
        self.rename_in(dir, vec![(name, Some(inode))]);
        inode
    }

    fn rename_in(&mut self, dir: u64, names: Vec<(String, Option<u64>)>) {
        let dir = self.nodes.get_mut(&dir).unwrap();
        for (name, inode) in &names {
            match inode {
                Some(inode) => dir.names.insert(name.clone(), *inode),
                None => dir.names.remove(name),
            };
        }
        dir.changes.push(Change::Names(names));
    }
}

/// The disk.
#[derive(Debug, Clone)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub(super) fn new() -> Self {
        let root = Node { is_dir: true, ..Node::default() };
        Self(Arc::new(Mutex::new(State::new(BTreeMap::from([(ROOT, root)]), 1))))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes after this many more changes.
    pub(super) fn fail_after(&self, changes: Option<usize>) {
        self.state().left = changes;
    }

    /// Every change is refused with this from now on.
    pub(super) fn refuse(&self, kind: Option<io::ErrorKind>) {
        self.state().refused = kind;
    }

    /// What has this in its path cannot be read from now on.
    pub(super) fn make_unreadable(&self, part: Option<&str>) {
        self.state().unreadable = part.map(str::to_owned);
    }

    /// A byte of the file with this in its path cannot be read from now on.
    pub(super) fn make_byte_unreadable(&self, byte: Option<(&str, usize)>) {
        self.state().unreadable_byte = byte.map(|(part, at)| (part.to_owned(), at));
    }

    /// So many bytes are left for files from now on.
    pub(super) fn set_room(&self, left: Option<usize>) {
        let used = self.files().values().map(Vec::len).sum::<usize>();
        self.state().room = left.map(|left| used + left);
    }

    /// Directories whose path ends like this cannot be synced from now on.
    pub(super) fn fail_sync_dir(&self, end: Option<&str>) {
        self.state().unsynced = end.map(str::to_owned);
    }

    /// All files, with their bytes.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        Self::files_of(&self.state())
    }

    fn files_of(state: &State) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(state: &State, dir: u64, path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for (name, inode) in &state.nodes[&dir].names {
                let (path, node) = (path.join(name), &state.nodes[inode]);
                match node.is_dir {
                    true => walk(state, *inode, &path, files),
                    false => drop(files.insert(path, node.bytes.clone())),
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(state, ROOT, Path::new("/"), &mut files);
        files
    }

    /// The medium refuses from now on, or no longer.
    pub(super) fn set_fault(&self, fault: Option<(Fault, u64)>) {
        self.state().fault = fault.map(|(fault, seed)| (fault, Random::new(seed)));
    }

    /// Another disk with the same on it.
    pub(super) fn copy(&self) -> Self {
        let state = self.state();
        Self(Arc::new(Mutex::new(State::new(state.nodes.clone(), state.next))))
    }

    /// What a machine finds that starts on this disk after the power was lost.
    pub(super) fn after_power_loss(&self, random: &mut Random) -> Self {
        let state = self.state();
        let mut nodes = state.nodes.clone();
        nodes.values_mut().for_each(|node| node.crash(random));
        Self(Arc::new(Mutex::new(State::new(nodes, state.next))))
    }

    /// Bytes of a file, to damage them.
    pub(super) fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.find(path).unwrap();
        let node = state.nodes.get_mut(&inode).unwrap();
        change(&mut node.bytes);
        node.changes.clear();
        node.durable.clone_from(&node.bytes);
    }
}

impl Disk for SimDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inode = state.find(dir)?;
        state.may_read(dir)?;
        if !state.nodes[&inode].is_dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(state.nodes[&inode].names.keys().cloned().collect())
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut at = ROOT;
        for part in dir.components() {
            if let Component::Normal(name) = part {
                let name = name.to_str().unwrap();
                at = match state.nodes[&at].names.get(name) {
                    Some(inode) => *inode,
                    None => {
                        state.tick(Doing::Grow)?;
                        state.make(at, name.to_owned(), true)
                    }
                };
            }
        }
        Ok(())
    }
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let state = self.state();
        let inode = state.find(path)?;
        Ok(if state.nodes[&inode].is_dir { Kind::Dir } else { Kind::File })
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Lock>> {
        Ok(Box::new(SimLock))
    }
    fn is_read_only(&self, _: &Path) -> bool {
        self.state().refused == Some(io::ErrorKind::ReadOnlyFilesystem)
    }
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let inode = match state.find(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                state.tick(Doing::Grow)?;
                let (dir, name) = state.parent(path)?;
                state.make(dir, name, false)
            }
            found => found?,
        };
        if state.nodes[&inode].is_dir {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let path = path.to_owned();
        Ok(Box::new(SimFile { disk: self.clone(), inode, path }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick(Doing::Other)?;
        let inode = state.find(from)?;
        if let Ok(target) = state.find(to)
            && state.nodes[&target].is_dir
            && (!state.nodes[&inode].is_dir || !state.nodes[&target].names.is_empty())
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let ((from_dir, from), (to_dir, to)) = (state.parent(from)?, state.parent(to)?);
        if from_dir == to_dir {
            state.rename_in(from_dir, vec![(to, Some(inode)), (from, None)]);
        } else {
            state.rename_in(to_dir, vec![(to, Some(inode))]);
            state.rename_in(from_dir, vec![(from, None)]);
        }
        Ok(())
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick(Doing::Other)?;
        let (dir, name) = state.parent(path)?;
        let inode = state.find(path)?;
        if state.nodes[&inode].is_dir && !state.nodes[&inode].names.is_empty() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        state.rename_in(dir, vec![(name, None)]);
        Ok(())
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        {
            let state = self.state();
            let inode = state.find(path)?;
            if !state.nodes[&inode].names.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
        }
        self.remove_file(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(dir)?;
        if state.unsynced.as_ref().is_some_and(|end| dir.to_str().unwrap().ends_with(end.as_str())) {
            return Err(io::Error::other("input/output error"));
        }
        state.tick(Doing::Sync(inode))?;
        let node = state.nodes.get_mut(&inode).unwrap();
        assert!(node.is_dir);
        node.settle();
        Ok(())
    }
}

#[derive(Debug)]
struct SimLock;

impl Lock for SimLock {}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: PathBuf,
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().nodes[&self.inode].bytes.len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        state.may_read(&self.path)?;
        let offset = usize::try_from(offset).unwrap();
        if let Some((part, at)) = &state.unreadable_byte
            && self.path.to_str().unwrap().contains(part.as_str())
            && (offset..offset + buffer.len()).contains(at)
        {
            return Err(io::Error::other("input/output error"));
        }
        let bytes = &state.nodes[&self.inode].bytes;
        let part = bytes.get(offset..offset + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let offset = usize::try_from(offset).unwrap();
        let size = state.nodes[&self.inode].bytes.len();
        let grows = size < offset + bytes.len();
        if let Some(room) = state.room.filter(|_| grows) {
            let used = SimDisk::files_of(&state).values().map(Vec::len).sum::<usize>();
            if used + offset + bytes.len() - size > room {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let refused = state.tick(if grows { Doing::Grow } else { Doing::Other });
        // A write that fails may have begun.
        let bytes = if refused.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        let node = state.nodes.get_mut(&self.inode).unwrap();
        if node.bytes.len() < offset + bytes.len() {
            node.bytes.resize(offset + bytes.len(), 0);
        }
        node.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        node.changes.push(Change::Write(offset, bytes.to_vec()));
        refused
    }
    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.tick(Doing::Other)?;
        let size = usize::try_from(size).unwrap();
        let node = state.nodes.get_mut(&self.inode).unwrap();
        node.bytes.resize(size, 0);
        node.changes.push(Change::Truncate(size));
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.tick(Doing::Sync(self.inode))?;
        state.nodes.get_mut(&self.inode).unwrap().settle();
        Ok(())
    }
}
