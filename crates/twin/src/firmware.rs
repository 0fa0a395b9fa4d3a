//! The firmware of a host: what it reports, what a boot takes of what is wished, and what that boot is like.
//!
//! Real firmware reports at its first boot. This one was booted once in the factory, so it has reported from the start: a machine that was never on shows
//! its set-up.

mod setup;

use boot_override::{Order, Target};
use host_firmware::{FirmwareBox, Progress, Report, Stage, Value, Wishes};
use units::Millis;

pub(crate) use setup::{DATE, VERSION};

/// The firmware of one host, and the memory it keeps when the host is off.
#[derive(Debug)]
pub(crate) struct Firmware {
    /// As it is kept but for `progress`, which the host knows.
    memory: FirmwareBox,
    /// Boots that have begun, also before this model was made.
    boots: u32,
    /// As the factory makes it.
    factory: Report,
}

impl Firmware {
    /// As it leaves the factory.
    pub(crate) fn new(boots_from: &[Target], has_secure_boot: bool) -> Self {
        let factory = setup::factory(boots_from, has_secure_boot);
        let memory = FirmwareBox { report: Some(factory.clone()), revision: 1, ..FirmwareBox::default() };
        Self { memory, boots: 0, factory }
    }

    pub(crate) fn memory(&self) -> &FirmwareBox {
        &self.memory
    }

    pub(crate) fn put(&mut self, wishes: Option<Wishes>) {
        self.memory.put(wishes);
    }

    pub(crate) fn boots(&self) -> u32 {
        self.boots
    }

    /// What outlasts the host and this model: `progress` has the number of the boot that began last, and says nothing of how far it has come.
    pub(crate) fn kept(&self) -> FirmwareBox {
        let progress = Progress { boot: self.boots, stage: Stage::PrimaryProcessor };
        FirmwareBox { progress: (self.boots > 0).then_some(progress), ..self.memory.clone() }
    }

    /// It is as [`Firmware::kept`] was, as far as this board's firmware has the same settings and boot options.
    pub(crate) fn restore(&mut self, kept: FirmwareBox) {
        let report = match &kept.report {
            Some(before) => setup::carried(self.factory.clone(), before),
            None => self.factory.clone(),
        };
        let is_news = kept.report.as_ref() != Some(&report);
        self.boots = kept.progress.map_or(0, |progress| progress.boot);
        self.memory = FirmwareBox {
            revision: kept.revision.saturating_add(u64::from(is_news)).max(1),
            report: Some(report),
            progress: None,
            ..kept
        };
    }

    /// Its memory is lost, and it is as it leaves the factory. `revision` is above all that it has had.
    pub(crate) fn lose_memory(&mut self, revision: u64) {
        let report = Some(self.factory.clone());
        self.memory = FirmwareBox { report, revision: revision.max(1), ..FirmwareBox::default() };
    }

    /// A boot begins: it takes what is wished.
    pub(crate) fn boot(&mut self) {
        self.boots = self.boots.wrapping_add(1);
        self.memory.boot();
    }

    fn report(&self) -> &Report {
        self.memory.report.as_ref().unwrap_or(&self.factory)
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(
            self.report().attribute(name).map(|attribute| &attribute.current),
            Some(Value::Boolean(true))
        )
    }

    /// Whether it says on the serial port what it does.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_on(setup::SERIAL_REDIRECTION)
    }

    /// Whether it says little.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_on(setup::QUIET_BOOT)
    }

    /// How much longer a boot takes for those who want to enter the set-up.
    pub(crate) fn timeout(&self) -> Millis {
        match self.report().attribute(setup::BOOT_TIMEOUT).map(|attribute| &attribute.current) {
            Some(Value::Integer(seconds)) => Millis::from_secs(u64::try_from(*seconds).unwrap_or(0)),
            _ => Millis::ZERO,
        }
    }

    /// What it tries when it is told nothing, in this order.
    pub(crate) fn own_order(&self) -> Vec<Target> {
        tried(self.report())
    }

    /// Whether that is as the factory has it.
    pub(crate) fn has_factory_order(&self) -> bool {
        self.own_order() == tried(&self.factory)
    }

    /// What an order names by one of the boot options, or by the device path of one, named by what that boots from. A boot option that is not there is
    /// disregarded (UEFI 2.10, 3.1.1); one that is not enabled is booted from all the same, as the order names it.
    pub(crate) fn resolve(&self, order: &Order) -> Order {
        let options = &self.report().boot_options;
        let named = |is_meant: &dyn Fn(&host_firmware::BootOption) -> bool| {
            options.iter().find(|option| is_meant(option)).and_then(|option| setup::target_of(&option.name))
        };
        let target = match order.target {
            Target::UefiBootNext => {
                Some(named(&|option| option.name == order.argument).unwrap_or(Target::None))
            }
            Target::UefiTarget => named(&|option| option.device_path.eq_ignore_ascii_case(&order.argument)),
            _ => None,
        };
        match target {
            Some(target) => Order { target, argument: String::new(), ..order.clone() },
            None => order.clone(),
        }
    }

    /// What a boot by this order tries, in this order.
    pub(crate) fn tries(&self, told: Option<&Order>) -> Vec<Target> {
        let first = told.map(|order| self.resolve(order).target).filter(|target| *target != Target::None);
        let own = self.own_order().into_iter().filter(|target| Some(*target) != first);
        first.into_iter().chain(own).collect()
    }
}

fn tried(report: &Report) -> Vec<Target> {
    let enabled = |name: &&String| report.boot_option(name).is_some_and(|option| option.enabled);
    report.boot_order.iter().filter(enabled).filter_map(|name| setup::target_of(name)).collect()
}

#[cfg(test)]
mod tests;
