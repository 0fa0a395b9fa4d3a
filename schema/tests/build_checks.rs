//! Contracts that must not build, and what the build says about them.
#![allow(dead_code, reason = "the build script uses more of the module than these tests")]

use std::path::Path;

#[path = "../build/contract.rs"]
mod contract;

struct Source(String);

impl protox::file::FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        let text = match name {
            "schema/v1alpha1/t.proto" => self.0.clone(),
            "schema/v1alpha1/options.proto" => {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("v1alpha1/options.proto");
                std::fs::read_to_string(path).map_err(|_| protox::Error::file_not_found(name))?
            }
            _ => return Err(protox::Error::file_not_found(name)),
        };
        protox::file::File::from_source(name, &text)
    }
}

/// What the build says to a file with this body.
fn build(body: &str) -> String {
    let source = format!(
        "syntax = \"proto3\";\npackage schema.v1alpha1;\nimport \"google/api/annotations.proto\";\n\
         import \"buf/validate/validate.proto\";\nimport \"schema/v1alpha1/options.proto\";\n\
         message Q {{ string name = 1; uint32 n = 2; string safe = 3 [(buf.validate.field).string.pattern = \"^[a-z]*$\"]; }}\n\
         message A {{}}\n{body}"
    );
    let mut resolvers = protox::file::ChainFileResolver::new();
    resolvers.add(Source(source));
    resolvers.add(protox::file::IncludeFileResolver::new(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("third_party"),
    ));
    resolvers.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolvers);
    compiler.include_imports(true).open_file("schema/v1alpha1/t.proto").unwrap();
    let pool = compiler.descriptor_pool();
    match contract::services(&pool).and_then(|_| contract::check_rules(&pool)) {
        Ok(()) => "builds".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn method(signature: &str, options: &str) -> String {
    build(&format!("service S {{ option (owner) = \"d\"; rpc M{signature} {{ {options} }} }}"))
}

const LOGIN: &str = "option (privilege) = PRIVILEGE_LOGIN;";
const GET: &str = "option idempotency_level = NO_SIDE_EFFECTS; option (google.api.http) = {get: \"/api/v1alpha1/x/{name}\"};";
const UNARY: &str = "(Q) returns (A)";
const STREAM: &str = "(Q) returns (stream A)";

#[test]
fn a_complete_method_builds() {
    assert_eq!(method(UNARY, &format!("{LOGIN}{GET}")), "builds");
    assert_eq!(
        method(STREAM, &format!("{LOGIN}{GET} option (stream) = {{subject: \"event.{{safe}}.x\"}};")),
        "builds"
    );
}

#[test]
fn an_incomplete_contract_is_refused_with_file_and_method() {
    let at = "schema/v1alpha1/t.proto: method S.M";
    let cases = [
        (
            build("service S { rpc M(Q) returns (A) {} }"),
            "schema/v1alpha1/t.proto: service S lacks `option (owner)`".to_owned(),
        ),
        (method(UNARY, GET), format!("{at} lacks `option (privilege)`")),
        (
            method(UNARY, &format!("option (privilege) = PRIVILEGE_UNSPECIFIED; {GET}")),
            format!("{at} lacks `option (privilege)`"),
        ),
        (method(UNARY, LOGIN), format!("{at} lacks `option (google.api.http)`")),
        (
            build(&format!(
                "service S {{ option (owner) = \"d\"; option (internal) = true; rpc M{UNARY} {{ {LOGIN}{GET} }} }}"
            )),
            format!("{at} is internal and must not have `option (google.api.http)`"),
        ),
        (
            method("(stream Q) returns (A)", &format!("{LOGIN}{GET}")),
            format!("{at}: client streams are not served"),
        ),
        (
            method(STREAM, &format!("{LOGIN}{GET}")),
            format!("{at}: a server stream needs `option (stream)`, and only it does"),
        ),
        (
            method(UNARY, &format!("option (privilege) = PRIVILEGE_CONFIGURE_SELF; {GET}")),
            format!("{at}: PRIVILEGE_CONFIGURE_SELF and `self_field` go together"),
        ),
        (
            method(
                UNARY,
                &format!("option (privilege) = PRIVILEGE_CONFIGURE_SELF; option (self_field) = \"n\"; {GET}"),
            ),
            format!("{at}: self_field names `n`, which is no string field of Q"),
        ),
        (
            method(
                UNARY,
                &format!("{LOGIN} option (google.api.http) = {{get: \"/api/v1alpha1/x/{{gone}}\"}};"),
            ),
            format!("{at}: path names `gone`, which is no string field of Q"),
        ),
        (
            method(UNARY, &format!("{LOGIN} option (google.api.http) = {{get: \"/x\"}};")),
            format!("{at}: path /x is not under /api/v1alpha1/"),
        ),
        (
            method(UNARY, &format!("{LOGIN} option (google.api.http) = {{get: \"/api/v1alpha1/x\"}};")),
            format!("{at}: served by GET, so it needs `idempotency_level = NO_SIDE_EFFECTS`"),
        ),
    ];
    for (said, expected) in cases {
        assert_eq!(said, expected);
    }
}

#[test]
fn a_stream_subject_takes_only_fields_that_cannot_hold_wildcards() {
    let said = method(STREAM, &format!("{LOGIN}{GET} option (stream) = {{subject: \"event.{{name}}.x\"}};"));
    assert!(said.contains("field `name` in the stream subject needs string.pattern"), "{said}");
}

#[test]
fn two_methods_cannot_answer_one_path() {
    let rpc = |name: &str, field: &str| {
        format!(
            "rpc {name}{UNARY} {{ {LOGIN} option idempotency_level = NO_SIDE_EFFECTS; \
             option (google.api.http) = {{get: \"/api/v1alpha1/x/{{{field}}}\"}}; }}"
        )
    };
    let said =
        build(&format!("service S {{ option (owner) = \"d\"; {} {} }}", rpc("M", "name"), rpc("N", "safe")));
    assert_eq!(said, "GET /api/v1alpha1/x/{safe} is bound twice");
}

#[test]
fn a_rule_nobody_evaluates_is_refused() {
    let rule = |rule: &str, kind: &str| {
        build(&format!("message T {{ {kind} x = 1 [(buf.validate.field).{rule}]; }}"))
    };
    let at = "schema/v1alpha1/t.proto: message T, field x: validation rule";
    assert_eq!(rule("string.min_len = 1", "string"), "builds");
    assert_eq!(
        rule("string.tuuid = true", "string"),
        format!("{at} `string.tuuid` is not one the evaluator knows")
    );
    assert_eq!(
        rule("cel = {id: \"c\", expression: \"true\"}", "string"),
        format!("{at} `cel` is not one the evaluator knows")
    );
    assert_eq!(
        rule("repeated.items.string.address = true", "repeated string"),
        format!("{at} `string.address` is not one the evaluator knows")
    );
    assert!(rule("string.pattern = \"(\"", "string").contains("pattern \"(\""));
    let message =
        build("message T { option (buf.validate.message).cel = {id: \"c\", expression: \"true\"}; }");
    assert_eq!(message, "schema/v1alpha1/t.proto: message T: rules on a whole message are not evaluated");
}
