//! Files in folders that others may write to, too: by descriptor, without following a link, without waiting for whoever is behind a pipe.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, fsync, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// So many things of one name are put aside at most: who puts folders there again and again is not to fill the medium with them.
const ASIDE_MAX: u32 = 8;

/// An open folder. What happens to its path afterwards does not matter.
#[derive(Debug)]
pub struct Folder {
    dir: OwnedFd,
}

impl Folder {
    /// Opens a folder whose path is to be trusted.
    ///
    /// # Errors
    /// What the system says; `NotADirectory` for anything else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { dir: openat(CWD, path, flags, Mode::empty())? })
    }

    /// As [`Folder::open`]; what is missing of the path is made, for this process's user only.
    ///
    /// # Errors
    /// What the system says; `NotADirectory` for anything else.
    pub fn create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)
    }

    /// Opens the folder `name` in `parent` that is this process's own, and makes it if it is missing. `parent` may belong to others as well: a
    /// link, or a folder that somebody else has put there, is not used.
    ///
    /// # Errors
    /// `PermissionDenied` for a folder of somebody else; else what the system says.
    pub fn own(parent: &Path, name: &str) -> io::Result<Self> {
        let parent = Self::open(parent)?;
        match mkdirat(&parent.dir, name, Mode::RWXU) {
            Err(error) if error != Errno::EXIST => return Err(error.into()),
            _ => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = openat(&parent.dir, name, flags, Mode::empty())?;
        let about = fstat(&dir)?;
        if about.st_uid != rustix::process::geteuid().as_raw() {
            let whose = format!("the folder {name} belongs to user {}", about.st_uid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, whose));
        }
        if about.st_mode & 0o077 != 0 {
            fchmod(&dir, Mode::RWXU)?;
        }
        Ok(Self { dir })
    }

    /// The content of a file of at most `max` bytes.
    ///
    /// # Errors
    /// `InvalidData` for what is longer, and for what is no file: a folder, a link, a socket. Else what the system says.
    pub fn read(&self, name: &str, max: usize) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.dir, name, flags, Mode::empty()) {
            // So the kernel says of a link that is not followed, and of a socket.
            Err(Errno::LOOP | Errno::NXIO) => Err(no_file()),
            file => read_file(file?, max),
        }
    }

    /// Whether what has this name is a file. A link is none.
    ///
    /// # Errors
    /// `NotFound` where nothing has it; else what the system says.
    pub fn is_file(&self, name: &str) -> io::Result<bool> {
        let about = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(about.st_mode) == FileType::RegularFile)
    }

    /// Makes way for a file: what has its name and is none is called `<name>.damaged` from here on, or `<name>.2.damaged` and so on up to 8 where that is
    /// taken. That is on the medium when it returns. Whether there was such.
    ///
    /// # Errors
    /// `AlreadyExists` when all these names are taken; else what the system says. What is in the way is there still.
    pub fn make_way_for_file(&self, name: &str) -> io::Result<bool> {
        self.put_aside(name, Some(FileType::RegularFile))
    }

    /// Puts aside what has this name, whatever it is, as [`Folder::make_way_for_file`] does: a file whose content is of no use, but not ours to throw away.
    /// Whether there was something.
    ///
    /// # Errors
    /// As [`Folder::make_way_for_file`].
    pub fn set_aside(&self, name: &str) -> io::Result<bool> {
        self.put_aside(name, None)
    }

    /// Keeps a copy aside of a file of at most `max` bytes that is to be replaced, under a name as [`Folder::make_way_for_file`] gives, for this process's user
    /// only, and on the medium when it returns; the file itself stays until it is replaced. A copy that is there already is not made again. What is longer or
    /// no file is put aside itself.
    ///
    /// # Errors
    /// As [`Folder::make_way_for_file`].
    pub fn keep_aside(&self, name: &str, max: usize) -> io::Result<()> {
        let bytes = match self.read(name, max) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return self.set_aside(name).map(|_| ());
            }
            Err(error) => return Err(error),
        };
        let is_copy = |place: &String| self.read(place, max).is_ok_and(|there| there == bytes);
        if (1..=ASIDE_MAX).map(|number| name_aside(name, number)).any(|place| is_copy(&place)) {
            return Ok(());
        }
        self.replace_durably(&self.place_aside(name)?, &bytes, 0o600)
    }

    /// As [`Folder::make_way_for_file`], for a folder. A link that leads to a folder serves as one and stays; one that leads nowhere does not.
    ///
    /// # Errors
    /// What the system says; what is in the way is there still.
    pub fn make_way_for_folder(&self, name: &str) -> io::Result<bool> {
        let leads_to = statat(&self.dir, name, AtFlags::empty());
        if leads_to.is_ok_and(|about| FileType::from_raw_mode(about.st_mode) == FileType::Directory) {
            return Ok(false);
        }
        self.put_aside(name, Some(FileType::Directory))
    }

    fn put_aside(&self, name: &str, unless: Option<FileType>) -> io::Result<bool> {
        let about = match statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            about => about?,
        };
        if Some(FileType::from_raw_mode(about.st_mode)) == unless {
            return Ok(false);
        }
        renameat(&self.dir, name, &self.dir, self.place_aside(name)?)?;
        fsync(&self.dir)?;
        Ok(true)
    }

    /// The name that what is put aside of `name` gets: one that nothing has.
    fn place_aside(&self, name: &str) -> io::Result<String> {
        for number in 1..=ASIDE_MAX {
            let place = name_aside(name, number);
            match statat(&self.dir, &place, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(place),
                about => {
                    about?;
                }
            }
        }
        let why = format!("{ASIDE_MAX} things called {name} are put aside already: remove those");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
    }

    /// Removes a file. That is on the medium when it returns.
    ///
    /// # Errors
    /// What the system says, also for a folder; it may be there still.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        unlinkat(&self.dir, name, AtFlags::empty())?;
        Ok(fsync(&self.dir)?)
    }

    /// Replaces a file, so that a reader sees the old content or the new one, nothing else. It is not synced to the medium. The file gets
    /// the mode asked for, whatever the process's umask. A folder in its place, which no file can replace, is put aside as
    /// [`Folder::make_way_for_file`] does; what is in it stays.
    ///
    /// # Errors
    /// What the system says; the old content is there still.
    pub fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.put(name, bytes, mode, false)
    }

    /// Like [`Folder::replace`], and on the medium when it returns: a loss of power leaves the old content or the new one.
    ///
    /// # Errors
    /// What the system says; the old content is there still, or the new one is there and may be lost with the power.
    pub fn replace_durably(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.put(name, bytes, mode, true)
    }

    /// Like [`Folder::replace_durably`], where a failure is answered as one that changed nothing: what the next start reads decides. The new content that is
    /// there although the medium did not say so is no failure; it is logged.
    ///
    /// # Errors
    /// What the system says; the old content is there still.
    pub fn replace_decidedly(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let Err(error) = self.replace_durably(name, bytes, mode) else { return Ok(()) };
        if self.read(name, bytes.len()).is_ok_and(|there| there == bytes) {
            tracing::warn!(file = name, %error, "cannot sync file: a loss of power may take it back");
            return Ok(());
        }
        Err(error)
    }

    fn put(&self, name: &str, bytes: &[u8], mode: u32, sync: bool) -> io::Result<()> {
        let new = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let made = match openat(&self.dir, &new, flags, mode) {
            // Left by a run that ended in between, or put there by somebody: not written to, whatever it is.
            Err(Errno::EXIST) => {
                match unlinkat(&self.dir, &new, AtFlags::empty()) {
                    Err(Errno::ISDIR) => self.put_folder_aside(&new)?,
                    removed => removed?,
                }
                openat(&self.dir, &new, flags, mode)
            }
            made => made,
        };
        let written = made.map_err(io::Error::from).and_then(|file| {
            // The umask took bits off that others may need to read it.
            fchmod(&file, mode)?;
            let mut file = File::from(file);
            file.write_all(bytes)?;
            if sync { file.sync_all() } else { Ok(()) }
        });
        let rename = || renameat(&self.dir, &new, &self.dir, name);
        let done = written.and_then(|()| match rename() {
            Err(Errno::ISDIR) => {
                self.put_folder_aside(name)?;
                Ok(rename()?)
            }
            done => Ok(done?),
        });
        if done.is_err() {
            let _ = unlinkat(&self.dir, &new, AtFlags::empty());
        } else if sync {
            fsync(&self.dir)?;
        }
        done
    }

    /// Puts the folder aside that is in the place of a file, which is about to be written.
    fn put_folder_aside(&self, name: &str) -> io::Result<()> {
        self.make_way_for_file(name)?;
        tracing::warn!(file = name, "folder in place of file put aside");
        Ok(())
    }
}

/// The name under which the thing of this number is put aside, counted from 1.
fn name_aside(name: &str, number: u32) -> String {
    match number {
        1 => format!("{name}.damaged"),
        number => format!("{name}.{number}.damaged"),
    }
}

/// What is said of a folder, a link, a pipe or a socket where a file is looked for.
fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is no file")
}

/// The content of the file at a path, of at most `max` bytes. A link is followed; whatever else may lie there is no file and does not
/// hold the reader, as a pipe without a writer does.
///
/// # Errors
/// As [`read_file`]; also when it cannot be opened.
pub fn read_path(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(CWD, path, flags, Mode::empty()) {
        // So the kernel says of a socket.
        Err(Errno::NXIO) => Err(no_file()),
        file => read_file(file?, max),
    }
}

/// The content of an open file of at most `max` bytes.
///
/// # Errors
/// `InvalidData` for what is no file or is longer; else what the system says.
pub fn read_file(file: OwnedFd, max: usize) -> io::Result<Vec<u8>> {
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(no_file());
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1))
        .read_to_end(&mut bytes)?;
    match bytes.len() > max {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {max} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_in_the_way_is_replaced_and_what_it_names_stays() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let folder = Folder::own(dir.path(), "mine").unwrap();
        for name in ["mine/kept", "mine/kept.new"] {
            symlink(&victim, dir.path().join(name)).unwrap();
        }
        assert!(folder.read("kept", 100).is_err(), "a link is not read");
        folder.replace("kept", b"new", 0o600).unwrap();
        assert_eq!(folder.read("kept", 100).unwrap(), b"new");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_dir(dir.path().join("mine")).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn what_no_file_or_folder_could_take_the_place_of_is_put_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        fs::create_dir(dir.path().join("file")).unwrap();
        fs::write(dir.path().join("folder"), "no folder").unwrap();
        assert!(folder.make_way_for_file("file").unwrap() && folder.make_way_for_folder("folder").unwrap());
        folder.replace_durably("file", b"new", 0o600).unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(!folder.make_way_for_file("file").unwrap() && !folder.make_way_for_folder("folder").unwrap());
        assert!(!folder.make_way_for_file("missing").unwrap());
        assert!(folder.is_file("file").unwrap() && !folder.is_file("folder").unwrap());
        assert_eq!(folder.is_file("missing").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(dir.path().join("file.damaged").is_dir());
        assert_eq!(fs::read_to_string(dir.path().join("folder.damaged")).unwrap(), "no folder");
        // And a file, where that is wanted.
        assert!(folder.set_aside("file").unwrap() && !folder.set_aside("file").unwrap());
        assert_eq!(folder.read("file.2.damaged", 10).unwrap(), b"new");
    }

    #[test]
    fn a_copy_is_kept_aside_once_for_its_owner_alone_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let at = |name: &str| dir.path().join(name);
        folder.keep_aside("file", 10).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "there is nothing to keep");
        for (content, turn) in [("one", 1), ("two", 2)] {
            folder.replace("file", content.as_bytes(), 0o644).unwrap();
            for _ in 0..2 {
                folder.keep_aside("file", 10).unwrap();
                assert_eq!(fs::read_to_string(at("file")).unwrap(), content);
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + turn, "the file and its copies");
            }
        }
        assert_eq!(folder.read("file.damaged", 10).unwrap(), b"one");
        assert_eq!(folder.read("file.2.damaged", 10).unwrap(), b"two");
        let mode = fs::metadata(at("file.damaged")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What is longer, or no file.
        folder.keep_aside("file", 2).unwrap();
        assert!(!at("file").exists());
        assert_eq!(folder.read("file.3.damaged", 10).unwrap(), b"two");
        fs::create_dir(at("file")).unwrap();
        folder.keep_aside("file", 10).unwrap();
        assert!(!at("file").exists() && at("file.4.damaged").is_dir());
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_put_aside_with_what_is_in_it_when_the_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let at = |name: &str| dir.path().join(name);
        let put = |name: &str, inside: &str| {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("inside"), inside).unwrap();
        };
        // In the place of the file, and of what is to become it.
        put("file", "1");
        put("file.new", "other");
        assert_eq!(folder.read("file", 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        folder.replace_durably("file", b"new", 0o600).unwrap();
        assert_eq!(folder.read("file", 10).unwrap(), b"new");
        assert_eq!(fs::read_to_string(at("file.new.damaged/inside")).unwrap(), "other");
        assert!(!at("file.new").exists());
        // Each time another name, up to a bound; nothing is lost, and then it is refused.
        for turn in 2..=ASIDE_MAX {
            fs::remove_file(at("file")).unwrap();
            put("file", &turn.to_string());
            folder.replace("file", b"newer", 0o600).unwrap();
            assert_eq!(folder.read("file", 10).unwrap(), b"newer");
        }
        let aside = |turn: u32| match turn {
            1 => at("file.damaged"),
            turn => at(&format!("file.{turn}.damaged")),
        };
        for turn in 1..=ASIDE_MAX {
            assert_eq!(fs::read_to_string(aside(turn).join("inside")).unwrap(), turn.to_string());
        }
        fs::remove_file(at("file")).unwrap();
        put("file", "last");
        let refused = folder.replace_durably("file", b"newest", 0o600).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert!(refused.to_string().contains("remove those"), "{refused}");
        assert_eq!(fs::read_to_string(at("file/inside")).unwrap(), "last");
        assert!(!at("file.new").exists());
    }

    #[test]
    fn whatever_lies_in_the_place_of_a_file_is_no_file_to_read_and_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let path = dir.path().join("file");
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        let kinds: [(&str, &dyn Fn()); 4] = [
            ("folder", &|| fs::create_dir(&path).unwrap()),
            ("link to a folder", &|| symlink("elsewhere", &path).unwrap()),
            ("pipe", &|| {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
            }),
            ("socket", &|| drop(std::os::unix::net::UnixListener::bind(&path).unwrap())),
        ];
        for (what, make) in kinds {
            make();
            assert_eq!(folder.read("file", 10).unwrap_err().kind(), io::ErrorKind::InvalidData, "{what}");
            assert_eq!(read_path(&path, 10).unwrap_err().kind(), io::ErrorKind::InvalidData, "{what}");
            folder.replace_durably("file", b"new", 0o600).unwrap();
            assert_eq!(folder.read("file", 10).unwrap(), b"new", "{what}");
            fs::remove_file(&path).unwrap();
        }
        assert!(dir.path().join("elsewhere").is_dir());
    }

    #[test]
    fn a_link_that_leads_to_a_folder_is_not_in_the_way_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(dir.path().join("file"), "no folder").unwrap();
        for (name, leads_to, is_in_the_way) in
            [("disk", "elsewhere", false), ("wrong", "file", true), ("nowhere", "missing", true)]
        {
            let (link, aside) = (dir.path().join(name), dir.path().join(format!("{name}.damaged")));
            symlink(leads_to, &link).unwrap();
            assert_eq!(folder.make_way_for_folder(name).unwrap(), is_in_the_way, "{name}");
            assert_eq!(link.is_symlink(), !is_in_the_way, "{name}");
            assert_eq!(aside.is_symlink(), is_in_the_way, "{name}");
        }
        // A file would take the place of the link, not of the folder.
        assert!(folder.make_way_for_file("disk").unwrap() && dir.path().join("elsewhere").is_dir());
    }

    #[test]
    fn a_folder_that_is_a_link_or_somebody_elses_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        symlink("other", dir.path().join("link")).unwrap();
        assert!(Folder::own(dir.path(), "link").is_err());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(Folder::own(dir.path(), "file").is_err());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path().join("other"), Some(64_099), None).unwrap();
            let error = Folder::own(dir.path(), "other").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        Folder::own(dir.path(), "open").unwrap();
        assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_has_the_mode_asked_for_and_not_what_the_umask_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::own(dir.path(), "mine").unwrap();
        // Every usual umask takes something off the last.
        for mode in [0o644, 0o600, 0o666] {
            folder.replace("kept", b"text", mode).unwrap();
            let found = fs::metadata(dir.path().join("mine/kept")).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{found:o}");
            folder.replace_durably("kept", b"text", mode).unwrap();
            assert_eq!(fs::read_dir(dir.path().join("mine")).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_pipe_and_an_endless_file_do_not_hold_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::own(dir.path(), "mine").unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("mine/pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(folder.read("pipe", 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let by_path = |name: &str| read_path(&dir.path().join("mine").join(name), 10);
        assert_eq!(by_path("pipe").unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(dir.path().join("mine/file"), "text").unwrap();
        symlink("file", dir.path().join("mine/link")).unwrap();
        assert_eq!(by_path("link").unwrap(), b"text");
        File::create(dir.path().join("mine/long")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(folder.read("long", 1000).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_refused_replacement_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::own(dir.path(), "mine").unwrap();
        // What is to become the file has a name that is longer than names may be (255 bytes).
        let name = "n".repeat(252);
        fs::write(dir.path().join("mine").join(&name), "old").unwrap();
        assert!(folder.replace(&name, b"new", 0o600).is_err());
        assert_eq!(folder.read(&name, 10).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path().join("mine")).unwrap().count(), 1);
    }
}
