//! The bill of materials, in CycloneDX: the crates that are linked into the image's programs, and the Debian packages.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::source::Source;
use super::uuid;
use crate::crates::{Crate, linked};
use crate::packages::Package;
use crate::sh;

/// Makes the document.
pub(crate) fn document(board: &str, source: &Source, packages: &[Package]) -> Result<String> {
    let crates = linked(&["u-bmc", "stage0"])?;
    let sums = checksums(&std::fs::read_to_string(sh::root().join("Cargo.lock"))?)?;
    let mut components: Vec<Value> = crates.values().map(|one| of_crate(one, &sums)).collect();
    components.extend(packages.iter().map(of_package));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&format!("{board} {} sbom", source.commit))),
        "version": 1,
        "metadata": {
            "timestamp": timestamp(source.epoch),
            "component": {
                "type": "firmware",
                "bom-ref": "image",
                "name": format!("u-bmc {board}"),
                "version": env!("CARGO_PKG_VERSION"),
                "licenses": [{ "license": { "id": env!("CARGO_PKG_LICENSE") } }],
                "properties": [{ "name": "commit", "value": source.commit }],
            },
        },
        "components": components,
    });
    Ok(format!("{document:#}\n"))
}

/// SHA-256 of each crate, from the lock file.
fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = toml::from_str(lock).context("Cargo.lock")?;
    let text =
        |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let packages = lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock: no packages")?;
    Ok(packages
        .iter()
        .filter_map(|p| Some(((text(p, "name")?, text(p, "version")?), text(p, "checksum")?)))
        .collect())
}

fn of_crate(one: &Crate, sums: &BTreeMap<(String, String), String>) -> Value {
    let purl = format!("pkg:cargo/{}@{}", one.name, one.version.replace('+', "%2B"));
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": one.name,
        "version": one.version,
    });
    if !one.licence.is_empty() {
        component["licenses"] = json!([{ "expression": one.licence }]);
    }
    // What is part of this repository has no place in a registry.
    if !one.is_ours {
        component["purl"] = json!(purl);
    }
    if let Some(sum) = sums.get(&(one.name.clone(), one.version.clone())) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    component
}

fn of_package(package: &Package) -> Value {
    let encode = |text: &str| text.replace('%', "%25").replace('+', "%2B").replace(':', "%3A");
    let purl = format!(
        "pkg:deb/debian/{}@{}?arch={}&distro={}",
        encode(&package.name),
        encode(&package.version),
        package.architecture,
        package.suite
    );
    let mut component = json!({
        "type": if package.name.starts_with("linux-image-") { "operating-system" } else { "application" },
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
    });
    if let Some(licence) = &package.licence {
        component["licenses"] = json!([{ "expression": licence }]);
    }
    component
}

/// Seconds since 1970 as RFC 3339 (days to date as in "Euclidean affine functions", Neri and Schneider, 2021).
fn timestamp(epoch: u64) -> String {
    let (days, seconds) = (epoch / 86_400, epoch % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + carry;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_as_a_date() {
        for (epoch, wanted) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(epoch), wanted);
        }
    }
}
