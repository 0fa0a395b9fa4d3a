//! An OCI image layout (image-spec v1.1: image-layout.md, manifest.md, config.md): blobs by their digests, and an index that names the image. `skopeo copy
//! oci:DIR docker-daemon:…`, `podman load`, `nerdctl load` and the like take it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{BOARDS, File, archive, gzip};

/// Whom it runs as: nobody in particular, by number, as it has no list of users.
const USER: u32 = 65_532;

/// Writes the layout into a new folder.
pub(super) fn write(dir: &Path, files: &[File], version: &str, architecture: &str) -> Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], kind: &str| -> Result<Value> {
        let digest = HEXLOWER.encode(&Sha256::digest(bytes));
        fs::write(blobs.join(&digest), bytes)?;
        Ok(json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        }))
    };
    let plain = archive(files)?;
    let layer = put(&gzip(&plain)?, "layer.v1.tar+gzip")?;
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": USER.to_string(),
            "ExposedPorts": {"8443/tcp": {}},
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": [
                "/usr/bin/u-bmc", "operator", "--state-dir", "/tmp/u-bmc", "--https", "0.0.0.0:8443", "--http", "off",
                "--set", "netmgr.observe=true",
            ],
            "Cmd": ["--board", format!("/{BOARDS}/board.toml")],
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&plain)))]},
        "history": [{"created_by": "cargo xtask package"}],
    });
    let config = put(&serde_json::to_vec(&config)?, "config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = put(&serde_json::to_vec(&manifest)?, "manifest.v1+json")?;
    if let Some(map) = manifest.as_object_mut() {
        map.insert("platform".to_owned(), json!({"architecture": architecture, "os": "linux"}));
        map.insert("annotations".to_owned(), json!({"org.opencontainers.image.ref.name": version}));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(dir.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(dir.join("oci-layout"), serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blob that a descriptor names, which is as large and has the digest it says.
    fn blob(dir: &Path, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = fs::read(dir.join("blobs/sha256").join(digest)).unwrap();
        assert_eq!(HEXLOWER.encode(&Sha256::digest(&bytes)), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn a_layout_leads_from_its_index_to_the_files() {
        use std::io::Read as _;
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[File::new("usr/bin/u-bmc", 0o755, "program")], "1.2.3", "amd64").unwrap();
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(json(&fs::read(dir.path().join("oci-layout")).unwrap())["imageLayoutVersion"], "1.0.0");
        let index = json(&fs::read(dir.path().join("index.json")).unwrap());
        let manifest = json(&blob(dir.path(), &index["manifests"][0]));
        let config = json(&blob(dir.path(), &manifest["config"]));
        let packed = blob(dir.path(), &manifest["layers"][0]);
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut layer).unwrap();
        let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&layer)));
        assert_eq!(config["rootfs"]["diff_ids"][0], digest.as_str());
        assert_eq!((&config["architecture"], &config["config"]["User"]), (&json!("amd64"), &json!("65532")));
        let mut tar = tar::Archive::new(layer.as_slice());
        let last = tar.entries().unwrap().last().unwrap().unwrap();
        assert_eq!(last.path().unwrap().to_str(), Some("usr/bin/u-bmc"));
    }
}
