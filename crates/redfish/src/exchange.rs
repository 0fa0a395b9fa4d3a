//! One request on its way to its answer. It asks for what it needs, one step at a time, and never waits by itself.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value, json};

use crate::accept;
use crate::answer::{Answer, Body};
use crate::body::{self, Found};
use crate::etag;
use crate::fault::{Fault, Fields};
use crate::message::{Message, base, success_body};
use crate::metadata;
use crate::pointer::Pointer;
use crate::privilege::{Asker, Method};
use crate::query::{Expand, Follow, Query, QueryError, TOP_MAX};
use crate::refusal::{self, annotate, conflict, keep_together, told, without};
use crate::resource::{Action, Answered, Change, Deed, Given, Kind, Made, Patch, pointer};
use crate::resources::{self, Outcome};
use crate::room::Room;
use crate::route::{Route, Target};
use crate::shown::{registry_answer, show};
use crate::world::{About, Call, Need, Supply, World};

/// Resources one answer holds at most in the places of links, and about how many bytes of text these may be: an answer is in memory whole, as a tree that takes
/// several times as much.
const EXPANDED_MAX: usize = 4000;
const EXPANDED_BYTES_MAX: usize = 4 << 20;
/// RFC 9110 §15.5.10: the state of a resource is against the request.
const CONFLICT: u16 = 409;
/// Seconds after which who follows a task asks again.
const ASK_AGAIN: &str = "1";
/// Members at once of a collection in which they are whole.
const EMBEDDED_MAX: u64 = 200;

/// What a request says besides its body.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What is behind `?`; empty when there is nothing.
    pub query: String,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `OData-Version`.
    pub odata_version: Option<String>,
    /// `Accept`.
    pub accept: Option<String>,
}

/// The media type of resources, and of errors.
const JSON: &str = "application/json";

impl Request {
    /// What is said to a request to read what is there in this media type alone: 412 where it speaks another version of OData, 406 where it takes nothing of that.
    /// A person with a browser, which names pages, is shown whatever it is but a stream.
    #[must_use]
    pub fn refusal(&self, media: &str) -> Option<Answer> {
        let accept = self.accept.as_deref();
        let is_taken =
            accept::takes(accept, media) || media != resources::STREAM_TYPE && accept::shows_pages(accept);
        self.version_refusal()
            .or_else(|| (!is_taken).then(|| Answer::error(406, &[base::HEADER_INVALID.with(&["Accept"])])))
    }

    /// What is said to a request that speaks another version of OData: 412. DSP0266 §8.2: 4.0 is the only version there is. For a file, such as the metadata of
    /// OData, this is all that is looked at: it has one form, and clients whose `Accept` names JSON with whatever they ask for take it.
    #[must_use]
    pub fn version_refusal(&self) -> Option<Answer> {
        let is_other = self.odata_version.as_deref().is_some_and(|version| version.trim() != "4.0");
        is_other.then(|| Answer::error(412, &[base::HEADER_INVALID.with(&["OData-Version"])]))
    }
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// These are needed: [`Exchange::filled`] takes them.
    Read(Vec<Need>),
    /// This is to be called: [`Exchange::written`] takes its answer.
    Write(Call),
    /// Diagnostic data is to be collected, beside this; [`Exchange::written`] takes its name once that has begun.
    Collect,
    /// This stream of events is to end; [`Exchange::written`] takes that it has.
    Close(String),
    /// It is over.
    Done(Answer),
}

#[derive(Debug)]
enum State {
    /// Nothing was done yet.
    Begun,
    Patching(Patching),
    /// The owner of an action, a new or a deleted resource has been asked.
    Waiting,
    /// What was made is to be shown.
    Made(Made),
    /// What was changed is to be shown, with what is wrong: places and messages.
    Patched(Vec<(Pointer, Message)>),
}

#[derive(Debug)]
struct Patching {
    patch: &'static Patch,
    todo: VecDeque<Change>,
    /// Properties of the call under way.
    doing: Vec<(&'static str, String)>,
    given: Given,
    /// Groups of properties that count together only.
    together: &'static [&'static [&'static str]],
    /// What the owner calls properties.
    fields: Fields,
    /// What is wrong, and where.
    wrong: Vec<(Pointer, Message)>,
    /// The status of the first refusal of an owner, and when to come back.
    refused: Option<(u16, Option<u32>)>,
    done: usize,
}

impl Patching {
    /// Leaves out what counts only together with properties that were refused, and tells of it.
    fn leave_out(&mut self, refused: &[&'static str]) {
        let together = self.together;
        let because = |path: &&'static str| {
            let bound =
                |bad: &&'static str| together.iter().any(|group| group.contains(path) && group.contains(bad));
            refused.iter().copied().find(bound)
        };
        for change in std::mem::take(&mut self.todo) {
            match change.properties.iter().find_map(because) {
                Some(bad) => self.wrong.extend(change.properties.iter().map(|path| conflict(path, bad))),
                None => self.todo.push_back(change),
            }
        }
    }
}

/// One request.
#[derive(Debug)]
pub struct Exchange {
    route: Route,
    method: Method,
    request: Request,
    query: Query,
    world: World,
    body: Vec<u8>,
    state: State,
}

impl Exchange {
    /// Takes a request up, once it is known who asks, before its body is read.
    ///
    /// # Errors
    /// The answer, if there is one already: 400, 403, 404, 405, 406, 409, 412, 501.
    pub fn new(path: &str, method: Method, request: Request, about: About) -> Result<Self, Answer> {
        let Some(route) = Route::of(path) else {
            return Err(Answer::error(404, &[base::RESOURCE_MISSING_AT_URI.with(&[path])]));
        };
        let query = match judged(&route, method, &request, &about.asker) {
            Ok(query) => query,
            Err(answer) => return Err(with_methods(answer, &route, method)),
        };
        let mut world = World::default();
        world.about = About { names: route.names.clone(), ..about };
        Ok(Self { route, method, request, query, world, body: Vec::new(), state: State::Begun })
    }

    /// What is changed by a change of what it is about: the same text by whichever of its URIs a thing is asked for, however the client wrote that. Between what a
    /// condition compares and what is changed then nobody else may change it.
    #[must_use]
    pub fn thing(&self) -> String {
        let subject = self.route.subject();
        let kind = match subject.target {
            Target::Resource(resource) => resource.type_name(),
            _ => "",
        };
        match kind {
            // The light and the tag of a system are those of the chassis it is in; what is wished of its firmware is one thing, of which the boot order is
            // at the system.
            "ComputerSystem" | "Chassis" | "Bios" | "SecureBoot" | "BootOption" => {
                "systems and chassis".to_owned()
            }
            // A drive is at the manager and at its system, and an event is one in all logs that have it.
            "VirtualMedia" | "LogEntry" => format!("{kind} {}", subject.id),
            // The controller's name is at each interface and at the protocols.
            "EthernetInterface" | "ManagerNetworkProtocol" => "network".to_owned(),
            _ => subject.uri,
        }
    }

    /// Whether what it is about is looked at before it is changed, so that nobody else may change it between the two: always, but for what is made or done without
    /// a condition.
    #[must_use]
    pub fn compares(&self) -> bool {
        match self.method {
            Method::Get | Method::Head => false,
            Method::Patch | Method::Put | Method::Delete => true,
            Method::Post => self.is_conditional(),
        }
    }

    /// Whether a POST has a condition that is looked at: of what nobody needs to be logged in for, nothing is shown.
    fn is_conditional(&self) -> bool {
        self.request.if_match.is_some() && !self.route.is_open(Method::Post)
    }

    /// Whether it takes a body.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        matches!(self.method, Method::Patch | Method::Post | Method::Put)
    }

    /// The body.
    pub fn set_body(&mut self, body: Vec<u8>) {
        self.body = body;
    }

    /// Whether the body, or the answer, may hold a secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        match self.route.target {
            Target::Resource(resource) => {
                let all_of = ["Session", "SessionCollection", "ManagerAccount", "ManagerAccountCollection"];
                let patch = resource.patch.as_ref().filter(|_| self.method == Method::Patch);
                let mut kinds = patch.iter().flat_map(|patch| patch.properties).map(|property| property.kind);
                all_of.contains(&resource.type_name())
                    || kinds.any(|kind| matches!(kind, Kind::Secret(_) | Kind::Pem(_) | Kind::Headers(_)))
            }
            Target::Action(_, action) => {
                let mut kinds = action.parameters.iter().map(|parameter| parameter.property.kind);
                kinds.any(|kind| matches!(kind, Kind::Secret(_) | Kind::Pem(_)))
            }
            _ => false,
        }
    }

    /// How a need is asked for.
    #[must_use]
    pub fn call_for(&self, need: Need) -> Call {
        need.call(&self.world.about)
    }

    /// What time it is by now, seconds since 1970: what was called may have set the clock, and what is shown after it is as of then.
    pub fn at(&mut self, now: i64) {
        self.world.about.now = now;
    }

    /// What a need came to.
    pub fn filled(&mut self, need: Need, answer: Result<&[u8], Fault>) {
        self.world.fill(need, answer);
    }

    /// What a need came to, where somebody has it in memory.
    pub fn supplied(&mut self, supply: Supply) {
        self.world.supply(supply);
    }

    /// What its answer depends on besides what is needed for it, if that is only what is asked for and what the caller may see: then the same answer is
    /// good for all who ask like this, as long as what it was made of is the same. So it is below machines and their boxes.
    #[must_use]
    pub fn shared_as(&self) -> Option<String> {
        let Target::Resource(resource) = self.route.target else { return None };
        let top = resource.path.split('/').next().unwrap_or_default();
        let of_hardware = matches!(top, "Chassis" | "Systems");
        let stays = self.query.expand.is_none_or(|expand| expand.follow == Follow::Subordinate);
        let is_unconditional = self.request.if_none_match.is_none() && self.request.if_match.is_none();
        let plain = self.method == Method::Get && is_unconditional;
        if !(of_hardware && stays && plain && !resource.path.contains("/LogServices")) {
            return None;
        }
        let asker = &self.world.about.asker;
        let (privileges, expired) = (asker.privileges.0, asker.password_change_required);
        let consoles = asker.opens_consoles;
        // Of a drive each account is shown what counts for it.
        let has_drives = resource.path.contains("/VirtualMedia") || self.query.expand.is_some();
        let whose = if has_drives { asker.username.as_str() } else { "" };
        let (uri, query) = (&self.route.uri, &self.request.query);
        // As a number: of many hosts it would be a long text, and long keys are not kept.
        let mut parts = DefaultHasher::new();
        self.world.about.rollup.hash(&mut parts);
        let parts = parts.finish();
        Some(format!("{uri}?{query} {privileges} {consoles} {expired} {whose} {parts:016x}"))
    }

    /// Goes on.
    pub fn step(&mut self) -> Step {
        let step = match std::mem::replace(&mut self.state, State::Begun) {
            State::Begun => self.begin(),
            State::Patching(patching) => self.go_on(patching),
            State::Waiting => Step::Done(Answer::error(500, &[base::INTERNAL_ERROR.plain()])),
            State::Made(made) => self.show_made(made),
            State::Patched(wrong) => self.show_patched(wrong),
        };
        match step {
            Step::Done(answer) => Step::Done(self.complete(answer)),
            other => other,
        }
    }

    /// Takes in what a call came to.
    pub fn written(&mut self, answer: Result<&[u8], Fault>) -> Step {
        let step = match std::mem::replace(&mut self.state, State::Begun) {
            State::Patching(mut patching) => {
                match answer {
                    Ok(_) => patching.done += 1,
                    Err(fault) => {
                        patching.refused.get_or_insert((fault.status(), fault.retry_after()));
                        let doing = std::mem::take(&mut patching.doing);
                        let refused: Vec<&'static str> = doing.iter().map(|(path, _)| *path).collect();
                        let told = refusal::refused(&fault, patching.fields, doing, &patching.given);
                        patching.wrong.extend(told);
                        patching.leave_out(&refused);
                    }
                }
                self.go_on(patching)
            }
            State::Waiting => match answer {
                Err(fault) => Step::Done(self.refusal(&fault)),
                Ok(bytes) => self.succeeded(bytes),
            },
            State::Begun | State::Made(_) | State::Patched(_) => {
                Step::Done(Answer::error(500, &[base::INTERNAL_ERROR.plain()]))
            }
        };
        match step {
            Step::Done(answer) => Step::Done(self.complete(answer)),
            other => other,
        }
    }

    /// What every answer of a resource has.
    fn complete(&self, mut answer: Answer) -> Answer {
        answer = with_methods(answer, &self.route, self.method);
        let type_name = match self.route.target {
            Target::Resource(resource) => Some(resource.type_name()),
            Target::ActionInfo(..) => Some("ActionInfo"),
            Target::Registry(_) => Some("MessageRegistry"),
            _ => None,
        };
        if let Some(type_name) = type_name.filter(|_| self.method.reads() && answer.status == 200) {
            let schema = resources::schema_uri(type_name);
            answer = answer.with("link", format!("<{schema}>; rel=describedby"));
        }
        answer.secret |= self.is_secret();
        answer
    }

    /// A refusal of an owner's as an answer.
    fn refusal(&self, fault: &Fault) -> Answer {
        let mut messages = self.refused_properties(fault);
        messages.extend(self.taken(fault));
        if messages.is_empty() {
            messages.push(fault.to_message(None));
        }
        let answer = Answer::error(fault.status(), &messages);
        match fault.retry_after() {
            Some(seconds) => answer.with("retry-after", seconds.to_string()),
            None => answer,
        }
    }

    /// What is said of a new resource whose name another one has.
    fn taken(&self, fault: &Fault) -> Option<Message> {
        let (Target::Resource(resource), Method::Post) = (self.route.target, self.method) else {
            return None;
        };
        let property = fault.taken()?;
        let given = body::object(&self.body).unwrap_or_default();
        let value = given.get(property).and_then(Value::as_str)?;
        let kind = resource.type_name().trim_end_matches("Collection");
        let message = base::RESOURCE_ALREADY_EXISTS.with(&[kind, property, value]);
        Some(message.resolved_by(&fault.message).about(pointer(property)))
    }

    /// What is said of the properties or parameters of a POST that its owner refuses, and why; nothing where he names none that was there to be given.
    fn refused_properties(&self, fault: &Fault) -> Vec<Message> {
        if self.method != Method::Post || !fault.is_of_fields() {
            return Vec::new();
        }
        let given = body::object(&self.body).unwrap_or_default();
        let (resource, action) = match self.route.target {
            Target::Resource(resource) => (resource, None),
            Target::Action(resource, action) => (resource, Some(action)),
            _ => return Vec::new(),
        };
        let told = |(path, why): (&'static str, &str)| {
            let message = match (action, &resource.create) {
                (Some(action), _) => {
                    action.parameters.iter().find(|parameter| parameter.property.path == path)?;
                    base::ACTION_PARAMETER_VALUE_ERROR.with(&[path, action.name])
                }
                (None, Some(create)) => {
                    let (property, _) =
                        create.properties.iter().find(|(property, _)| property.path == path)?;
                    match given.get(path) {
                        Some(value) => {
                            base::PROPERTY_VALUE_INCORRECT.with(&[path, &body::repeated(property, value)])
                        }
                        None => base::PROPERTY_VALUE_ERROR.with(&[path]),
                    }
                }
                (None, None) => return None,
            };
            Some(message.resolved_by(why).about(pointer(path)))
        };
        fault.properties(resource.fields).into_iter().filter_map(told).collect()
    }

    fn not_found(&self) -> Answer {
        let kind = match self.route.target {
            Target::Resource(resource) | Target::Action(resource, _) | Target::ActionInfo(resource, _) => {
                resource.type_name()
            }
            _ => "resource",
        };
        Answer::error(404, &[base::RESOURCE_NOT_FOUND.with(&[kind, &self.route.id])])
    }

    fn begin(&mut self) -> Step {
        let value = match self.route.target {
            Target::Versions => json!({"v1": "/redfish/v1/"}),
            Target::Odata => metadata::service_document(),
            Target::Metadata => {
                let answer = Answer { body: Body::Xml(metadata::document()), ..Answer::empty(200) };
                return Step::Done(answer);
            }
            Target::Registry(registry) => return Step::Done(registry_answer(registry)),
            // Answered before.
            Target::Push => return Step::Done(Answer::error(CONFLICT, &[resources::updates_disabled()])),
            Target::TaskMonitor => return self.monitored(),
            Target::Action(_, action) => return self.act(action),
            Target::Resource(_) | Target::ActionInfo(..) => match self.method {
                Method::Get | Method::Head => return self.read(),
                Method::Patch => return self.patch(),
                Method::Post => return self.create(),
                Method::Delete => return self.delete(),
                Method::Put => return Step::Done(Answer::error(405, &[base::OPERATION_NOT_ALLOWED.plain()])),
            },
        };
        Step::Done(Answer::json(200, value))
    }

    /// What the request that began an operation would have been answered, had it waited.
    fn monitored(&self) -> Step {
        let ended = resources::outcome_of(&self.world, &self.route.id);
        let missing = self.world.take_missing();
        if !missing.is_empty() {
            return Step::Read(missing);
        }
        Step::Done(match ended {
            Ok(Some(Outcome::Done)) => Answer::empty(204),
            Ok(Some(Outcome::Made(uri))) => Answer::empty(204).with("location", uri),
            // DSP0266, "Asynchronous operations": it goes on.
            Ok(Some(Outcome::Running)) => {
                Answer::empty(202).with("location", self.route.uri.clone()).with("retry-after", ASK_AGAIN)
            }
            Ok(Some(Outcome::Failed { status, why })) => {
                let message =
                    if status < 500 { base::GENERAL_ERROR.plain() } else { base::OPERATION_FAILED.plain() };
                Answer::error(status, &[message.resolved_by(&why)])
            }
            Ok(None) => self.not_found(),
            Err(fault) => self.refusal(&fault),
        })
    }

    /// The resource as it is now.
    ///
    /// # Errors
    /// The step that is needed for it, or the answer that there is none.
    fn shown(&self) -> Result<Value, Step> {
        self.shown_at(&self.route)
    }

    /// As [`Self::shown`], of another one.
    fn shown_at(&self, route: &Route) -> Result<Value, Step> {
        let shown = show(&self.world, route);
        let missing = self.world.take_missing();
        if !missing.is_empty() {
            return Err(Step::Read(missing));
        }
        match shown {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Step::Done(self.not_found())),
            Err(fault) => Err(Step::Done(self.refusal(&fault))),
        }
    }

    fn read(&self) -> Step {
        let value = match self.shown() {
            Ok(value) => value,
            Err(step) => return step,
        };
        let own = etag::shown(&value).unwrap_or_default().to_owned();
        let condition = self.request.if_none_match.as_deref();
        let is_known = |tag: &str| condition.is_some_and(|condition| etag::matches_weakly(condition, tag));
        // Nothing else is in it: what it would hold need not be made.
        let is_plain = self.query.is_empty() && !self.holds_members();
        // RFC 9110, 13.2.2: this one first.
        if is_plain && !self.is_wanted(&own) {
            return Step::Done(precondition_failed(&own));
        }
        if is_plain && is_known(&own) {
            return Step::Done(Answer::empty(304).with("etag", own));
        }
        let value = self.queried(value);
        let missing = self.world.take_missing();
        if !missing.is_empty() {
            return Step::Read(missing);
        }
        let mut value = match value {
            Ok(value) => value,
            Err(message) => return Step::Done(Answer::error(507, &[message])),
        };
        // With others in it a collection's answer has a tag of its own. That of a resource is what a change of it is held to, which says nothing of others.
        let is_collection = value.get("Members").is_some();
        let tag = match is_collection {
            _ if is_plain => own,
            true => etag::put_of_answer(&own, &mut value),
            false => etag::shown(&value).unwrap_or(&own).to_owned(),
        };
        if !is_plain && !self.is_wanted(&tag) {
            return Step::Done(precondition_failed(&tag));
        }
        if !is_plain && (is_collection || self.query.expand.is_none()) && is_known(&tag) {
            return Step::Done(Answer::empty(304).with("etag", tag));
        }
        Step::Done(Answer::json(200, value).with("etag", tag))
    }

    /// What the query leaves, or adds.
    fn queried(&self, mut value: Value) -> Result<Value, Message> {
        let query = &self.query;
        if query.is_empty() {
            return self.paged(value).map(|value| self.embedded(value));
        }
        if query.only {
            let only = match value.get("Members").and_then(Value::as_array).map(Vec::as_slice) {
                Some([member]) => self.member(member),
                _ => None,
            };
            value = only.unwrap_or(value);
        }
        if let Some(filter) = &query.filter {
            let members = value.get_mut("Members").and_then(Value::as_array_mut);
            let mut count = None;
            if let Some(members) = members {
                members.retain(|member| self.member(member).is_some_and(|member| filter.holds(&member)));
                count = Some(members.len());
            }
            if let (Some(map), Some(count)) = (value.as_object_mut(), count) {
                map.insert("Members@odata.count".to_owned(), count.into());
            }
        }
        let mut value = self.paged(value).map(|value| self.embedded(value))?;
        if let Some(expand) = query.expand {
            let mut left = Room { resources: EXPANDED_MAX, bytes: EXPANDED_BYTES_MAX };
            self.expand(&mut value, expand, expand.levels, false, &mut left)?;
        }
        if query.excerpt
            && let Target::Resource(resource) = self.route.target
            && let Value::Object(map) = &mut value
        {
            map.retain(|name, _| name.starts_with("@odata.") || resource.excerpt.contains(&name.as_str()));
        }
        if let Some(select) = &query.select {
            value = select.apply(value);
        }
        Ok(value)
    }

    /// A member of a collection, if the caller may see it and it is known.
    fn member(&self, link: &Value) -> Option<Value> {
        let uri = link.get("@odata.id").and_then(Value::as_str)?;
        let route = Route::of(uri)?;
        let asker = &self.world.about.asker;
        let is_shut = asker.password_change_required && !route.is_for_expired(Method::Get, asker);
        if is_shut || !route.allows(Method::Get, asker) {
            return None;
        }
        show(&self.world, &route).ok().flatten()
    }

    /// The members between `$skip` and `$top`, and where it goes on.
    fn paged(&self, mut value: Value) -> Result<Value, Message> {
        let skip = self.query.skip.unwrap_or(0);
        let most = if self.holds_members() { EMBEDDED_MAX } else { TOP_MAX };
        let top = self.query.top.unwrap_or(most).min(most);
        let Some(members) = value.get_mut("Members").and_then(Value::as_array_mut) else { return Ok(value) };
        let total = members.len() as u64;
        if skip == 0 && top >= total {
            return Ok(value);
        }
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        *members = std::mem::take(members).into_iter().skip(at(skip)).take(at(top)).collect();
        let next = skip.saturating_add(top);
        if top > 0 && next < total {
            let others = self.request.query.split('&').filter(|pair| {
                !pair.is_empty() && !["$skip=", "%24skip="].iter().any(|name| pair.starts_with(name))
            });
            let query: Vec<&str> = others.collect();
            let kept = query.iter().map(|pair| format!("&{pair}")).collect::<String>();
            let uri = format!("{}?$skip={next}{kept}", self.route.uri);
            if let Some(map) = value.as_object_mut() {
                map.insert("Members@odata.nextLink".to_owned(), Value::String(uri));
            }
        }
        Ok(value)
    }

    /// Whether its members are whole in it, without being asked for: those of logs are (DSP0268, `LogEntryCollection`).
    fn holds_members(&self) -> bool {
        matches!(self.route.target, Target::Resource(resource) if resource.type_name() == "LogEntryCollection")
    }

    /// The collection with its members, if they are whole in it.
    fn embedded(&self, mut value: Value) -> Value {
        if let (true, Some(members)) =
            (self.holds_members(), value.get_mut("Members").and_then(Value::as_array_mut))
        {
            for member in members {
                if let Some(whole) = self.member(member) {
                    *member = whole;
                }
            }
        }
        value
    }

    /// Puts what links lead to in their places.
    fn expand(
        &self,
        value: &mut Value,
        expand: Expand,
        levels: u8,
        in_links: bool,
        left: &mut Room,
    ) -> Result<(), Message> {
        let follows = match expand.follow {
            Follow::All => true,
            Follow::Subordinate => !in_links,
            Follow::Links => in_links,
        };
        match value {
            Value::Array(list) => {
                for item in list {
                    self.follow(item, expand, levels, in_links, follows, left)?;
                }
            }
            Value::Object(map) => {
                for (name, item) in
                    map.iter_mut().filter(|(name, _)| *name != "Actions" && !name.starts_with('@'))
                {
                    let in_links = in_links || name == "Links";
                    let follows = match expand.follow {
                        Follow::All => true,
                        Follow::Subordinate => !in_links,
                        // The members of a collection are nobody's `Links`, and yet what it links to.
                        Follow::Links => in_links,
                    };
                    self.follow(item, expand, levels, in_links, follows, left)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn follow(
        &self,
        item: &mut Value,
        expand: Expand,
        levels: u8,
        in_links: bool,
        follows: bool,
        left: &mut Room,
    ) -> Result<(), Message> {
        let uri = match item.as_object() {
            Some(map) if map.len() == 1 => map.get("@odata.id").and_then(Value::as_str),
            _ => None,
        };
        let Some(uri) = uri else { return self.expand(item, expand, levels, in_links, left) };
        // A part of a resource (`Thermal#/Fans/0`) is no resource.
        if !follows || uri.contains('#') {
            return Ok(());
        }
        let Some(mut shown) = self.member(item) else { return Ok(()) };
        left.take(&shown).ok_or_else(|| base::INSUFFICIENT_STORAGE.plain())?;
        if levels > 1 {
            self.expand(&mut shown, expand, levels - 1, false, left)?;
        }
        *item = shown;
        Ok(())
    }

    /// Whether `If-Match` holds of what has this tag; without it, it does.
    fn is_wanted(&self, tag: &str) -> bool {
        self.request.if_match.as_deref().is_none_or(|condition| etag::matches_strongly(condition, tag))
    }

    /// Goes on with a POST whose condition holds, or that has none. The condition of an action is about what it is done with, that of what is made about the
    /// collection. `If-None-Match` is none of it: what is made has no address yet.
    ///
    /// # Errors
    /// What is needed to know that, or the answer that it does not.
    fn met(&self) -> Result<(), Step> {
        if !self.is_conditional() {
            return Ok(());
        }
        let shown = self.shown_at(&self.route.subject())?;
        let tag = etag::shown(&shown).unwrap_or_default();
        if self.is_wanted(tag) { Ok(()) } else { Err(Step::Done(precondition_failed(tag))) }
    }

    /// What is wrong with the conditions of a change, if something is. `If-None-Match` is one as well, with `*` that there is nothing yet (RFC 9110 §13.1.2).
    fn condition(&self, shown: &Value) -> Option<Answer> {
        let tag = etag::shown(shown).unwrap_or_default();
        let unwanted = self.request.if_none_match.as_deref();
        let is_met =
            self.is_wanted(tag) && unwanted.is_none_or(|condition| !etag::matches_weakly(condition, tag));
        (!is_met).then(|| precondition_failed(tag))
    }

    fn patch(&mut self) -> Step {
        let Target::Resource(resource) = self.route.target else { return Step::Done(self.not_found()) };
        let Some(patch) = &resource.patch else { return Step::Done(self.not_found()) };
        let shown = match self.shown() {
            Ok(shown) => shown,
            Err(step) => return step,
        };
        if let Some(answer) = self.condition(&shown) {
            return Step::Done(answer);
        }
        let map = match body::object(&self.body) {
            Ok(map) => map,
            Err(message) => return Step::Done(Answer::error(400, &[message])),
        };
        if map.is_empty() {
            return Step::Done(Answer::error(400, &[base::EMPTY_JSON.plain()]));
        }
        let Found { mut given, mut wrong, is_empty } = body::patch(&map, patch.properties, &shown);
        if is_empty {
            return Step::Done(Answer::error(400, &[base::NO_OPERATION.plain()]));
        }
        let asker = &self.world.about.asker;
        let in_general = self.route.allows(Method::Patch, asker);
        let may = |path: &str| self.route.allows_property(path, asker).unwrap_or(in_general);
        if !in_general {
            // Who may only change some properties learns nothing about the others. One that comes back as it is shown to him says nothing.
            let asks = |path: &str, value: &Value| pointer(path).find(&shown) != Some(value);
            if given.0.iter().any(|(path, value)| !may(path) && asks(path, value))
                || !wrong.is_empty() && given.is_empty()
            {
                return Step::Done(Answer::error(403, &[base::INSUFFICIENT_PRIVILEGE.plain()]));
            }
        }
        given.0.retain(|(path, _)| may(path));
        let together = resource.together;
        keep_together(together, &Value::Object(map), &shown, &mut given, &mut wrong);
        let changes = self.wanted(patch, together, &mut given, &mut wrong);
        let missing = self.world.take_missing();
        if !missing.is_empty() {
            return Step::Read(missing);
        }
        let mut todo = VecDeque::new();
        for change in changes {
            match change.call {
                Ok(_) => todo.push_back(change),
                Err(message) => wrong.extend(told(&change.properties, &message)),
            }
        }
        let (doing, refused, done, fields) = (Vec::new(), None, 0, resource.fields);
        self.go_on(Patching { patch, todo, doing, given, together, fields, wrong, refused, done })
    }

    /// What makes so what is given. Where one of the properties that count together cannot be, none of them is asked for, nor given any more, and each is told.
    fn wanted(
        &self,
        patch: &Patch,
        together: &'static [&'static [&'static str]],
        given: &mut Given,
        wrong: &mut Vec<(Pointer, Message)>,
    ) -> Vec<Change> {
        loop {
            if given.is_empty() {
                return Vec::new();
            }
            let changes = (patch.apply)(&self.world, &self.route.names, given);
            let spoiled = |change: &Change| {
                change.call.as_ref().err()?;
                change.properties.iter().find_map(|path| {
                    let group = together.iter().find(|group| group.contains(path))?;
                    Some((*group, *path))
                })
            };
            let Some((group, bad)) = changes.iter().find_map(spoiled) else { return changes };
            let mut named = Vec::new();
            for Change { properties, call } in changes {
                if let Err(message) = call
                    && properties.iter().any(|path| group.contains(path))
                {
                    wrong.extend(told(&properties, &message));
                    named.extend(properties);
                }
            }
            let out = without(given, group);
            if out.is_empty() {
                // It was said of nothing that was given: there is nothing else to be asked for.
                return Vec::new();
            }
            let others = out.into_iter().filter(|path| !named.contains(path));
            wrong.extend(others.map(|path| conflict(path, bad)));
        }
    }

    fn go_on(&mut self, mut patching: Patching) -> Step {
        if let Some(Change { properties, call: Ok(call) }) = patching.todo.pop_front() {
            let value = |path: &&'static str| {
                let property = patching.patch.properties.iter().find(|property| property.path == *path);
                let value = patching.given.get(path).unwrap_or(&Value::Null);
                (*path, property.map_or_else(String::new, |property| body::repeated(property, value)))
            };
            patching.doing = properties.iter().map(value).collect();
            self.state = State::Patching(patching);
            return Step::Write(call);
        }
        if patching.done == 0 && !patching.wrong.is_empty() {
            let messages: Vec<Message> = patching.wrong.into_iter().map(|(_, message)| message).collect();
            let (status, retry_after) = patching.refused.unwrap_or((400, None));
            let answer = Answer::error(status, &messages);
            return Step::Done(match retry_after {
                Some(seconds) => answer.with("retry-after", seconds.to_string()),
                None => answer,
            });
        }
        if patching.done > 0 {
            for need in patching.patch.changes {
                self.world.forget(*need);
            }
            return self.show_patched(patching.wrong);
        }
        match self.shown() {
            Ok(shown) => Step::Done(with_tag(Answer::json(200, shown))),
            Err(step) => step,
        }
    }

    /// The resource after a change, and what is wrong (DSP0266 §7.5.2).
    fn show_patched(&mut self, wrong: Vec<(Pointer, Message)>) -> Step {
        match self.shown() {
            Ok(mut shown) => {
                let answer_tag = etag::shown(&shown).unwrap_or_default().to_owned();
                annotate(&mut shown, &wrong);
                Step::Done(Answer::json(200, shown).with("etag", answer_tag))
            }
            Err(Step::Read(needs)) => {
                self.state = State::Patched(wrong);
                Step::Read(needs)
            }
            // What was done is done.
            Err(_) => Step::Done(Answer::empty(204)),
        }
    }

    /// Shows what was made, once it is known.
    fn show_made(&mut self, made: Made) -> Step {
        let uri = format!("{}/{}", self.route.uri, made.name);
        let mut shown = made.shown.clone();
        if shown.is_none() {
            let asked = Route::of(&uri).map(|route| show(&self.world, &route));
            let missing = self.world.take_missing();
            if !missing.is_empty() {
                self.state = State::Made(made);
                return Step::Read(missing);
            }
            shown = asked.and_then(Result::ok).flatten();
        }
        let Some(mut body) = shown else { return Step::Done(Answer::empty(201).with("location", uri)) };
        if let (Some(map), false) = (body.as_object_mut(), made.messages.is_empty()) {
            let messages: Vec<Value> = made.messages.iter().map(Message::to_json).collect();
            map.insert("@Message.ExtendedInfo".to_owned(), Value::Array(messages));
        }
        let mut answer = with_tag(Answer::json(201, body)).with("location", uri);
        answer.headers.extend(made.headers);
        answer.secret = true;
        Step::Done(answer)
    }

    fn create(&mut self) -> Step {
        let Target::Resource(resource) = self.route.target else { return Step::Done(self.not_found()) };
        let Some(create) = &resource.create else { return Step::Done(self.not_found()) };
        if let Err(step) = self.met() {
            return step;
        }
        let map = match body::object(&self.body) {
            Ok(map) => map,
            Err(message) => return Step::Done(Answer::error(400, &[message])),
        };
        if map.is_empty() {
            return Step::Done(Answer::error(400, &[base::EMPTY_JSON.plain()]));
        }
        let found = body::create(&map, create);
        // A new resource is made whole or not at all (§7.7).
        if !found.wrong.is_empty() {
            let messages: Vec<Message> = found.wrong.into_iter().map(|(_, message)| message).collect();
            return Step::Done(Answer::error(400, &messages));
        }
        let call = (create.call)(&self.world, &found.given);
        let missing = self.world.take_missing();
        if !missing.is_empty() {
            return Step::Read(missing);
        }
        match call {
            Ok(call) => self.ask(Ok(call)),
            Err(messages) => Step::Done(Answer::error(400, &messages)),
        }
    }

    fn act(&mut self, action: &'static Action) -> Step {
        let is_there = (action.is_there)(&self.world, &self.route.names);
        let missing = self.world.take_missing();
        if !missing.is_empty() {
            return Step::Read(missing);
        }
        match is_there {
            Ok(true) => {}
            Ok(false) => return Step::Done(self.not_found()),
            Err(fault) => return Step::Done(self.refusal(&fault)),
        }
        if !resources::has(action, &self.route.names) {
            return Step::Done(Answer::error(400, &[base::ACTION_NOT_SUPPORTED.with(&[action.name])]));
        }
        if let Err(step) = self.met() {
            return step;
        }
        let map = if self.body.is_empty() { Ok(Map::new()) } else { body::object(&self.body) };
        let map = match map {
            Ok(map) => map,
            Err(message) => return Step::Done(Answer::error(400, &[message])),
        };
        let found = body::parameters(&map, action);
        if !found.wrong.is_empty() {
            let messages: Vec<Message> = found.wrong.into_iter().map(|(_, message)| message).collect();
            return Step::Done(Answer::error(400, &messages));
        }
        if action.name == resources::COLLECT {
            self.state = State::Waiting;
            return Step::Collect;
        }
        self.ask((action.run)(&self.world, &self.route.names, &found.given))
    }

    fn delete(&mut self) -> Step {
        let Target::Resource(resource) = self.route.target else { return Step::Done(self.not_found()) };
        let Some(delete) = resource.delete else { return Step::Done(self.not_found()) };
        let shown = match self.shown() {
            Ok(shown) => shown,
            Err(step) => return step,
        };
        if let Some(answer) = self.condition(&shown) {
            return Step::Done(answer);
        }
        match delete(&self.world, &self.route.names) {
            Ok(Deed::Call(call)) => self.ask(Ok(call)),
            Ok(Deed::CloseStream(id)) => {
                self.state = State::Waiting;
                Step::Close(id)
            }
            Err(message) => self.ask(Err(message)),
        }
    }

    /// Asks an owner, unless it is known already that nothing will come of it.
    fn ask(&mut self, call: Result<Call, Message>) -> Step {
        let missing = self.world.take_missing();
        if !missing.is_empty() {
            return Step::Read(missing);
        }
        match call {
            Ok(call) => {
                self.state = State::Waiting;
                Step::Write(call)
            }
            // What is asked for is right, and the state of the service against it.
            Err(message) if message.id() == resources::updates_disabled().id() => {
                Step::Done(Answer::error(CONFLICT, &[message]))
            }
            Err(message) if message.id() == base::SUCCESS.id => Step::Done(Answer::empty(204)),
            Err(message) => Step::Done(Answer::error(400, &[message])),
        }
    }

    fn succeeded(&mut self, bytes: &[u8]) -> Step {
        if let Target::Action(_, action) = self.route.target
            && action.name == resources::COLLECT
        {
            return Step::Done(goes_on(&String::from_utf8_lossy(bytes), resources::COLLECTING));
        }
        if let Target::Action(resource, action) = self.route.target {
            let unused = body::unused(&self.body, resource.unused, action);
            if !unused.is_empty() {
                return Step::Done(Answer::json(200, success_body(&unused)));
            }
        }
        if let Target::Action(resource, action) = self.route.target
            && let Some(answers) = resource.answers
        {
            return Step::Done(match answers(action.name, bytes) {
                Ok(Answered::Value(value)) => Answer::json(200, value),
                Ok(Answered::Nothing) => Answer::empty(204),
                Ok(Answered::Task { id, name }) => goes_on(&id, &name),
                Err(fault) => self.refusal(&fault),
            });
        }
        let create = match self.route.target {
            Target::Resource(resource) if self.method == Method::Post => resource.create.as_ref(),
            _ => None,
        };
        let Some(create) = create else { return Step::Done(Answer::empty(204)) };
        match (create.made)(bytes) {
            Ok(made) => {
                for need in create.changes {
                    self.world.forget(*need);
                }
                self.show_made(made)
            }
            Err(fault) => Step::Done(self.refusal(&fault)),
        }
    }
}

/// Whether this caller may do this here, and what the query asks for.
///
/// # Errors
/// As [`Exchange::new`].
fn judged(route: &Route, method: Method, request: &Request, asker: &Asker) -> Result<Query, Answer> {
    let is_open = route.is_open(method);
    if !is_open && asker.password_change_required && !route.is_for_expired(method, asker) {
        return Err(Answer::error(403, &[password_change_required(asker)]));
    }
    let in_part = method == Method::Patch && route.may_allow_a_property(asker);
    if !(is_open || in_part || route.allows(method, asker)) {
        return Err(Answer::error(403, &[base::INSUFFICIENT_PRIVILEGE.plain()]));
    }
    if !route.methods().contains(&method) {
        let message = base::OPERATION_NOT_ALLOWED.plain().resolved_by(&route.instead(method));
        return Err(Answer::error(405, &[message]).with("allow", route.allow()));
    }
    if matches!(route.target, Target::Push) {
        // Before any of it is read: there is nothing that takes it.
        return Err(Answer::error(CONFLICT, &[resources::updates_disabled()]));
    }
    // A change is asked for to be made, whatever of it is told.
    let is_json = method.reads() && !matches!(route.target, Target::Metadata);
    let refused = if is_json { request.refusal(JSON) } else { request.version_refusal() };
    if let Some(answer) = refused {
        return Err(answer);
    }
    let query = match Query::parse(&request.query) {
        // DSP0266, "Query parameters": they are for reading.
        Ok(query) if !method.reads() && query.is_empty() => query,
        _ if !method.reads() => {
            return Err(Answer::error(400, &[base::QUERY_NOT_SUPPORTED_ON_OPERATION.plain()]));
        }
        Ok(query) => query,
        Err(QueryError::Bad(message)) => return Err(Answer::error(400, &[message])),
        Err(QueryError::Unsupported(message)) => return Err(Answer::error(501, &[message])),
    };
    let unfit = match route.target {
        Target::Resource(resource) => {
            query.is_for_collections() && !resource.is_collection()
                || query.excerpt && resource.excerpt.is_empty()
        }
        _ => !query.is_empty(),
    };
    if unfit {
        return Err(Answer::error(400, &[base::QUERY_NOT_SUPPORTED_ON_RESOURCE.plain()]));
    }
    Ok(query)
}

/// The answer to what goes on: the task that it is, and where its end is told (DSP0266, "Asynchronous operations").
fn goes_on(id: &str, name: &str) -> Answer {
    let answer = Answer::json(202, resources::task_begun(id, name));
    answer.with("location", resources::monitor_uri(id)).with("retry-after", ASK_AGAIN)
}

/// The answer to who wants another state than the one with this tag.
fn precondition_failed(tag: &str) -> Answer {
    Answer::error(412, &[base::PRECONDITION_FAILED.plain()]).with("etag", tag)
}

/// The answer to a request to read, with what the path takes (DSP0266, "Response headers").
fn with_methods(answer: Answer, route: &Route, method: Method) -> Answer {
    if !method.reads() || answer.header("allow").is_some() {
        return answer;
    }
    answer.with("allow", route.allow())
}

fn with_tag(answer: Answer) -> Answer {
    match etag::shown(answer.value()).map(str::to_owned) {
        Some(tag) => answer.with("etag", tag),
        None => answer,
    }
}

/// What is to be said to somebody who has to change the password first.
pub(crate) fn password_change_required(asker: &Asker) -> Message {
    base::PASSWORD_CHANGE_REQUIRED.with(&[&format!("/redfish/v1/AccountService/Accounts/{}", asker.username)])
}
