//! Every route, each method on it and each role, against DMTF's privilege registry as its file says it: what the build made of that file is not asked.
//! What the registry allows the contract behind it allows as well, by the gate's own decision, as a role would otherwise be refused halfway.

mod support;

use gate::access;
use prost_reflect::DynamicMessage;
use redfish::{Asker, Call, Method, Privileges, Route};
use schema::v1alpha1::Privilege;
use serde_json::Value;
use support::{Bench, asker, rows, said};

/// DMTF's file.
struct Registry(Value);

impl Registry {
    fn load() -> Self {
        let text = include_str!("../dmtf/Redfish_1.8.0_PrivilegeRegistry.json");
        Self(serde_json::from_str(text).unwrap())
    }

    /// The alternatives of privileges for a method of an entity below these others, the nearest last (DSP0266, "Privilege registry").
    fn needs(&self, entity: &str, method: Method, above: &[&str]) -> Vec<Vec<&str>> {
        let all = self.0["Mappings"].as_array().unwrap();
        let mapping = all.iter().find(|mapping| mapping["Entity"] == entity);
        let mapping = mapping.unwrap_or_else(|| panic!("{entity} is not in the registry"));
        let overrides = mapping["SubordinateOverrides"].as_array().map(Vec::as_slice).unwrap_or_default();
        let holds = |entry: &&Value| {
            let mut rest = above.iter();
            let targets = entry["Targets"].as_array().unwrap();
            targets.iter().all(|target| rest.any(|name| target == name))
        };
        let special =
            overrides.iter().filter(holds).find_map(|entry| entry["OperationMap"].get(method.name()));
        let alternatives = special.unwrap_or(&mapping["OperationMap"][method.name()]);
        alternatives
            .as_array()
            .unwrap()
            .iter()
            .map(|alternative| {
                let list = alternative["Privilege"].as_array().unwrap();
                list.iter().map(|name| name.as_str().unwrap()).collect()
            })
            .collect()
    }
}

/// Who asks: each role, one who holds nothing, and one for each privilege alone, as a role of one's own may.
fn askers() -> Vec<(String, Asker, Option<auth::Role>)> {
    let mut all: Vec<_> = auth::Role::ALL
        .into_iter()
        .map(|role| (role.name().to_owned(), asker("somebody", role), Some(role)))
        .collect();
    let alone = |name: &str, privileges| {
        let asker = Asker { privileges, ..asker("somebody", auth::Role::ReadOnly) };
        (format!("{name} alone"), asker, None)
    };
    all.push(alone("nothing", Privileges::default()));
    for number in 1..=6 {
        let privileges = Privileges::of(&[number]);
        if let [name] = privileges.names()[..] {
            all.push(alone(name, privileges));
        }
    }
    all
}

/// Whether one who has these privileges may do what takes these. `ConfigureSelf` is no good for an account of somebody else.
fn may(asker: &Asker, needs: &[Vec<&str>], entity: &str) -> bool {
    let has = asker.privileges.names();
    let fits = |wanted: &Vec<&str>| {
        wanted
            .iter()
            .all(|name| has.contains(name) && (entity != "ManagerAccount" || *name != "ConfigureSelf"))
    };
    needs.iter().any(fits)
}

/// Whether the gate would let this caller's call pass.
fn passes(call: &Call, asker: &Asker, role: auth::Role) -> Result<(), access::Denied> {
    let privileges: Vec<i32> = [
        (auth::Privilege::Login, Privilege::Login),
        (auth::Privilege::ConfigureSelf, Privilege::ConfigureSelf),
        (auth::Privilege::ConfigureComponents, Privilege::ConfigureComponents),
        (auth::Privilege::ConfigureManager, Privilege::ConfigureManager),
        (auth::Privilege::ConfigureUsers, Privilege::ConfigureUsers),
        (auth::Privilege::ViewScreens, Privilege::ViewScreens),
    ]
    .into_iter()
    .filter(|(privilege, _)| role.privileges().contains(*privilege))
    .map(|(_, number)| number.into())
    .collect();
    let caller = access::Caller {
        user_id: &asker.user_id,
        username: &asker.username,
        session_id: &asker.session_id,
        role: role.name(),
        privileges: &privileges,
        types: gate::AccountTypes::ALL,
        password_expired: asker.password_change_required,
    };
    let request = DynamicMessage::decode(call.method.input(), call.request.as_slice()).unwrap();
    access::with_request(call.method, &caller, &request)
}

#[test]
fn each_role_may_on_each_route_what_the_registry_says_and_nothing_else() {
    let registry = Registry::load();
    let (rows, askers) = (rows(), askers());
    let mut checked = 0;
    for row in &rows {
        assert!(Route::of(&row.path).is_some(), "{}", row.path);
        for (who, asker, role) in &askers {
            for method in Method::ALL {
                let about = format!("{} {} by {who}", method.name(), row.path);
                let needs = registry.needs(row.entity, method, &row.above);
                let allowed = row.open.contains(&method) || may(asker, &needs, row.entity);
                let body = row.body(method);
                let mut bench = Bench::by(asker.clone());
                bench.agree();
                let answer = bench.send(method, &row.path, &body);
                checked += 1;
                if !allowed {
                    assert_eq!(
                        (answer.status, said(&answer).as_str()),
                        (403, "InsufficientPrivilege"),
                        "{about}"
                    );
                    assert!(
                        bench.asked.is_empty() && bench.called.is_empty() && bench.closed.is_empty(),
                        "{about}"
                    );
                    continue;
                }
                if !row.methods.contains(&method) {
                    assert_eq!(
                        (answer.status, said(&answer).as_str()),
                        (405, "OperationNotAllowed"),
                        "{about}"
                    );
                    let mut names: Vec<&str> =
                        answer.header("allow").unwrap_or_default().split(", ").collect();
                    let mut served: Vec<&str> = row.methods.iter().map(|method| method.name()).collect();
                    names.sort_unstable();
                    served.sort_unstable();
                    assert_eq!(names, served, "{about}");
                    assert!(
                        bench.asked.is_empty() && bench.called.is_empty() && bench.closed.is_empty(),
                        "{about}"
                    );
                    continue;
                }
                assert!(
                    ![401, 403, 405].contains(&answer.status) && answer.status < 500,
                    "{about}: {}",
                    answer.value()
                );
                if *role == Some(auth::Role::Administrator) {
                    // What nothing takes yet is refused to all who may.
                    let disabled = (answer.status, said(&answer).as_str()) == (409, "ServiceDisabled");
                    assert_eq!(disabled, row.entity == "UpdateService" && !method.reads(), "{about}");
                    assert!(answer.status < 300 || disabled, "{about}: {}", answer.value());
                    let changes = !method.reads() && row.methods.contains(&method) && !disabled;
                    assert_eq!(bench.called.len() + bench.closed.len(), usize::from(changes), "{about}");
                }
                if let Some(role) = role {
                    let refused = bench.asked.iter().chain(&bench.called);
                    let refused = refused.filter(|call| passes(call, asker, *role).is_err());
                    let refused: Vec<&str> = refused.map(|call| call.method.method).collect();
                    // The registry lets `ConfigureSelf` change subscriptions of one's own. One that is sent elsewhere is made by who may operate the
                    // machine, so that nobody has one who may not; the streams of who may only look are none of the contract's.
                    let narrower =
                        *role == auth::Role::ReadOnly && row.entity == "EventDestination" && !method.reads();
                    assert!(refused.is_empty() || narrower && refused.len() == 1, "{about}: {refused:?}");
                }
            }
        }
    }
    assert_eq!(checked, rows.len() * askers.len() * Method::ALL.len());
    assert!(rows.len() > 65 && askers.len() == 9, "{} rows, {} who ask", rows.len(), askers.len());
}

#[test]
fn one_s_own_account_is_read_and_its_password_changed_by_who_may_configure_oneself() {
    let registry = Registry::load();
    let own = "/redfish/v1/AccountService/Accounts/olga";
    let password = serde_json::json!({"Password": "secret-enough"});
    for role in auth::Role::ALL {
        for method in Method::ALL {
            let mut bench = Bench::by(asker("olga", role));
            bench.agree();
            let answer = bench.send(method, own, &password);
            let manages = role == auth::Role::Administrator;
            let expected = match method {
                Method::Get | Method::Head | Method::Patch => 200,
                Method::Delete if manages => 204,
                Method::Post | Method::Put if manages => 405,
                _ => 403,
            };
            assert_eq!(answer.status, expected, "{} by {}", method.name(), role.name());
            for call in bench.asked.iter().chain(&bench.called) {
                assert!(
                    passes(call, &bench.asker, role).is_ok(),
                    "{} {}",
                    method.name(),
                    call.method.full_name
                );
            }
        }
    }
    // Why it is so: the one property with a rule of its own.
    let overrides: Vec<_> = registry.0["Mappings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mapping| mapping.get("PropertyOverrides").is_some())
        .map(|mapping| (&mapping["Entity"], &mapping["PropertyOverrides"][0]["Targets"]))
        .collect();
    assert_eq!(overrides, [(&serde_json::json!("ManagerAccount"), &serde_json::json!(["Password"]))]);
}

#[test]
fn who_must_change_the_password_may_do_that_and_see_oneself_and_nothing_else() {
    for row in rows() {
        for role in auth::Role::ALL {
            for method in Method::ALL.into_iter().filter(|method| !row.open.contains(method)) {
                let expired = Asker { password_change_required: true, ..asker("somebody", role) };
                let mut bench = Bench::by(expired);
                bench.agree();
                let body = row.body(method);
                let answer = bench.send(method, &row.path, &body);
                let about = format!("{} {} by {}", method.name(), row.path, role.name());
                assert_eq!(
                    (answer.status, said(&answer).as_str()),
                    (403, "PasswordChangeRequired"),
                    "{about}"
                );
                assert!(bench.called.is_empty() && bench.closed.is_empty(), "{about}");
            }
        }
    }
}
