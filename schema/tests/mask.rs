//! Field masks on reads and updates.

use std::collections::BTreeMap;

use schema::mask::{self, MaskError};
use schema::v1alpha1::{Host, HostStatus, Location, PowerRestorePolicy, RackLocation};

const WRITABLE: &[&str] = &["description", "location", "metadata", "power_restore_policy"];

fn host() -> Host {
    let rack = RackLocation { name: "r1".into(), row: Some("7".into()), ..Default::default() };
    Host {
        name: "system".into(),
        description: Some("the machine".into()),
        status: Some(HostStatus::On.into()),
        location: Some(Location { rack_location: Some(rack), ..Default::default() }),
        metadata: [("k".to_owned(), "v".to_owned())].into_iter().collect(),
        ..Default::default()
    }
}

fn paths(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

#[test]
fn a_read_keeps_what_is_asked_for() {
    let full: BTreeMap<&str, usize> =
        BTreeMap::from([("", 5), ("*", 5), ("name", 1), ("name,status", 2), ("location", 1)]);
    for (given, count) in full {
        let given: Vec<String> =
            given.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect();
        let mut message = schema::reflect(&host()).unwrap();
        mask::keep(&mut message, &given).unwrap();
        assert_eq!(message.fields().count(), count, "{given:?}");
    }
    let name = prost_types::FieldMask { paths: paths(&["name"]) };
    let named = Host { name: "system".into(), ..Host::default() };
    assert_eq!(mask::masked(host(), Some(&name)).unwrap(), named);
    assert_eq!(mask::masked(host(), Some(&prost_types::FieldMask::default())).unwrap(), host());
    assert_eq!(mask::masked(host(), None).unwrap(), host());
    let mut kept = host();
    mask::keep_in(&mut kept, &paths(&["location.rack_location.row"])).unwrap();
    let rack = kept.location.unwrap().rack_location.unwrap();
    assert_eq!((rack.name.as_str(), rack.row.as_deref(), kept.name.as_str()), ("", Some("7"), ""));
}

#[test]
fn a_path_that_is_no_field_is_an_error_and_changes_nothing() {
    for path in ["nothing", "location.nothing", "name.more", "metadata.k", "", "Name", "location."] {
        let mut message = host();
        let error = mask::keep_in(&mut message, &paths(&["name", path])).unwrap_err();
        assert_eq!(error, MaskError::Unknown { path: path.into(), message: "Host".into() });
        assert_eq!(message, host());
    }
}

#[test]
fn an_update_writes_what_the_mask_names_and_clears_what_the_patch_lacks() {
    let patch = Host {
        name: "other".into(),
        description: Some("new".into()),
        power_restore_policy: Some(PowerRestorePolicy::Last.into()),
        ..Default::default()
    };
    let run = |given: &[&str]| {
        let mut target = host();
        let changed = mask::update_in(&mut target, &patch, &paths(given), WRITABLE);
        (target, changed)
    };
    let (target, changed) = run(&["description", "location"]);
    assert_eq!(changed.unwrap(), ["description", "location"]);
    assert_eq!(
        (target.description.as_deref(), target.location, target.power_restore_policy),
        (Some("new"), None, None)
    );

    let (target, changed) = run(&["location.rack_location.row"]);
    assert_eq!(changed.unwrap(), ["location.rack_location.row"]);
    assert_eq!(target.location.unwrap().rack_location.unwrap().row, None);

    // Without a mask: what is set and writable. The name is neither an error nor written.
    let (target, changed) = run(&[]);
    assert_eq!(changed.unwrap(), ["description", "power_restore_policy"]);
    assert_eq!((target.name.as_str(), target.metadata.len()), ("system", 1));

    let (target, changed) = run(&["*"]);
    assert_eq!(changed.unwrap(), ["description", "location", "metadata", "power_restore_policy"]);
    assert!(target.metadata.is_empty());

    let (target, changed) = run(&["description", "status"]);
    assert!(matches!(changed.unwrap_err(), MaskError::ReadOnly { path, .. } if path == "status"));
    assert_eq!(target, host());
}

#[test]
fn writing_the_same_again_changes_nothing() {
    let mut target = host();
    assert!(mask::update_in(&mut target, &host(), &[], WRITABLE).unwrap().is_empty());
}

#[test]
fn a_writable_name_does_not_open_another_that_starts_alike() {
    let mut target = host();
    let error = mask::update_in(&mut target, &host(), &paths(&["description"]), &["desc"]).unwrap_err();
    assert!(matches!(error, MaskError::ReadOnly { .. }));
}
