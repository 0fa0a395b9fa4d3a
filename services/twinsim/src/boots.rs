//! What a QEMU guest boots by, and the places that its firmware's devices have by that.

use boot_override::{Order, Target};

use crate::uefi::Setup;

/// What a guest boots by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Boots {
    /// What its firmware was told. It names no boot option but what that boots from.
    pub(crate) told: Option<Order>,
    /// What its firmware tries when it is told nothing, in this order and nothing else; `None`: as the factory has it.
    pub(crate) order: Option<Vec<Target>>,
}

/// What a guest can boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// The disk of the board file.
    Disk,
    /// The CD of the board file.
    FixedCd,
    /// The network card.
    Network,
    /// The CD drive of this number whose medium comes from elsewhere.
    Cd(usize),
    /// The stick of this number.
    Stick(usize),
}

/// Between the places of two boot options. There are never so many devices of one kind.
const STRIDE: usize = 1_000;

impl Boots {
    /// What it was told to boot from.
    pub(crate) fn target(&self) -> Target {
        self.told.as_ref().map_or(Target::None, |order| order.target)
    }

    /// The place of a device in the order in which firmware tries what there is (`bootindex`); `None` for one that it does not try. No two have the same.
    pub(crate) fn index(&self, device: Device) -> Option<usize> {
        // What it is, its place when it is what the firmware was told, and its place in the factory's order.
        let (is, told, factory): (&[Target], Option<usize>, usize) = match device {
            Device::Cd(0) => (&[Target::Cd], Some(1), 4),
            Device::Stick(0) => (&[Target::Usb], Some(1), 6),
            Device::Disk => (&[Target::Hdd], Some(2), 3),
            Device::FixedCd => (&[Target::Cd], Some(2), 5),
            Device::Network => (&[Target::Pxe, Target::UefiHttp], Some(2), 7),
            Device::Cd(nth) => (&[Target::Cd], None, 10 + nth),
            Device::Stick(nth) => (&[Target::Usb], None, 30 + nth),
        };
        if let Some(told) = told.filter(|_| is.contains(&self.target())) {
            return Some(told);
        }
        let Some(order) = &self.order else { return Some(factory) };
        let place = order.iter().position(|target| is.contains(target))?;
        Some((place + 1) * STRIDE + factory)
    }

    /// No boot option is enabled, and it was told nothing.
    fn has_nothing(&self) -> bool {
        self.target() == Target::None && self.order.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether a boot enters the set-up, where the firmware has one. With nothing to boot from it does.
    pub(crate) fn setup(&self) -> Setup {
        match self.target() {
            Target::BiosSetup => Setup::Enter,
            Target::None if self.has_nothing() => Setup::Enter,
            Target::None => Setup::AsTheSystemWants,
            _ => Setup::Skip,
        }
    }

    /// Whether what its firmware was told as it began is not for the boot after: a guest that restarts then begins anew.
    pub(crate) fn is_for_one_start(&self) -> bool {
        self.told.is_some() || self.has_nothing()
    }

    /// Whether a kernel that is there in place of a disk is loaded: it comes before all else.
    pub(crate) fn loads_kernel(&self) -> bool {
        match self.target() {
            Target::None => self.order.as_ref().is_none_or(|order| order.first() == Some(&Target::Hdd)),
            target => target == Target::Hdd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_override::Mode;

    const DEVICES: [Device; 7] = [
        Device::Disk,
        Device::Cd(0),
        Device::FixedCd,
        Device::Stick(0),
        Device::Network,
        Device::Cd(1),
        Device::Stick(1),
    ];

    fn told(target: Target) -> Option<Order> {
        let argument = String::new();
        Some(Order { id: "a".to_owned(), target, once: true, mode: Mode::Firmware, argument })
    }

    /// The devices that are tried, first things first.
    fn tried(boots: &Boots) -> Vec<Device> {
        let mut places: Vec<(usize, Device)> =
            DEVICES.into_iter().filter_map(|device| Some((boots.index(device)?, device))).collect();
        places.sort_by_key(|(place, _)| *place);
        assert!(places.windows(2).all(|two| two[0].0 != two[1].0), "{places:?}");
        places.into_iter().map(|(_, device)| device).collect()
    }

    #[test]
    fn devices_are_tried_as_told_then_as_set_and_else_as_the_factory_has_it() {
        use Device::{Cd, Disk, FixedCd, Network, Stick};
        let set = |order: &[Target]| Some(order.to_vec());
        for (boots, wanted) in [
            (Boots::default(), vec![Disk, Cd(0), FixedCd, Stick(0), Network, Cd(1), Stick(1)]),
            (
                Boots { told: told(Target::Cd), order: None },
                vec![Cd(0), FixedCd, Disk, Stick(0), Network, Cd(1), Stick(1)],
            ),
            (
                Boots { told: told(Target::UefiHttp), order: None },
                vec![Network, Disk, Cd(0), FixedCd, Stick(0), Cd(1), Stick(1)],
            ),
            (
                Boots { told: None, order: set(&[Target::Pxe, Target::Cd, Target::Hdd]) },
                vec![Network, Cd(0), FixedCd, Cd(1), Disk],
            ),
            (
                Boots { told: told(Target::Usb), order: set(&[Target::UefiHttp, Target::Hdd, Target::Pxe]) },
                vec![Stick(0), Network, Disk],
            ),
            (Boots { told: None, order: set(&[]) }, vec![]),
        ] {
            assert_eq!(tried(&boots), wanted, "{boots:?}");
        }
    }

    #[test]
    fn the_set_up_is_entered_when_it_is_asked_for_or_nothing_can_be_booted() {
        use Setup::{AsTheSystemWants, Enter, Skip};
        for (told, order, wanted, for_one) in [
            (None, None, AsTheSystemWants, false),
            (None, Some(vec![Target::Cd]), AsTheSystemWants, false),
            (None, Some(vec![]), Enter, true),
            (told(Target::None), Some(vec![]), Enter, true),
            (told(Target::None), None, AsTheSystemWants, true),
            (told(Target::BiosSetup), None, Enter, true),
            (told(Target::Hdd), Some(vec![]), Skip, true),
        ] {
            let boots = Boots { told, order };
            assert_eq!((boots.setup(), boots.is_for_one_start()), (wanted, for_one), "{boots:?}");
        }
        // No kernel goes before it, and the disk is what is booted when it is left.
        let boots = Boots { told: told(Target::BiosSetup), order: None };
        assert!(!boots.loads_kernel());
        assert_eq!(tried(&boots), tried(&Boots::default()));
    }

    #[test]
    fn a_kernel_is_loaded_where_the_disk_it_stands_for_would_come_first() {
        for (told, order, wanted) in [
            (None, None, true),
            (told(Target::Hdd), Some(vec![Target::Cd]), true),
            (told(Target::None), Some(vec![Target::Hdd]), true),
            (told(Target::Pxe), None, false),
            (None, Some(vec![Target::Cd, Target::Hdd]), false),
            (None, Some(vec![]), false),
        ] {
            assert_eq!(Boots { told, order }.loads_kernel(), wanted);
        }
    }
}
