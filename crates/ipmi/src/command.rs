//! The commands there are: numbers, lengths and privileges in one table, from which the documentation's is written.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::level::Level;

/// A network function, and for the group extension whose command it is (table 5-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// 00.
    Chassis,
    /// 04.
    Sensor,
    /// 06.
    App,
    /// 0A.
    Storage,
    /// 0C.
    Transport,
    /// 2C, with DC first: DCMI's.
    Dcmi,
}

/// What comes first in data of DCMI, both ways (DCMI 1.5 §6.1).
pub(crate) const DCMI: u8 = 0xdc;

impl Group {
    /// The number of the network function.
    #[must_use]
    pub const fn function(self) -> u8 {
        match self {
            Self::Chassis => 0x00,
            Self::Sensor => 0x04,
            Self::App => 0x06,
            Self::Storage => 0x0a,
            Self::Transport => 0x0c,
            Self::Dcmi => 0x2c,
        }
    }

    /// The byte that comes first in the data of its requests and, behind the completion code, of its answers.
    #[must_use]
    pub const fn prefix(self) -> Option<u8> {
        match self {
            Self::Dcmi => Some(DCMI),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Chassis => "chassis",
            Self::Sensor => "sensor",
            Self::App => "app",
            Self::Storage => "storage",
            Self::Transport => "transport",
            Self::Dcmi => "DCMI",
        }
    }
}

/// How many bytes of data a request has.
pub type Lengths = RangeInclusive<usize>;

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which it is.
    pub command: Command,
    /// Its network function.
    pub group: Group,
    /// Its number in that.
    pub number: u8,
    /// What the session has to have; `None`: not even a session.
    pub level: Option<Level>,
    /// How many bytes of data it takes, without the group's.
    pub lengths: Lengths,
    /// Its name in the specification.
    pub name: &'static str,
}

impl Row {
    /// Whether it changes nothing, whoever may use it. A reservation is what a read of several parts begins with.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        ["Get ", "Read ", "Reserve "].iter().any(|verb| self.name.starts_with(verb))
    }
}

macro_rules! commands {
    ($($group:ident { $($number:literal $command:ident $level:tt $lengths:expr, $name:literal;)+ })+) => {
        /// A command that is known here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Command { $($(#[doc = $name] $command),+),+ }

        impl Command {
            /// The table.
            pub const ROWS: &'static [Row] = &[$($(Row {
                command: Self::$command,
                group: Group::$group,
                number: $number,
                level: commands!(@level $level),
                lengths: $lengths,
                name: $name,
            }),+),+];
        }
    };
    (@level none) => { None };
    (@level user) => { Some(Level::User) };
    (@level operator) => { Some(Level::Operator) };
    (@level admin) => { Some(Level::Administrator) };
}

// The privileges are those of the specification's appendix G, but for accounts' names: they are shown to those alone who manage accounts.
commands! {
    Chassis {
        0x00 GetChassisCapabilities user 0..=0, "Get Chassis Capabilities";
        0x01 GetChassisStatus user 0..=0, "Get Chassis Status";
        0x02 ChassisControl operator 1..=1, "Chassis Control";
        0x04 ChassisIdentify operator 0..=2, "Chassis Identify";
        0x05 SetChassisCapabilities admin 5..=6, "Set Chassis Capabilities";
        0x06 SetPowerRestorePolicy operator 1..=1, "Set Power Restore Policy";
        0x07 GetSystemRestartCause user 0..=0, "Get System Restart Cause";
        0x08 SetSystemBootOptions operator 1..=18, "Set System Boot Options";
        0x09 GetSystemBootOptions operator 3..=3, "Get System Boot Options";
        0x0f GetPohCounter user 0..=0, "Get POH Counter";
    }
    Sensor {
        0x02 PlatformEvent operator 7..=8, "Platform Event Message";
        0x10 GetPefCapabilities user 0..=0, "Get PEF Capabilities";
        0x11 ArmPefTimer admin 1..=1, "Arm PEF Postpone Timer";
        0x12 SetPefParameters admin 2..=23, "Set PEF Configuration Parameters";
        0x13 GetPefParameters operator 3..=3, "Get PEF Configuration Parameters";
        0x14 SetLastProcessed admin 3..=3, "Set Last Processed Event ID";
        0x15 GetLastProcessed admin 0..=0, "Get Last Processed Event ID";
        0x16 AlertImmediate admin 3..=12, "Alert Immediate";
        0x20 GetDeviceSdrInfo user 0..=1, "Get Device SDR Info";
        0x21 GetDeviceSdr user 6..=6, "Get Device SDR";
        0x22 ReserveDeviceSdr user 0..=0, "Reserve Device SDR Repository";
        0x23 GetSensorFactors user 2..=2, "Get Sensor Reading Factors";
        0x24 SetSensorHysteresis operator 4..=4, "Set Sensor Hysteresis";
        0x25 GetSensorHysteresis user 2..=2, "Get Sensor Hysteresis";
        0x26 SetSensorThresholds operator 8..=8, "Set Sensor Thresholds";
        0x27 GetSensorThresholds user 1..=1, "Get Sensor Thresholds";
        0x28 SetSensorEventEnable operator 2..=6, "Set Sensor Event Enable";
        0x29 GetSensorEventEnable user 1..=1, "Get Sensor Event Enable";
        0x2b GetSensorEventStatus user 1..=1, "Get Sensor Event Status";
        0x2d GetSensorReading user 1..=1, "Get Sensor Reading";
        0x2f GetSensorType user 1..=1, "Get Sensor Type";
    }
    App {
        0x01 GetDeviceId user 0..=0, "Get Device ID";
        0x02 ColdReset admin 0..=0, "Cold Reset";
        0x03 WarmReset admin 0..=0, "Warm Reset";
        0x04 GetSelfTestResults user 0..=0, "Get Self Test Results";
        0x06 SetAcpiPowerState admin 2..=2, "Set ACPI Power State";
        0x07 GetAcpiPowerState user 0..=0, "Get ACPI Power State";
        0x08 GetDeviceGuid user 0..=0, "Get Device GUID";
        0x09 GetNetFnSupport user 1..=1, "Get NetFn Support";
        0x0a GetCommandSupport user 3..=4, "Get Command Support";
        0x0b GetSubFunctionSupport user 4..=5, "Get Command Sub-function Support";
        0x0c GetConfigurableCommands user 3..=4, "Get Configurable Commands";
        0x0d GetConfigurableSubFunctions user 4..=5, "Get Configurable Command Sub-functions";
        0x22 ResetWatchdog operator 0..=0, "Reset Watchdog Timer";
        0x24 SetWatchdog operator 6..=6, "Set Watchdog Timer";
        0x25 GetWatchdog user 0..=0, "Get Watchdog Timer";
        0x2e SetGlobalEnables admin 1..=1, "Set BMC Global Enables";
        0x2f GetGlobalEnables user 0..=0, "Get BMC Global Enables";
        0x37 GetSystemGuid user 0..=0, "Get System GUID";
        0x38 GetChannelAuthCapabilities none 2..=2, "Get Channel Authentication Capabilities";
        0x3b SetSessionPrivilege user 1..=1, "Set Session Privilege Level";
        0x3c CloseSession user 4..=5, "Close Session";
        0x3d GetSessionInfo user 1..=5, "Get Session Info";
        0x40 SetChannelAccess admin 3..=3, "Set Channel Access";
        0x41 GetChannelAccess user 2..=2, "Get Channel Access";
        0x42 GetChannelInfo user 1..=1, "Get Channel Info";
        0x43 SetUserAccess admin 3..=4, "Set User Access";
        0x44 GetUserAccess admin 2..=2, "Get User Access";
        0x45 SetUserName admin 17..=17, "Set User Name";
        0x46 GetUserName admin 1..=1, "Get User Name";
        0x47 SetUserPassword admin 2..=22, "Set User Password";
        0x48 ActivatePayload operator 6..=6, "Activate Payload";
        0x49 DeactivatePayload operator 6..=6, "Deactivate Payload";
        0x4a GetPayloadStatus user 1..=1, "Get Payload Activation Status";
        0x4b GetPayloadInstance user 2..=2, "Get Payload Instance Info";
        0x4c SetUserPayloadAccess admin 6..=6, "Set User Payload Access";
        0x4d GetUserPayloadAccess operator 2..=2, "Get User Payload Access";
        0x4e GetPayloadSupport user 1..=1, "Get Channel Payload Support";
        0x4f GetPayloadVersion user 2..=2, "Get Channel Payload Version";
        0x54 GetChannelCipherSuites none 3..=3, "Get Channel Cipher Suites";
        0x58 SetSystemInfo admin 2..=18, "Set System Info Parameters";
        0x59 GetSystemInfo user 4..=4, "Get System Info Parameters";
        0x60 SetCommandEnables admin 19..=20, "Set Command Enables";
        0x61 GetCommandEnables user 3..=4, "Get Command Enables";
        0x63 GetSubFunctionEnables user 4..=5, "Get Command Sub-function Enables";
    }
    Storage {
        0x10 GetFruArea user 1..=1, "Get FRU Inventory Area Info";
        0x11 ReadFru user 4..=4, "Read FRU Data";
        0x12 WriteFru operator 4..=131, "Write FRU Data";
        0x20 GetSdrInfo user 0..=0, "Get SDR Repository Info";
        0x22 ReserveSdr user 0..=0, "Reserve SDR Repository";
        0x23 GetSdr user 6..=6, "Get SDR";
        0x28 GetSdrTime user 0..=0, "Get SDR Repository Time";
        0x40 GetSelInfo user 0..=0, "Get SEL Info";
        0x41 GetSelAllocation user 0..=0, "Get SEL Allocation Info";
        0x42 ReserveSel user 0..=0, "Reserve SEL";
        0x43 GetSelEntry user 6..=6, "Get SEL Entry";
        0x44 AddSelEntry operator 16..=16, "Add SEL Entry";
        0x46 DeleteSelEntry operator 4..=4, "Delete SEL Entry";
        0x47 ClearSel operator 6..=6, "Clear SEL";
        0x48 GetSelTime user 0..=0, "Get SEL Time";
        0x49 SetSelTime operator 4..=4, "Set SEL Time";
        0x5c GetSelTimeOffset user 0..=0, "Get SEL Time UTC Offset";
        0x5d SetSelTimeOffset operator 2..=2, "Set SEL Time UTC Offset";
    }
    Transport {
        0x01 SetLanParameters admin 3..=22, "Set LAN Configuration Parameters";
        0x02 GetLanParameters operator 4..=4, "Get LAN Configuration Parameters";
        0x21 SetSolParameters admin 3..=4, "Set SOL Configuration Parameters";
        0x22 GetSolParameters user 4..=4, "Get SOL Configuration Parameters";
    }
    Dcmi {
        0x01 GetDcmiCapabilities user 1..=1, "Get DCMI Capabilities Info";
        0x02 GetPowerReading user 3..=3, "Get Power Reading";
        0x03 GetPowerLimit user 2..=2, "Get Power Limit";
        0x04 SetPowerLimit operator 14..=14, "Set Power Limit";
        0x05 ActivatePowerLimit operator 3..=3, "Activate/Deactivate Power Limit";
        0x06 GetAssetTag user 2..=2, "Get Asset Tag";
        0x07 GetDcmiSensors operator 4..=4, "Get DCMI Sensor Info";
        0x08 SetAssetTag operator 2..=18, "Set Asset Tag";
        0x09 GetControllerId user 2..=2, "Get Management Controller Identifier String";
        0x0a SetControllerId admin 2..=18, "Set Management Controller Identifier String";
        0x10 GetTemperatures user 4..=4, "Get Temperature Readings";
        0x12 SetDcmiParameters admin 3..=5, "Set DCMI Configuration Parameters";
        0x13 GetDcmiParameters user 2..=2, "Get DCMI Configuration Parameters";
    }
}

impl Command {
    /// Whether a logical unit has the command of these numbers, where there is one: the units beside the first one have sensors, beyond those that one has
    /// numbers for, and so the commands about one sensor (§5.1, §35).
    #[must_use]
    pub fn is_of_unit(lun: u8, function: u8, number: u8) -> bool {
        match lun {
            0 => true,
            1 | 3 => function == Group::Sensor.function() && (0x20..=0x30).contains(&number),
            _ => false,
        }
    }

    /// Whether a channel's firewall may take it away: not what a session is made and ended with, nor the firewall itself (§21.1).
    #[must_use]
    pub const fn is_configurable(self) -> bool {
        !matches!(
            self,
            Self::GetChannelAuthCapabilities
                | Self::GetChannelCipherSuites
                | Self::SetSessionPrivilege
                | Self::CloseSession
                | Self::GetNetFnSupport
                | Self::GetCommandSupport
                | Self::GetSubFunctionSupport
                | Self::GetConfigurableCommands
                | Self::GetConfigurableSubFunctions
                | Self::SetCommandEnables
                | Self::GetCommandEnables
                | Self::GetSubFunctionEnables
        )
    }

    /// Whether the machine itself may use it where its way in is restricted: what an operating system and its tools need, and nothing that changes the
    /// controller, its network or its accounts.
    #[must_use]
    pub const fn is_for_machine(self) -> bool {
        matches!(
            self,
            Self::GetChassisCapabilities
                | Self::GetChassisStatus
                | Self::ChassisControl
                | Self::SetChassisCapabilities
                | Self::SetPowerRestorePolicy
                | Self::GetSystemRestartCause
                | Self::SetSystemBootOptions
                | Self::GetSystemBootOptions
                | Self::GetPohCounter
                | Self::PlatformEvent
                | Self::GetDeviceSdrInfo
                | Self::GetDeviceSdr
                | Self::ReserveDeviceSdr
                | Self::GetSensorFactors
                | Self::GetSensorHysteresis
                | Self::GetSensorThresholds
                | Self::GetSensorEventEnable
                | Self::GetSensorEventStatus
                | Self::GetSensorReading
                | Self::GetSensorType
                | Self::GetDeviceId
                | Self::GetSelfTestResults
                | Self::SetAcpiPowerState
                | Self::GetAcpiPowerState
                | Self::GetDeviceGuid
                | Self::ResetWatchdog
                | Self::SetWatchdog
                | Self::GetWatchdog
                | Self::GetSystemGuid
                | Self::GetChannelAccess
                | Self::GetChannelInfo
                | Self::GetPayloadSupport
                | Self::GetPayloadVersion
                | Self::SetSystemInfo
                | Self::GetSystemInfo
                | Self::GetFruArea
                | Self::ReadFru
                | Self::GetSdrInfo
                | Self::ReserveSdr
                | Self::GetSdr
                | Self::GetSdrTime
                | Self::GetSelInfo
                | Self::GetSelAllocation
                | Self::ReserveSel
                | Self::GetSelEntry
                | Self::AddSelEntry
                | Self::GetSelTime
                | Self::SetSelTime
                | Self::GetSelTimeOffset
                | Self::GetLanParameters
                | Self::GetDcmiCapabilities
                | Self::GetPowerReading
                | Self::GetPowerLimit
                | Self::GetAssetTag
                | Self::GetDcmiSensors
                | Self::GetTemperatures
        )
    }

    /// Its row.
    #[must_use]
    pub fn row(self) -> Option<&'static Row> {
        Self::ROWS.iter().find(|row| row.command == self)
    }

    /// The row of a request, by its numbers and what comes first in its data.
    #[must_use]
    pub fn of(function: u8, number: u8, data: &[u8]) -> Option<&'static Row> {
        Self::ROWS.iter().find(|row| {
            (row.group.function(), row.number) == (function, number)
                && row.group.prefix().is_none_or(|prefix| data.first() == Some(&prefix))
        })
    }

    /// The table as docs/ipmi.md shows it.
    #[must_use]
    pub fn table() -> String {
        let mut out =
            "| function | command | name | takes, bytes | privilege |\n|---|---|---|---|---|\n".to_owned();
        for row in Self::ROWS {
            let Row { group, number, name, lengths, .. } = row;
            let level = row.level.map_or("none", Level::name);
            let lengths = match (lengths.start(), lengths.end()) {
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "| {:02X} {} | {number:02X} | {name} | {lengths} | {level} |",
                group.function(),
                group.name()
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_reads_is_told_from_what_changes_something() {
        let only_reads = |command: Command| command.row().unwrap().only_reads();
        for command in
            [Command::GetLanParameters, Command::ReadFru, Command::ReserveSel, Command::GetUserName]
        {
            assert!(only_reads(command), "{command:?}");
        }
        for command in [
            Command::SetLanParameters,
            Command::WriteFru,
            Command::ClearSel,
            Command::ColdReset,
            Command::ResetWatchdog,
            Command::ChassisControl,
            Command::AlertImmediate,
            Command::PlatformEvent,
        ] {
            assert!(!only_reads(command), "{command:?}");
        }
    }

    #[test]
    fn units_beside_the_first_one_have_sensors_alone() {
        let units = |command: Command| {
            let row = command.row().unwrap();
            [0, 1, 2, 3].map(|lun| Command::is_of_unit(lun, row.group.function(), row.number))
        };
        for command in [Command::GetSensorReading, Command::SetSensorThresholds, Command::GetDeviceSdr] {
            assert_eq!(units(command), [true, true, false, true], "{command:?}");
        }
        for command in
            [Command::GetDeviceId, Command::ChassisControl, Command::PlatformEvent, Command::GetSdr]
        {
            assert_eq!(units(command), [true, false, false, false], "{command:?}");
        }
    }

    #[test]
    fn no_two_rows_are_of_the_same_numbers_or_command() {
        for (at, row) in Command::ROWS.iter().enumerate() {
            for other in &Command::ROWS[..at] {
                assert_ne!((row.group, row.number), (other.group, other.number), "{}", row.name);
            }
            let data: Vec<u8> = row.group.prefix().into_iter().collect();
            let found = Command::of(row.group.function(), row.number, &data).unwrap();
            assert_eq!((found.command, row.command.row().unwrap().number), (row.command, row.number));
        }
        assert!(Command::of(0x2c, 0x01, &[0x03]).is_none(), "another group's");
    }
}
