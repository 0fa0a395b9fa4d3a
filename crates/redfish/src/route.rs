//! What is at a path, and who may go there.

use percent_encoding::percent_decode_str;

use crate::message::Registry;
use crate::privilege::{Asker, Entity, Method, Privileges, entity};
use crate::resource::{Action, Resource};
use crate::resources;

/// Names in a path at most, and the length of one, bytes.
const SEGMENTS_MAX: usize = 16;
const NAME_MAX: usize = 256;

/// What is at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// `/redfish`: which versions of the protocol there are.
    Versions,
    /// The service document of OData.
    Odata,
    /// The metadata of OData.
    Metadata,
    /// A resource.
    Resource(&'static Resource),
    /// Where an action is done.
    Action(&'static Resource, &'static Action),
    /// What an action takes.
    ActionInfo(&'static Resource, &'static Action),
    /// A message registry.
    Registry(&'static Registry),
    /// Where firmware would be sent to.
    Push,
    /// What became of an operation that took longer (DSP0266, "Asynchronous operations").
    TaskMonitor,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) target: Target,
    /// Without a slash at its end, but for the root.
    pub(crate) uri: String,
    pub(crate) names: Vec<String>,
    /// The last name of the path.
    pub(crate) id: String,
    /// The path was that of a collection with `/Members`, which takes a POST as the collection does (DSP0266 §7.7).
    pub(crate) is_members: bool,
}

impl Route {
    /// What is at a path; with or without a slash at its end (DSP0266 §6.3).
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let inner = path.strip_prefix("/redfish")?;
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return Some(Self::fixed(Target::Versions, "/redfish"));
        }
        let inner = inner.strip_prefix("/v1")?;
        let parts: Vec<String> = match inner.strip_prefix('/') {
            None if inner.is_empty() => Vec::new(),
            None => return None,
            Some(rest) => rest.split('/').take(SEGMENTS_MAX + 1).map(name).collect::<Option<_>>()?,
        };
        if parts.len() > SEGMENTS_MAX {
            return None;
        }
        let text: Vec<&str> = parts.iter().map(String::as_str).collect();
        match text.as_slice() {
            ["odata"] => return Some(Self::fixed(Target::Odata, "/redfish/v1/odata")),
            ["$metadata"] => return Some(Self::fixed(Target::Metadata, "/redfish/v1/$metadata")),
            ["Registries", file, content] if file == content => {
                // Others are made of what there is.
                if let Some(registry) = resources::REGISTRIES.iter().find(|one| one.prefix == *file) {
                    return Some(Self::fixed(Target::Registry(registry), path));
                }
            }
            ["UpdateService", resources::PUSH] => {
                return Some(Self::fixed(Target::Push, &uri(&text)));
            }
            ["TaskService", "TaskMonitors", id] => {
                let names = vec![(*id).to_owned()];
                let uri = uri(&text);
                return Some(Self {
                    target: Target::TaskMonitor,
                    uri,
                    names,
                    id: (*id).to_owned(),
                    is_members: false,
                });
            }
            _ => {}
        }
        let found = |target, parts: &[&str], names| {
            let uri = if parts.is_empty() { "/redfish/v1/".to_owned() } else { uri(parts) };
            let id = parts.last().map_or("RootService", |id| *id).to_owned();
            Self { target, uri, names, id, is_members: false }
        };
        if let Some((last, above)) = text.split_last()
            && *last == "Members"
            && let Some((resource, names)) = resources::at(above)
            && resource.create.is_some()
        {
            return Some(Self { is_members: true, ..found(Target::Resource(resource), above, names) });
        }
        if let Some((resource, names)) = resources::at(&text) {
            return Some(found(Target::Resource(resource), &text, names));
        }
        let (last, above) = text.split_last()?;
        if let Some(short) = last.strip_suffix("ActionInfo")
            && let Some((resource, names)) = resources::at(above)
            && let Some(action) = resource.actions.iter().find(|action| action.short() == short)
            && !action.parameters.is_empty()
        {
            return Some(found(Target::ActionInfo(resource, action), &text, names));
        }
        let (actions, above) = above.split_last()?;
        if *actions == "Actions"
            && let Some((resource, names)) = resources::at(above)
            && let Some(action) = resource.actions.iter().find(|action| action.name == *last)
        {
            return Some(found(Target::Action(resource, action), &text, names));
        }
        None
    }

    fn fixed(target: Target, uri: &str) -> Self {
        Self { target, uri: uri.to_owned(), names: Vec::new(), id: String::new(), is_members: false }
    }

    /// Where the resource is that an action is done with; the route itself of all else.
    pub(crate) fn subject(&self) -> Self {
        let Target::Action(resource, _) = self.target else { return self.clone() };
        // `…/Actions/ComputerSystem.Reset` is below it.
        let uri = self.uri.rsplitn(3, '/').nth(2).unwrap_or_default().to_owned();
        let id = uri.rsplit('/').next().unwrap_or_default().to_owned();
        Self { target: Target::Resource(resource), uri, names: self.names.clone(), id, is_members: false }
    }

    /// The methods it takes.
    #[must_use]
    pub fn methods(&self) -> Vec<Method> {
        let reads = [Method::Get, Method::Head];
        match self.target {
            Target::Resource(resource) => {
                let more = [
                    (resource.patch.is_some(), Method::Patch),
                    (resource.create.is_some(), Method::Post),
                    (resource.delete.is_some(), Method::Delete),
                ];
                let more = more.into_iter().filter(|(has, _)| *has).map(|(_, method)| method);
                if self.is_members { vec![Method::Post] } else { reads.into_iter().chain(more).collect() }
            }
            Target::Action(..) | Target::Push => vec![Method::Post],
            Target::Versions
            | Target::Odata
            | Target::Metadata
            | Target::ActionInfo(..)
            | Target::TaskMonitor
            | Target::Registry(_) => reads.to_vec(),
        }
    }

    /// `GET, HEAD, PATCH`.
    #[must_use]
    pub fn allow(&self) -> String {
        self.methods().iter().map(|method| method.name()).collect::<Vec<_>>().join(", ")
    }

    /// What is to be done in place of a method that is not taken here; empty where nothing is known.
    pub(crate) fn instead(&self, method: Method) -> String {
        match self.target {
            Target::Resource(Resource { settings: Some(settings), .. })
                if matches!(method, Method::Patch | Method::Put) =>
            {
                format!("Send a PATCH to {}/{settings} and restart the system.", self.uri)
            }
            _ => String::new(),
        }
    }

    /// The entity of the privilege registry, and the alternatives of privileges that the method takes; none for what is open to all.
    fn privileges(&self, method: Method) -> (&'static Entity, Vec<Privileges>) {
        let (resource, entity, method) = match self.target {
            // DSP0266 §13.2.1: the root, and what OData needs to get there.
            Target::Versions | Target::Odata | Target::Metadata => {
                return (&entity::SERVICE_ROOT, vec![Privileges::NO_AUTH]);
            }
            Target::TaskMonitor => {
                return (&entity::TASK, entity::TASK.needs(method, &["TaskCollection"]).to_vec());
            }
            Target::Push => {
                return (&entity::UPDATE_SERVICE, entity::UPDATE_SERVICE.needs(method, &[]).to_vec());
            }
            Target::Registry(_) => {
                return (&entity::MESSAGE_REGISTRY, entity::MESSAGE_REGISTRY.needs(method, &[]).to_vec());
            }
            Target::ActionInfo(resource, _) => (resource, &entity::ACTION_INFO, method),
            // An action is a POST on its resource (§13.3.3).
            Target::Action(resource, _) => (resource, resource.entity, method),
            Target::Resource(resource) => (resource, resource.entity, method),
        };
        // §13.2.4.2: who has no session yet cannot be logged in.
        if method == Method::Post && entity.name == "SessionCollection" {
            return (entity, vec![Privileges::NO_AUTH]);
        }
        let above = above(resource);
        (entity, entity.needs(method, &above).to_vec())
    }

    /// Whether nobody needs to be logged in.
    #[must_use]
    pub fn is_open(&self, method: Method) -> bool {
        self.privileges(method).1.contains(&Privileges::NO_AUTH)
    }

    /// Whether it is the account of this caller.
    pub(crate) fn is_own_account(&self, asker: &Asker) -> bool {
        matches!(self.target, Target::Resource(resource) if resource.type_name() == "ManagerAccount")
            && self.names.first() == Some(&asker.username)
            && !asker.username.is_empty()
    }

    /// Whether a session of the caller's may be meant: only those are shown to who may not see all.
    fn is_session(&self) -> bool {
        matches!(self.target, Target::Resource(resource) if resource.type_name() == "Session")
    }

    /// Whether this caller may do this.
    pub(crate) fn allows(&self, method: Method, asker: &Asker) -> bool {
        let (_, alternatives) = self.privileges(method);
        self.fits(&alternatives, asker)
    }

    /// Whether this caller may change this property, where the registry has a rule of its own for it; `None` where it has none.
    pub(crate) fn allows_property(&self, property: &str, asker: &Asker) -> Option<bool> {
        let (entity, _) = self.privileges(Method::Patch);
        entity.of_property(property).map(|alternatives| self.fits(alternatives, asker))
    }

    /// Whether a PATCH of this caller may be allowed for some of the properties.
    pub(crate) fn may_allow_a_property(&self, asker: &Asker) -> bool {
        let Target::Resource(resource) = self.target else { return false };
        let Some(patch) = &resource.patch else { return false };
        patch.properties.iter().any(|property| self.allows_property(property.path, asker) == Some(true))
    }

    /// `ConfigureSelf` is good for what is one's own.
    fn fits(&self, alternatives: &[Privileges], asker: &Asker) -> bool {
        let own = self.is_own_account(asker) || self.is_session();
        let is_account =
            matches!(self.target, Target::Resource(resource) if resource.type_name() == "ManagerAccount");
        alternatives.iter().any(|wanted| {
            let of_self = wanted.has(Privileges::CONFIGURE_SELF);
            asker.privileges.has(*wanted) && (!of_self || own || !is_account)
        })
    }

    /// Whether somebody may do this who has to change the password first (DSP0266 §13.2.6.1).
    pub(crate) fn is_for_expired(&self, method: Method, asker: &Asker) -> bool {
        let own_account = self.is_own_account(asker) && (method.reads() || method == Method::Patch);
        let own_session =
            self.is_session() && self.id == asker.session_id && (method.reads() || method == Method::Delete);
        own_account || own_session
    }
}

/// The types of what lies on the way to a resource, from the root.
fn above(resource: &Resource) -> Vec<&'static str> {
    let mut out = Vec::new();
    let path = resource.path;
    for (at, _) in path.match_indices('/') {
        let Some(prefix) = path.get(..at) else { continue };
        if let Some(found) = resources::ALL.iter().find(|other| other.path == prefix) {
            out.push(found.type_name());
        }
    }
    out
}

/// A path of these names.
pub(crate) fn uri(parts: &[&str]) -> String {
    let mut out = "/redfish/v1".to_owned();
    for part in parts {
        out.push('/');
        out.push_str(part);
    }
    out
}

/// One name of a path, decoded. `None` for what cannot be one: empty, with a slash or a control character in it, or too long.
fn name(part: &str) -> Option<String> {
    if part.is_empty() || part.len() > NAME_MAX {
        return None;
    }
    let name = percent_decode_str(part).decode_utf8().ok()?;
    (!name.contains(|c: char| c == '/' || c.is_control())).then(|| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_lead_to_resources_with_and_without_a_slash() {
        for path in
            ["/redfish/v1/Systems/system", "/redfish/v1/Systems/system/", "/redfish/v1/Systems/%73ystem"]
        {
            let route = Route::of(path).unwrap();
            assert_eq!(
                (route.uri.as_str(), route.names.as_slice()),
                ("/redfish/v1/Systems/system", &["system".to_owned()][..])
            );
        }
        for path in [
            "/redfish",
            "/redfish/",
            "/redfish/v1",
            "/redfish/v1/",
            "/redfish/v1/odata",
            "/redfish/v1/$metadata",
        ] {
            assert!(Route::of(path).unwrap().is_open(Method::Get), "{path}");
        }
        for path in [
            "/",
            "/redfishv1",
            "/redfish/v2/",
            "/redfish/v1Systems",
            "/redfish/v1//Systems",
            "/redfish/v1/systems",
            "/redfish/v1/Systems/a%2fb",
            "/redfish/v1/Systems/%ff",
            "/redfish/v1/Systems/a/b/c",
            "/redfish/v1/Nope",
            "/redfish/v1/Systems/system/Actions",
            "/redfish/v1/Systems/system/Actions/ComputerSystem.Nope",
        ] {
            assert!(Route::of(path).is_none(), "{path}");
        }
    }

    #[test]
    fn what_an_action_is_done_with_is_above_it() {
        let of = |path: &str| {
            let subject = Route::of(path).unwrap().subject();
            let Target::Resource(resource) = subject.target else { panic!("{path} is of no resource") };
            (resource.type_name(), subject.uri, subject.id, subject.names)
        };
        let system = "/redfish/v1/Systems/node%201";
        let names = vec!["node 1".to_owned()];
        let is = ("ComputerSystem", "/redfish/v1/Systems/node 1".to_owned(), "node 1".to_owned(), names);
        assert_eq!(of(system), is);
        assert_eq!(of(&format!("{system}/Actions/ComputerSystem.Reset/")), is);
        let (kind, uri, id, names) = of("/redfish/v1/EventService/Actions/EventService.SubmitTestEvent");
        assert_eq!(
            (kind, uri.as_str(), id.as_str()),
            ("EventService", "/redfish/v1/EventService", "EventService")
        );
        assert_eq!(names, Vec::<String>::new());
    }

    #[test]
    fn a_session_is_made_by_who_is_not_logged_in_and_all_else_but_the_root_is_closed() {
        let sessions = Route::of("/redfish/v1/SessionService/Sessions").unwrap();
        assert!(sessions.is_open(Method::Post) && !sessions.is_open(Method::Get));
        for resource in resources::ALL.iter().filter(|resource| !resource.path.is_empty()) {
            let path = format!("/redfish/v1/{}", resource.path.replace("{}", "x"));
            let route = Route::of(&path).unwrap();
            assert!(!route.is_open(Method::Get), "{path}");
        }
    }

    #[test]
    fn one_s_own_account_is_known_by_its_name() {
        let asker = Asker {
            username: "ann".into(),
            privileges: Privileges::LOGIN.and(Privileges::CONFIGURE_SELF),
            ..Asker::default()
        };
        let of = |path: &str| Route::of(path).unwrap();
        let (own, other) =
            (of("/redfish/v1/AccountService/Accounts/ann"), of("/redfish/v1/AccountService/Accounts/bob"));
        assert!(own.allows(Method::Get, &asker) && !other.allows(Method::Get, &asker));
        assert!(!own.allows(Method::Patch, &asker) && own.may_allow_a_property(&asker));
        assert!(!other.may_allow_a_property(&asker));
        assert_eq!(own.allows_property("RoleId", &asker), None);
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in "/redfish(/v1)?(/[A-Za-z%$0-9.]{0,12}){0,5}/?") {
            if let Some(route) = Route::of(&path) {
                prop_assert!(!route.methods().is_empty());
            }
        }
    }
}
