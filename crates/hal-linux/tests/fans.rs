//! What an implementation of `FanBus` owes, on a folder that is laid out as `/sys`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hal::{Error, FanBus, FanOutput, Location};
use hal_linux::SysfsFans;

struct Sys(tempfile::TempDir);

impl Sys {
    fn new() -> Self {
        let sys = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(sys.path().join("class/hwmon")).unwrap();
        fs::create_dir_all(sys.path().join("devices")).unwrap();
        sys
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A controller with an output, found under this number.
    fn add(&self, device: &str, number: u32, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.path().join("devices").join(device).join("hwmon").join(format!("hwmon{number}"));
        fs::create_dir_all(&folder).unwrap();
        // Relative, as the kernel's are.
        let base = Path::new(device).file_name().unwrap();
        symlink(Path::new("../../..").join(base), folder.join("device")).unwrap();
        let own = format!("../../devices/{device}/hwmon/hwmon{number}");
        symlink(own, self.path().join(format!("class/hwmon/hwmon{number}"))).unwrap();
        for (name, value) in files {
            fs::write(folder.join(name), value).unwrap();
        }
        folder
    }

    fn remove(&self, device: &str, number: u32) {
        fs::remove_file(self.path().join(format!("class/hwmon/hwmon{number}"))).unwrap();
        fs::remove_dir_all(self.path().join("devices").join(device)).unwrap();
    }
}

fn fans(sys: &Sys) -> SysfsFans {
    let output = |output: &str| FanOutput {
        location: Location::Path("platform/fan-controller".to_owned()),
        driver: Some("sim".to_owned()),
        output: output.to_owned(),
    };
    SysfsFans::new(sys.path(), vec![output("pwm1"), output("pwm2")])
}

/// The same outputs, whatever the driver is called.
fn fans_of_any_driver(sys: &Sys) -> SysfsFans {
    let output = |output: &str| FanOutput {
        location: Location::Path(DEVICE.to_owned()),
        driver: None,
        output: output.to_owned(),
    };
    SysfsFans::new(sys.path(), vec![output("pwm1"), output("pwm2")])
}

const DEVICE: &str = "platform/fan-controller";
const FILES: [(&str, &str); 4] =
    [("name", "sim\n"), ("pwm1", "255\n"), ("pwm1_enable", "2\n"), ("pwm2", "77\n")];

fn read(folder: &Path, name: &str) -> u32 {
    fs::read_to_string(folder.join(name)).unwrap().trim().parse().unwrap()
}

#[test]
fn an_output_is_in_our_hands_and_has_the_value_and_its_neighbour_keeps_its_own() {
    let sys = Sys::new();
    let folder = sys.add(DEVICE, 3, &FILES);
    let mut fans = fans(&sys);
    for value in [0, 9, 100, 255, 8] {
        fans.set(0, value).unwrap();
        assert_eq!((read(&folder, "pwm1"), read(&folder, "pwm1_enable")), (value.into(), 1));
        assert_eq!(read(&folder, "pwm2"), 77);
    }
    // One without a mode of its own.
    fans.set(1, 100).unwrap();
    assert_eq!(read(&folder, "pwm2"), 100);
}

#[test]
fn an_output_that_is_driven_faster_is_not_slowed_down() {
    let sys = Sys::new();
    let folder = sys.add(DEVICE, 0, &FILES);
    let mut fans = fans(&sys);
    for (now, least, then) in [(200, 153, 200), (100, 153, 153), (255, 0, 255)] {
        fans.set(0, now).unwrap();
        fans.raise(0, least).unwrap();
        assert_eq!((read(&folder, "pwm1"), read(&folder, "pwm1_enable")), (then, 1));
    }
    // Nothing controls it: it runs as fast as it can, whatever is written beside.
    fs::write(folder.join("pwm1_enable"), "0\n").unwrap();
    fs::write(folder.join("pwm1"), "30\n").unwrap();
    fans.raise(0, 100).unwrap();
    assert_eq!((read(&folder, "pwm1"), read(&folder, "pwm1_enable")), (255, 1));
}

/// The driver of MAX31785 takes parts of 255 and gives percents: 100 is full speed, and not two fifths of it.
#[test]
fn an_output_that_is_read_in_percent_is_not_slowed_down_either() {
    let sys = Sys::new();
    let folder = sys.add(
        DEVICE,
        0,
        &[("name", "max31785a\n"), ("pwm1", "100\n"), ("pwm1_enable", "1\n"), ("pwm2", "50\n")],
    );
    let mut fans = fans_of_any_driver(&sys);
    fans.raise(0, 204).unwrap();
    fans.raise(1, 204).unwrap();
    assert_eq!((read(&folder, "pwm1"), read(&folder, "pwm2")), (255, 204));
}

/// The same driver takes an output over with the value alone. Its mode it refuses to set while it does not know the value (ENXIO), and otherwise it sets two fifths of that with it
/// (Linux 6.12, `max31785_pwm_enable`).
#[test]
fn an_output_that_a_value_takes_over_is_asked_for_no_mode() {
    let sys = Sys::new();
    let folder = sys.add(
        DEVICE,
        0,
        &[
            ("name", "max31785\n"),
            ("pwm1", "40\n"),
            ("pwm1_enable", "0\n"),
            ("pwm2", "40\n"),
            ("pwm2_enable", "3\n"),
        ],
    );
    let mut fans = fans_of_any_driver(&sys);
    fans.set(0, 120).unwrap();
    fans.set(1, 90).unwrap();
    assert_eq!((read(&folder, "pwm1"), read(&folder, "pwm1_enable")), (120, 0));
    assert_eq!((read(&folder, "pwm2"), read(&folder, "pwm2_enable")), (90, 3));
    // What it does by itself is looked at all the same: nothing controls the first, so it is at full speed.
    fans.raise(0, 10).unwrap();
    assert_eq!(read(&folder, "pwm1"), 255);
}

#[test]
fn what_somebody_else_took_is_taken_back_with_the_same_value_too() {
    let sys = Sys::new();
    let folder = sys.add(DEVICE, 3, &FILES);
    let mut fans = fans(&sys);
    fans.set(0, 120).unwrap();
    fs::write(folder.join("pwm1_enable"), "2\n").unwrap();
    fs::write(folder.join("pwm1"), "30\n").unwrap();
    fans.set(0, 120).unwrap();
    assert_eq!((read(&folder, "pwm1"), read(&folder, "pwm1_enable")), (120, 1));
}

#[test]
fn a_controller_that_is_not_there_yet_or_leaves_is_found_when_it_is_there() {
    let sys = Sys::new();
    let mut fans = fans(&sys);
    let gone =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
    gone(fans.set(0, 50));
    sys.add(DEVICE, 3, &FILES);
    fans.set(0, 50).unwrap();
    sys.remove(DEVICE, 3);
    gone(fans.set(0, 50));
    let folder = sys.add(DEVICE, 7, &FILES);
    fans.set(0, 50).unwrap();
    assert_eq!(read(&folder, "pwm1"), 50);
    gone(fans.set(9, 50));
}

#[test]
fn another_driver_or_place_is_not_taken_for_it() {
    let sys = Sys::new();
    let other = sys.add("platform/other", 1, &FILES);
    let driver = sys.add("bus/platform/fan-controller", 2, &[("name", "nct6775\n"), ("pwm1", "1\n")]);
    assert!(fans(&sys).set(0, 50).is_err());
    assert_eq!((read(&other, "pwm1"), read(&driver, "pwm1")), (255, 1));
}

#[test]
fn what_is_dropped_goes_on_with_its_last_value() {
    let sys = Sys::new();
    let folder = sys.add(DEVICE, 3, &FILES);
    let mut fans = fans(&sys);
    fans.set(0, 200).unwrap();
    drop(fans);
    assert_eq!(read(&folder, "pwm1"), 200);
}

#[test]
fn what_the_driver_refuses_is_told() {
    let sys = Sys::new();
    let folder = sys.add(DEVICE, 3, &FILES);
    fs::remove_file(folder.join("pwm1")).unwrap();
    // Every write to it fails: no space.
    symlink("/dev/full", folder.join("pwm1")).unwrap();
    let error = fans(&sys).set(0, 50).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }), "{error:?}");
    assert_eq!(error.to_string(), "cannot drive pwm1 of platform/fan-controller");
}
