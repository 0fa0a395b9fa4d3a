//! A peer in the same run: OpenIPMI's simulator, with our own records of sensors and FRU data.

use std::fmt::Write as _;

use super::*;

/// The head of a record: its id, version, type and length.
const HEAD: usize = 5;
/// The type of a record of a sensor with a value.
const FULL: u8 = 0x01;
/// What all its sensors are read as: 25 degrees where steps of one begin at -128.
const RAW: u8 = 0x99;

/// The simulator, until it is dropped.
pub(super) struct Peer {
    pub(super) port: u16,
    _child: tokio::process::Child,
}

impl Peer {
    /// Starts it with what ours says of sensors and of the machine, and waits until it answers.
    pub(super) async fn start(bmc: &Bmc) -> Result<Self> {
        let (dir, port) = (bmc.suite.scratch().to_owned(), port()?);
        let users = format!(
            "name \"peer\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n\
             allowed_auths_admin none md2 md5 straight\nguid a123456789abcdefa123456789abcdef\nendlan\n\
             user 2 true \"boss\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n"
        );
        let mut commands = String::from(
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nsel_enable 0x20 100 0x0a\n",
        );
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!(" {byte:#04x}")).collect::<String>();
        let file = |name: &str| dir.join(name).display().to_string();
        bmc.tool(&["sdr", "dump", &file("records")]).await?;
        let mut records = &std::fs::read(dir.join("records"))?[..];
        while let [_, _, _, kind, length, rest @ ..] = records {
            let (record, behind) =
                records.split_at_checked(HEAD + usize::from(*length)).context("a record")?;
            if let (FULL, [_, lun, number, ..]) = (*kind, rest) {
                writeln!(commands, "main_sdr_add 0x20{}", hex(record))?;
                writeln!(commands, "sensor_add 0x20 {} {number} {} 1", lun & 3, rest.get(7).unwrap_or(&1))?;
                writeln!(commands, "sensor_set_value 0x20 {} {number} {RAW} 0", lun & 3)?;
            }
            records = behind;
        }
        bmc.tool(&["fru", "read", "0", &file("fru")]).await?;
        let fru = std::fs::read(dir.join("fru"))?;
        writeln!(commands, "mc_add_fru_data 0x20 0 {} data{}\nmc_enable 0x20", fru.len(), hex(&fru))?;
        std::fs::write(dir.join("lan.conf"), users)?;
        std::fs::write(dir.join("peer.emu"), commands)?;
        let child = tokio::process::Command::new("ipmi_sim")
            .args(["-n", "-c", "lan.conf", "-f", "peer.emu", "-s", "."])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        eventually("the peer answers", FOLLOW, || async {
            Ok(bmc.ipmitool_at(port, 3, BOSS, &["raw", "0x06", "0x01"]).await?.0)
        })
        .await?;
        Ok(Self { port, _child: child })
    }
}
