//! LEDs of the kernel's class keep the contract, on a folder that is laid out as `/sys`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use hal::Led;
use hal::contract::led::{self, Bench};
use hal_linux::LinuxLeds;
use leds::{Ability, Light};
use units::Millis;

const NAME: &str = "chassis:blue:identify";

/// An LED in a folder of its own.
struct Tree {
    sys: tempfile::TempDir,
    leds: LinuxLeds,
}

impl Tree {
    /// With this in `max_brightness`, and this list of triggers if there is one.
    fn new(max: &str, trigger: Option<&str>) -> Self {
        let sys = tempfile::tempdir().unwrap();
        let device = sys.path().join("devices/platform/leds/leds").join(NAME);
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(sys.path().join("class/leds")).unwrap();
        symlink(&device, sys.path().join("class/leds").join(NAME)).unwrap();
        symlink("../..", device.join("device")).unwrap();
        let leds = LinuxLeds::new(sys.path());
        let tree = Self { sys, leds };
        tree.put("max_brightness", max);
        tree.put("brightness", "0");
        if let Some(trigger) = trigger {
            tree.put("trigger", trigger);
        }
        tree
    }

    /// One that blinks by itself; as the kernel's, but that the files of the trigger are always there.
    fn blinks(max: &str) -> Self {
        let tree = Self::new(max, Some("[none] mmc0 timer heartbeat\n"));
        tree.put("delay_on", "0");
        tree.put("delay_off", "0");
        tree
    }

    fn path(&self, file: &str) -> PathBuf {
        self.sys.path().join("class/leds").join(NAME).join(file)
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    fn get(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap().trim().to_owned()
    }
}

#[async_trait]
impl Bench for Tree {
    async fn open(&mut self) -> Box<dyn Led> {
        self.leds.open(NAME).await.unwrap()
    }

    async fn see(&mut self) -> Light {
        let number = |file: &str| self.get(file).parse::<u32>().unwrap();
        let timer = fs::read_to_string(self.path("trigger")).is_ok_and(|trigger| trigger.trim() == "timer");
        if timer {
            assert_eq!(number("delay_on"), number("delay_off"));
            Light::Blink(number("brightness"), Millis::new(number("delay_on").into()))
        } else {
            Light::Steady(number("brightness"))
        }
    }
}

#[tokio::test]
async fn leds_with_and_without_brightness_and_timer_keep_the_contract() {
    for max in ["255", "1", "7\n"] {
        led::all(&mut Tree::blinks(max)).await;
        led::all(&mut Tree::new(max, Some("[none] mmc0"))).await;
        led::all(&mut Tree::new(max, None)).await;
    }
}

#[tokio::test]
async fn a_trigger_of_the_kernel_s_is_ended_by_what_is_shown_and_not_before() {
    let mut tree = Tree::blinks("255");
    tree.put("trigger", "none mmc0 timer [heartbeat]");
    let led = tree.open().await;
    assert_eq!(led.ability(), Ability { max: 255, blinks: true });
    assert_eq!(led.look().await.unwrap(), None);
    assert_eq!(tree.get("trigger"), "none mmc0 timer [heartbeat]");
    led.show(Light::Steady(9)).await.unwrap();
    assert_eq!((tree.get("trigger").as_str(), tree.get("brightness").as_str()), ("none", "9"));
}

#[tokio::test]
async fn one_that_cannot_have_the_rate_says_so_and_is_not_left_at_another() {
    let mut tree = Tree::blinks("255");
    let led = tree.open().await;
    fs::remove_file(tree.path("delay_off")).unwrap();
    let error = led.show(Light::Blink(255, Millis::new(250))).await.unwrap_err();
    assert!(matches!(error, hal::Error::Unsupported { .. }), "{error}");
    assert_eq!(tree.get("trigger"), "none");
}

#[tokio::test]
async fn one_that_blinks_already_is_not_begun_anew() {
    let mut tree = Tree::blinks("255");
    tree.put("trigger", "none [timer]");
    tree.put("brightness", "255");
    for file in ["delay_on", "delay_off"] {
        tree.put(file, "500");
        let mut read_only = fs::metadata(tree.path(file)).unwrap().permissions();
        read_only.set_readonly(true);
        fs::set_permissions(tree.path(file), read_only).unwrap();
    }
    let led = tree.open().await;
    let light = Light::Blink(255, Millis::new(500));
    assert_eq!(led.look().await.unwrap(), Some(light));
    led.show(light).await.unwrap();
    assert_eq!(tree.get("trigger"), "none [timer]", "nothing was written to it");
    // In its dark half the brightness is not known.
    tree.put("brightness", "0");
    assert_eq!(led.look().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_there_or_holds_nonsense_is_told_and_found_again() {
    let leds = LinuxLeds::new(Path::new("/no/such/folder"));
    assert!(matches!(leds.open(NAME).await.unwrap_err(), hal::Error::Unavailable { .. }));
    let mut tree = Tree::blinks("many");
    assert!(matches!(tree.leds.open(NAME).await.unwrap_err(), hal::Error::Invalid { .. }));
    tree.put("max_brightness", "255");
    let led = tree.open().await;
    let (folder, away) = (tree.path("."), tree.sys.path().join("away"));
    let folder = folder.canonicalize().unwrap();
    fs::rename(&folder, &away).unwrap();
    assert!(matches!(led.show(Light::Steady(1)).await.unwrap_err(), hal::Error::Unavailable { .. }));
    fs::rename(&away, &folder).unwrap();
    led.show(Light::Steady(1)).await.unwrap();
    assert_eq!(tree.get("brightness"), "1");
}
