//! What is read of ELF files: a section of a kernel module, the functions of a program. The files come from outside: `object` checks.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

/// The bytes of the section of that name.
pub(crate) fn section<'a>(file: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let elf = object::File::parse(file).context("not an ELF file")?;
    let section = elf.section_by_name(name).with_context(|| format!("there is no section {name:?}"))?;
    Ok(section.data()?)
}

/// What the code of a program is made of, in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Code {
    /// By the crate whose name a function's begins with. What one crate defines and another one's types fill in (generics) counts for the one that
    /// defines it; what has no Rust name is `C and others`.
    pub(crate) crates: BTreeMap<String, u64>,
    /// By the only daemon that a function's name has anything of: its own functions, and those of others that its types fill in.
    pub(crate) daemons: BTreeMap<String, u64>,
}

/// Reads a program that has its symbols. Names tell of generics only if they are mangled by the scheme `v0`.
pub(crate) fn code(program: &[u8], daemons: &[String]) -> Result<Code> {
    let elf = object::File::parse(program).context("not an ELF file")?;
    let mut code = Code::default();
    let mut seen = std::collections::BTreeSet::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        // Functions that are alike share one place under two names.
        if !seen.insert(symbol.address()) {
            continue;
        }
        let name = match rustc_demangle::try_demangle(symbol.name().unwrap_or_default()) {
            Ok(name) => format!("{name:#}"),
            Err(_) => String::new(),
        };
        *code.crates.entry(crate_of(&name)).or_default() += symbol.size();
        if let Some(daemon) = daemon_of(&name, daemons) {
            *code.daemons.entry(daemon.clone()).or_default() += symbol.size();
        }
    }
    anyhow::ensure!(!seen.is_empty(), "the program has no symbols");
    Ok(code)
}

/// The crates that a readable name has anything of, in its order.
fn crates(name: &str) -> impl Iterator<Item = &str> {
    // `<a::B as c::D>::e`, `<dyn a::B>`, `<&mut a::B as ..>`, `<[a::B]>`.
    name.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|word| word.split_once("::").map(|(first, _)| first).filter(|first| !first.is_empty()))
}

/// The crate that a readable name belongs to: the type's, and the trait's where the type is a plain one.
fn crate_of(name: &str) -> String {
    if name.is_empty() {
        return "C and others".to_owned();
    }
    crates(name).next().unwrap_or("core").to_owned()
}

/// The daemon that a readable name is of, if there is exactly one.
fn daemon_of<'a>(name: &str, daemons: &'a [String]) -> Option<&'a String> {
    let mut found = None;
    for part in crates(name) {
        let daemon = daemons.iter().find(|daemon| *daemon == part);
        match (found, daemon) {
            (Some(one), Some(other)) if one != other => return None,
            (None, Some(_)) => found = daemon,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file with a `.modinfo` section and nothing else of interest.
    pub(crate) fn with_modinfo(info: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.names\0";
        let mut file = b"\x7fELF\x01\x01\x01".to_vec();
        file.resize(52, 0);
        let info_at = file.len();
        file.extend(info);
        let names_at = file.len();
        file.extend(names);
        let table = file.len();
        for (name, kind, at, length) in
            [(0, 0, 0, 0), (1, 1, info_at, info.len()), (10, 3, names_at, names.len())]
        {
            let header = [name, kind, 0, 0, at, length, 0, 0, 0, 0].map(|n| u32::try_from(n).unwrap());
            file.extend(header.iter().flat_map(|n| n.to_le_bytes()));
        }
        file.splice(32..36, u32::try_from(table).unwrap().to_le_bytes());
        file.splice(46..52, [40, 0, 3, 0, 2, 0]);
        file
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let file = with_modinfo(b"license=GPL\0");
        assert_eq!(section(&file, ".modinfo").unwrap(), b"license=GPL\0");
        assert!(section(&file, ".text").is_err());
        section(b"\x7fELF", ".modinfo").unwrap_err();
        section(&file[..60], ".modinfo").unwrap_err();
    }

    #[test]
    fn a_function_belongs_to_the_crate_its_name_begins_with() {
        for (symbol, name) in [
            ("_ZN6websrv7gateway5route17h0123456789abcdefE", "websrv"),
            (
                "_ZN64_$LT$statemgr..shell..Shell$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
                "statemgr",
            ),
            ("_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", "core"),
            ("_RNvNtCs1234_6websrv7gateway5route", "websrv"),
        ] {
            assert_eq!(crate_of(&format!("{:#}", rustc_demangle::demangle(symbol))), name, "{symbol}");
        }
        assert_eq!(crate_of(""), "C and others");
    }

    #[test]
    fn a_function_is_a_daemons_if_it_has_something_of_that_one_alone() {
        let daemons = ["websrv", "usermgr"].map(str::to_owned);
        for (name, daemon) in [
            ("websrv::gateway::route", Some("websrv")),
            ("<tokio::runtime::task::core::Core<websrv::lanes::run::{closure#0}, _>>::poll", Some("websrv")),
            ("<alloc::vec::Vec<usermgr::Account>>::push", Some("usermgr")),
            ("service::run::<usermgr::Daemon, websrv::Daemon>", None),
            ("tokio::spawn::<ipc::Server>", None),
            ("mywebsrv::x", None),
            ("", None),
        ] {
            assert_eq!(daemon_of(name, &daemons).map(String::as_str), daemon, "{name}");
        }
    }

    #[test]
    fn this_program_is_made_of_crates() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let of = super::code(&program, &["xtask".to_owned()]).unwrap();
        assert!(of.crates["core"] > 0 && of.crates["xtask"] > 0, "{of:?}");
        assert!(of.daemons["xtask"] >= of.crates["xtask"], "{of:?}");
        super::code(b"text", &[]).unwrap_err();
    }
}
