//! The empty data partition, as a template: what a new ext4 file system is, without the zeros between.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::uuid;
use crate::{need, sh};

/// Nothing of the machine's own configuration: the same file system everywhere. A type without a line counts as not there, which mke2fs
/// warns of.
const CONFIG: &str = "\
[defaults]
    blocksize = 4096
    inode_size = 256
    inode_ratio = 16384
    reserved_ratio = 0.0
[fs_types]
    ext4 = {
        inode_size = 256
    }
    small = {
        inode_size = 256
    }
    floppy = {
        inode_size = 256
    }
";

const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

const BLOCK: usize = 4096;

/// Makes the template for a partition of `size` bytes.
pub(crate) fn template(size: u64, board: &str, epoch: u64, work: &Path) -> Result<Vec<u8>> {
    need::tools(&[need::MKE2FS])?;
    let config = work.join("mke2fs.conf");
    fs::write(&config, CONFIG)?;
    let image = work.join("data.ext4");
    fs::File::create(&image)?.set_len(size)?;
    let seed = uuid(&format!("{board} hashes"));
    sh::run(
        sh::command(sh::located("mke2fs").context("mke2fs")?)
            .args(["-q", "-F", "-t", "ext4", "-O", FEATURES, "-L", "u-bmc-data", "-J", "size=4", "-m", "0"])
            .args(["-U", &uuid(&format!("{board} data"))])
            .args([
                "-E",
                &format!("nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed={seed},root_owner=0:0"),
            ])
            .arg(&image)
            .env("MKE2FS_CONFIG", &config)
            .env("E2FSPROGS_FAKE_TIME", epoch.to_string())
            .env("SOURCE_DATE_EPOCH", epoch.to_string()),
    )?;
    let template = of(&image, size)?;
    fs::remove_file(&image)?;
    Ok(template)
}

/// The blocks of a file that are not zero.
fn of(image: &Path, size: u64) -> Result<Vec<u8>> {
    let mut file = fs::File::open(image).with_context(|| format!("cannot read {}", image.display()))?;
    let mut writer = boot::TemplateWriter::new(size);
    // As long as blocks follow each other they are one record.
    let (mut run, mut start, mut at) = (Vec::new(), 0, 0);
    let mut block = vec![0; BLOCK];
    let zeros = vec![0; BLOCK];
    while at < size {
        let length = BLOCK.min(usize::try_from(size - at)?);
        block.truncate(length);
        file.read_exact(&mut block)?;
        if zeros.get(..length) == Some(block.as_slice()) {
            if !run.is_empty() {
                writer.add(start, &run);
                run.clear();
            }
        } else {
            if run.is_empty() {
                start = at;
            }
            run.extend_from_slice(&block);
        }
        at += length as u64;
    }
    if !run.is_empty() {
        writer.add(start, &run);
    }
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gives_back_what_it_was_made_of() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        let mut image = vec![0_u8; 10 * BLOCK + 100];
        for at in [0, 4096, 5000, 7 * BLOCK + 4095, 10 * BLOCK + 99] {
            image[at] = 7;
        }
        fs::write(&file, &image).unwrap();
        let bytes = of(&file, image.len() as u64).unwrap();
        let template = boot::Template::parse(&bytes).unwrap();
        let mut again = vec![0; usize::try_from(template.total()).unwrap()];
        for (offset, bytes) in template.records() {
            let at = usize::try_from(offset).unwrap();
            again[at..at + bytes.len()].copy_from_slice(bytes);
        }
        assert!(again == image);
        assert_eq!(template.records().count(), 3);
    }

    #[test]
    fn two_templates_of_one_board_are_the_same_and_whole() {
        if !sh::on_path("mke2fs") {
            #[expect(clippy::print_stdout, reason = "how a test says that it cannot run")]
            {
                println!("SKIP: mke2fs is not installed");
            }
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let make = || template(32 << 20, "test/board", 1_700_000_000, dir.path()).unwrap();
        let first = make();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(first == make());
        let template = boot::Template::parse(&first).unwrap();
        let mut image = vec![0; 32 << 20];
        for (offset, bytes) in template.records() {
            let at = usize::try_from(offset).unwrap();
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let file = dir.path().join("image");
        fs::write(&file, image).unwrap();
        sh::run(sh::command(sh::located("e2fsck").unwrap()).arg("-fn").arg(&file)).unwrap();
    }
}
