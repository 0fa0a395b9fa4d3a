//! The values: messages of the schema, and what is the model's business about each.

use prost::Message;
use schema::v1alpha1 as v1;

use crate::quality::Quality;

/// What the operator takes of memory, which its description of the system says beside what stays (docs/operator.md). It is another with each question.
const OPERATOR_MEMORY: &str = "operator.memory_pss_bytes";

/// One power operation of one host.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The host.
    pub host: String,
    /// What was asked for, and what became of it.
    pub operation: v1::HostOperation,
}

/// A value with a name.
pub(crate) trait Item: Clone + PartialEq {
    /// Its name within its domain.
    fn id(&self) -> &str;

    /// How many bytes it takes on the bus.
    fn bytes(&self) -> usize;

    /// Drops what is not kept.
    fn trim(&mut self) {}

    /// Clears what moves by itself as time goes: that it has moved is no change.
    fn settle(&mut self) {}

    /// What its owner says that it is worth.
    fn quality(&self) -> Quality {
        Quality::Good
    }
}

/// Whether two values differ by nothing but time.
pub(crate) fn is_same<T: Item>(one: &T, other: &T) -> bool {
    let settled = |item: &T| {
        let mut item = item.clone();
        item.settle();
        item
    };
    settled(one) == settled(other)
}

/// The name and the bytes of a message of the schema.
macro_rules! message {
    ($id:ident) => {
        fn id(&self) -> &str {
            &self.$id
        }

        fn bytes(&self) -> usize {
            self.encoded_len()
        }
    };
}

fn stale_if(stale: bool) -> Quality {
    if stale { Quality::Stale } else { Quality::Good }
}

impl Item for v1::Host {
    message!(name);

    fn settle(&mut self) {
        self.power_on_time = None;
        if let Some(reboot) = &mut self.last_reboot {
            reboot.uptime = None;
        }
    }

    fn quality(&self) -> Quality {
        stale_if(self.stale)
    }
}

impl Item for v1::Chassis {
    message!(name);

    fn quality(&self) -> Quality {
        stale_if(self.stale)
    }
}

impl Item for v1::ManagementController {
    message!(name);

    fn settle(&mut self) {
        if let Some(reboot) = &mut self.last_reboot {
            reboot.uptime = None;
        }
    }
}

impl Item for v1::Sensor {
    message!(id);

    /// What it shows is told as a reading, and is not to be found here in an older state.
    fn trim(&mut self) {
        (self.status, self.last_reading_timestamp, self.age) = (None, None, None);
        (self.quality, self.reason) = (0, 0);
        match &mut self.reading {
            Some(v1::sensor::Reading::AnalogReading(analog)) => analog.value = None,
            Some(v1::sensor::Reading::DiscreteReading(discrete)) => {
                discrete.state.clear();
                discrete.state_description = None;
            }
            None => {}
        }
    }

    fn settle(&mut self) {
        if let Some(v1::sensor::Reading::AnalogReading(analog)) = &mut self.reading {
            analog.min_max_recorded = None;
        }
    }
}

impl Item for v1::ThermalZone {
    message!(name);

    fn settle(&mut self) {
        self.last_updated = None;
    }

    fn quality(&self) -> Quality {
        match self.status() {
            v1::ThermalZoneStatus::Error => Quality::Unavailable,
            _ => Quality::Good,
        }
    }
}

impl Item for v1::CoolingDevice {
    message!(name);

    fn settle(&mut self) {
        self.last_updated = None;
    }

    fn quality(&self) -> Quality {
        match self.status() {
            v1::CoolingDeviceStatus::Unknown | v1::CoolingDeviceStatus::NotPresent => Quality::Unavailable,
            _ => Quality::Good,
        }
    }
}

impl Item for v1::Led {
    message!(name);

    fn quality(&self) -> Quality {
        match (self.fault.is_empty(), self.stale.is_empty()) {
            (false, _) => Quality::Failed,
            (true, false) => Quality::Stale,
            (true, true) => Quality::Good,
        }
    }
}

impl Item for v1::Asset {
    message!(id);

    fn settle(&mut self) {
        self.updated_at = None;
    }

    fn quality(&self) -> Quality {
        match self.quality() {
            v1::AssetQuality::Good => Quality::Good,
            v1::AssetQuality::Stale | v1::AssetQuality::Unspecified => Quality::Stale,
            v1::AssetQuality::Damaged => Quality::Failed,
        }
    }
}

impl Item for v1::AccountName {
    message!(id);
}

impl Item for v1::Daemon {
    message!(name);

    /// The sources of a dead daemon are in the log.
    fn trim(&mut self) {
        self.last_output.clear();
    }

    fn settle(&mut self) {
        (self.memory_bytes, self.memory_pss_bytes) = (0, 0);
        self.cpu_time = None;
    }
}

impl Item for v1::SystemInfo {
    /// There is one.
    fn id(&self) -> &str {
        "system"
    }

    fn bytes(&self) -> usize {
        self.encoded_len()
    }

    fn settle(&mut self) {
        self.uptime = None;
        self.metadata.remove(OPERATOR_MEMORY);
        if let Some(health) = &mut self.health {
            (health.last_updated, health.uptime) = (None, None);
            for detail in &mut health.details {
                detail.timestamp = None;
            }
        }
    }
}

impl Item for Operation {
    fn id(&self) -> &str {
        &self.operation.id
    }

    fn bytes(&self) -> usize {
        self.host.len() + self.operation.encoded_len()
    }
}

impl Item for v1::Event {
    message!(id);
}
