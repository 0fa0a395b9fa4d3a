//! The data partition of this machine.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use boot::Template;
use hal_linux::block::{self, Kind};

use crate::console::say;
use crate::data::{Checked, Found, Partition, Repair, e2fsck};
use crate::ext4::{self, Health};
use crate::fault::chain;
use crate::system::{self, Dog};

const E2FSCK: &str = "/newroot/sbin/e2fsck";
const TEMPLATE: &str = "/newroot/usr/share/u-bmc/data.ext4.template";
/// A template is the metadata of an empty file system; more than this is none.
const MAX_TEMPLATE: u64 = 32 << 20;
/// Bytes wiped between two pets of the watchdog.
const PIECE: u64 = 8 << 20;
/// How long a check may take. The watchdog is petted meanwhile, so something else must end it.
const CHECK_STEPS: u32 = 60_000;
const CHECK_STEP: Duration = Duration::from_millis(10);

/// The data partition, on an eMMC (ext4) or on a flash (jffs2).
#[derive(Debug)]
pub(crate) struct Data<'a> {
    pub(crate) partition: Option<&'a block::Partition>,
    pub(crate) dog: &'a mut Dog,
    /// What was told, for the hand-over.
    pub(crate) told: Vec<String>,
}

impl Data<'_> {
    fn tell(&mut self, text: String) {
        say(&format!("data: {text}"));
        self.told.push(text);
    }

    fn partition(&self) -> io::Result<&block::Partition> {
        self.partition.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn try_mount(&self) -> io::Result<()> {
        let partition = self.partition()?;
        match partition.kind {
            Kind::Disk => system::mount_data(&partition.node.to_string_lossy(), "ext4", c"errors=remount-ro"),
            Kind::Flash => system::mount_data(&partition.name.replace("mtdblock", "mtd"), "jffs2", c""),
        }
    }

    fn try_check(&mut self, repair: Repair) -> io::Result<Option<i32>> {
        let node = self.partition()?.node.clone();
        let flag = if repair == Repair::Safe { "-p" } else { "-y" };
        let mut child = Command::new(E2FSCK).arg(flag).arg(node).env_clear().spawn()?;
        for _ in 0..CHECK_STEPS {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            self.dog.pet();
            std::thread::sleep(CHECK_STEP);
        }
        child.kill()?;
        child.wait()?;
        Err(io::ErrorKind::TimedOut.into())
    }

    fn try_recreate(&mut self) -> Result<(), String> {
        let partition = self.partition.ok_or("there is no partition")?;
        let dog = &mut *self.dog;
        match partition.kind {
            Kind::Flash => block::erase_flash(partition, &mut || dog.pet()).map_err(|error| chain(&error)),
            Kind::Disk => recreate_disk(partition, dog),
        }
    }
}

/// Wipes the whole partition, since what it held may be secret, and writes an empty file system.
fn recreate_disk(partition: &block::Partition, dog: &mut Dog) -> Result<(), String> {
    let read = |error: io::Error| format!("cannot read the template: {error}");
    let size = fs::metadata(TEMPLATE).map_err(read)?.len();
    if size > MAX_TEMPLATE {
        return Err(format!("a template of {size} bytes is none"));
    }
    let bytes = fs::read(TEMPLATE).map_err(read)?;
    let template = Template::parse(&bytes).map_err(|error| error.to_string())?;
    if template.total() > partition.size {
        return Err(format!("the template is for {} bytes, there are {}", template.total(), partition.size));
    }
    let device = File::options().write(true).open(&partition.node).map_err(|error| error.to_string())?;
    let mut offset = 0;
    while offset < partition.size {
        let length = PIECE.min(partition.size - offset);
        block::zero_out(&device, &partition.node, offset, length).map_err(|error| chain(&error))?;
        dog.pet();
        offset += length;
    }
    // The superblock comes last: a power cut before that leaves no file system, and the next boot starts over.
    let write = |(offset, bytes): (u64, &[u8])| device.write_all_at(bytes, offset);
    let written = template
        .records()
        .skip(1)
        .try_for_each(write)
        .and_then(|()| device.sync_all())
        .and_then(|()| template.records().next().map_or(Ok(()), write))
        .and_then(|()| device.sync_all());
    written.map_err(|error| format!("cannot write the template: {error}"))
}

impl Partition for Data<'_> {
    fn look(&mut self) -> Found {
        let Some(partition) = self.partition else {
            self.tell("there is no partition".to_owned());
            return Found::Nothing;
        };
        if partition.kind == Kind::Flash {
            return Found::Good;
        }
        match block::read_at(&partition.node, ext4::OFFSET, ext4::LENGTH) {
            Ok(superblock) => match ext4::health(&superblock) {
                Health::Good => Found::Good,
                Health::Errors => {
                    self.tell("its file system is flagged with errors".to_owned());
                    Found::Flagged
                }
                Health::None => {
                    self.tell("it holds no file system".to_owned());
                    Found::Blank
                }
            },
            Err(error) => {
                self.tell(chain(&error));
                Found::Blank
            }
        }
    }

    fn mount(&mut self) -> bool {
        match self.try_mount() {
            Ok(()) => true,
            Err(error) => {
                self.tell(format!("cannot be mounted: {error}"));
                false
            }
        }
    }

    fn check(&mut self, repair: Repair) -> Checked {
        if self.partition.is_none_or(|partition| partition.kind == Kind::Flash) {
            return Checked::Broken;
        }
        match self.try_check(repair) {
            Ok(status) => e2fsck(status),
            Err(error) => {
                self.tell(format!("cannot be checked: {error}"));
                Checked::Broken
            }
        }
    }

    fn recreate(&mut self) -> bool {
        say("data: is wiped and made anew");
        match self.try_recreate() {
            Ok(()) => true,
            Err(error) => {
                self.tell(error);
                false
            }
        }
    }

    fn mount_memory(&mut self) -> bool {
        match system::mount_data("tmpfs", "tmpfs", c"mode=755,size=16m") {
            Ok(()) => {
                self.tell("memory is in its place, nothing survives a reset".to_owned());
                true
            }
            Err(error) => {
                self.tell(format!("not even memory: {error}"));
                false
            }
        }
    }
}
