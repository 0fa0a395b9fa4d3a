//! The contract must not break those who use it. See docs/api.md, "Changing the contract".

use std::path::PathBuf;

use prost_reflect::DescriptorPool;

#[path = "frozen/v1alpha1.rs"]
mod frozen;

fn frozen_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v1alpha1.binpb")
}

fn frozen() -> DescriptorPool {
    if std::env::var_os("UBMC_ACCEPT_SCHEMA").is_some() {
        std::fs::write(frozen_path(), schema::FILE_DESCRIPTOR_SET).unwrap();
    }
    let bytes = std::fs::read(frozen_path()).expect("tests/frozen/v1alpha1.binpb is part of the repository");
    DescriptorPool::decode(bytes.as_slice()).unwrap()
}

#[test]
fn nothing_that_was_promised_has_changed() {
    let broken = schema::lint::breaking_changes(&frozen(), schema::pool());
    assert!(
        broken.is_empty(),
        "the contract breaks its users:\n  {}\nRevert the change, or accept it while there is no release: \
         UBMC_ACCEPT_SCHEMA=1 cargo test -p schema --test breaking",
        broken.join("\n  ")
    );
}

/// The current contract with one text replaced in its descriptors.
fn changed(edit: impl FnOnce(&mut prost_types::FileDescriptorSet)) -> Vec<String> {
    // prost's descriptor types drop options they do not know, so both sides go through them.
    use prost_reflect::prost::Message as _;
    let plain = || prost_types::FileDescriptorSet::decode(schema::FILE_DESCRIPTOR_SET).unwrap();
    let mut set = plain();
    edit(&mut set);
    let old = DescriptorPool::from_file_descriptor_set(plain()).unwrap();
    schema::lint::breaking_changes(&old, &DescriptorPool::from_file_descriptor_set(set).unwrap())
}

fn message<'a>(
    set: &'a mut prost_types::FileDescriptorSet,
    name: &str,
) -> &'a mut prost_types::DescriptorProto {
    set.file
        .iter_mut()
        .filter(|f| f.package() == "schema.v1alpha1")
        .flat_map(|f| &mut f.message_type)
        .find(|m| m.name() == name)
        .unwrap()
}

#[test]
fn each_way_to_break_is_found() {
    assert_eq!(changed(|_| {}), Vec::<String>::new());
    let removed = changed(|set| {
        message(set, "ChangeHostStateResponse").field.retain(|field| field.name() != "operation_id");
    });
    assert_eq!(
        removed,
        [
            "schema.v1alpha1.ChangeHostStateResponse.operation_id: field 2 is gone and its number is not reserved"
        ]
    );
    let renumbered = changed(|set| message(set, "ChangeHostStateResponse").field[1].number = Some(9));
    assert_eq!(
        renumbered,
        ["schema.v1alpha1.ChangeHostStateResponse.operation_id: number changed from 2 to 9"]
    );
    let retyped = changed(|set| {
        message(set, "ChangeHostStateResponse").field[1]
            .set_type(prost_types::field_descriptor_proto::Type::Bytes);
    });
    assert_eq!(
        retyped,
        ["schema.v1alpha1.ChangeHostStateResponse.operation_id: type changed from string to bytes"]
    );
    let renamed = changed(|set| message(set, "GetHostResponse").field[0].name = Some("machine".into()));
    assert!(renamed[0].contains("field 1 was `host`, now is `machine`"), "{renamed:?}");
    let no_value = changed(|set| {
        let file = set.file.iter_mut().find(|f| f.name() == "schema/v1alpha1/host.proto").unwrap();
        let action = file.enum_type.iter_mut().find(|e| e.name() == "HostAction").unwrap();
        action.value[7].number = Some(70);
        action.value.remove(6);
    });
    assert_eq!(
        no_value,
        [
            "schema.v1alpha1.HostAction: HOST_ACTION_POWER_CYCLE = 6 is gone",
            "schema.v1alpha1.HostAction: HOST_ACTION_NMI changed from 7 to 70"
        ]
    );
    let no_method = changed(|set| {
        let file = set.file.iter_mut().find(|f| f.name() == "schema/v1alpha1/host.proto").unwrap();
        file.service[0].method.remove(0);
    });
    assert_eq!(no_method, ["method schema.v1alpha1.HostService.GetHost is gone"]);
}

/// The contract with a `.proto` file edited as text: for options.
fn edited(file: &'static str, from: &'static str, to: &'static str) -> Vec<String> {
    struct Edited(&'static str, &'static str, &'static str);
    impl protox::file::FileResolver for Edited {
        fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
            let Some(short) = name.strip_prefix("schema/") else {
                return Err(protox::Error::file_not_found(name));
            };
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(short);
            let mut text = std::fs::read_to_string(path).map_err(|_| protox::Error::file_not_found(name))?;
            if short.ends_with(self.0) {
                assert!(text.contains(self.1), "{} does not hold {:?}", self.0, self.1);
                text = text.replacen(self.1, self.2, 1);
            }
            protox::file::File::from_source(name, &text)
        }
    }
    let mut resolvers = protox::file::ChainFileResolver::new();
    resolvers.add(Edited(file, from, to));
    resolvers.add(protox::file::IncludeFileResolver::new(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("third_party"),
    ));
    resolvers.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolvers);
    compiler.include_imports(true);
    for file in schema::pool().files().filter(|file| file.package_name() == "schema.v1alpha1") {
        compiler.open_file(file.name()).unwrap();
    }
    schema::lint::breaking_changes(schema::pool(), &compiler.descriptor_pool())
}

#[test]
fn changed_paths_and_privileges_are_found() {
    let none = edited("host.proto", "hosts/{name}", "hosts/{name}");
    assert_eq!(none, Vec::<String>::new());
    let path = edited("host.proto", "hosts/{name}", "machines/{name}");
    assert_eq!(
        path,
        ["schema.v1alpha1.HostService.GetHost: no longer answers GET /api/v1alpha1/hosts/{name}"]
    );
    let second = edited("session.proto", "auth/authenticate", "auth/login");
    assert_eq!(
        second,
        [
            "schema.v1alpha1.SessionService.CreateSession: no longer answers POST /api/v1alpha1/auth/authenticate *"
        ]
    );
    let weaker = edited("host.proto", "PRIVILEGE_CONFIGURE_COMPONENTS", "PRIVILEGE_LOGIN");
    assert_eq!(
        weaker,
        [
            "schema.v1alpha1.HostService.UpdateHost: needs only PRIVILEGE_LOGIN, needed PRIVILEGE_CONFIGURE_COMPONENTS"
        ]
    );
    let shown = edited("session.proto", "string token = 2 [debug_redact = true]", "string token = 2");
    assert_eq!(shown, ["schema.v1alpha1.CreateSessionResponse.token: holds a secret and lost debug_redact"]);
}

#[test]
fn messages_on_the_wire_keep_their_bytes() {
    frozen::check();
}
