//! Redfish over HTTP: what `crates/redfish` decides, asked of the daemons through the gate, as the caller.
//!
//! Each step of an exchange is one round of calls on the bus; what they answer is not kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future;
use gate::{AccountType, Caller, Origin};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use ipc::{CallContext, Status};
use prost_reflect::DynamicMessage;
use redfish::resources::{DATA_TYPE, STREAM, STREAM_TYPE, StreamFilter, data_at};
use redfish::{About, Answer, Asker, Exchange, Method, Need, Privileges, Request, Route, Step, Supply};
use schema::rpc::system_service::GET_SYSTEM_INFO;
use schema::v1alpha1 as api;
use tokio::time::Instant;

use crate::auth;
use crate::body::{RequestBody, ResponseBody};
use crate::call::Call;
use crate::dispatch::{Wire, media_type};
use crate::extended::{self, ODATA_VERSION};
use crate::gateway::{self, Gateway};
use crate::gzip::{self, Coding};
use crate::jobs;
use crate::last;
use crate::memory::{self, Stamp};
use crate::reports::Reports;
use crate::site::Changing;
use crate::status::Failure;
use crate::stream;
use crate::turns::Turn;

/// Where the kernel has the controller's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// How long the root waits for the identity of the installation, which the operator knows; it is shown without it after that.
const IDENTITY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a resource waits for what is only shown beside it; without it the rest is shown.
const BESIDE_PATIENCE: Duration = Duration::from_secs(2);
/// How long an owner is waited for where there is what it said last.
const KNOWN_PATIENCE: Duration = Duration::from_secs(3);
/// How much longer an owner is waited for of whom the model knows that he is late.
const SILENT_PATIENCE: Duration = Duration::from_millis(500);
/// What streams events.
const WATCH: &str = "rpc.EventService.WatchEvents";

/// What an exchange has come to.
enum Next {
    /// The code for the log, and the answer.
    Answer(ipc::Code, Response<ResponseBody>),
    /// As [`Step`] has them.
    Read(Vec<Need>),
    Write(redfish::Call),
    Collect,
    Close(String),
}

/// What a resource is made of.
enum Found {
    /// What others are shown as well.
    Shared(Supply, Stamp),
    /// What an owner has answered to this one.
    Own(Bytes),
    /// That this machine has no such owner.
    Absent(Status),
}

/// What an exchange keeps others from.
#[derive(Clone)]
struct Held {
    turn: Option<Arc<Turn>>,
    alone: Option<Arc<Changing>>,
}

impl Held {
    /// For as long as an owner is asked; `None` when there is nothing.
    fn of(&self) -> Option<Self> {
        (self.turn.is_some() || self.alone.is_some()).then(|| self.clone())
    }
}

impl Gateway {
    /// A request to Redfish.
    pub(crate) async fn redfish(
        self: &Arc<Self>,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Response<ResponseBody> {
        call.door = Some(AccountType::Redfish);
        let mut response = match self.exchange(parts, body, call).await {
            Ok(response) => response,
            Err(failure) => call.fail(Wire::Redfish, &failure),
        };
        // RFC 9110 §15.5.2: each 401 has one, also where the login was the body of a POST.
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = || auth::challenge(self.config.auth.basic, &parts.headers);
            response.headers_mut().entry(header::WWW_AUTHENTICATE).or_insert_with(challenge);
        }
        response
    }

    async fn exchange(
        self: &Arc<Self>,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Result<Response<ResponseBody>, Failure> {
        let path = parts.uri.path();
        let Some(method) = Method::named(parts.method.as_str()) else {
            let allowed = extended::allow(path).unwrap_or_else(|| "GET, HEAD, OPTIONS".to_owned());
            return Err(Failure::method_not_allowed(&allowed));
        };
        call.due(Some(Duration::from_millis(self.config.limits.deadline_ms)));
        if path.trim_end_matches('/') == STREAM {
            return self.events(parts, call).await;
        }
        if let Some(id) = data_at(path.trim_end_matches('/')) {
            return self.archive(id, parts, call).await;
        }
        // Whoever it is from, what is open to all needs nobody to be asked.
        // But a query may ask for more than is open.
        let is_open = Route::of(path).is_some_and(|route| route.is_open(method));
        let asks_more = method.reads() && parts.uri.query().is_some();
        if !is_open || asks_more && gateway::shows_credential(&parts.headers) {
            self.login(parts, call).await?;
        } else {
            self.enter(call).await;
        }
        let about = self.about(method, call).await;
        let mut exchange = match Exchange::new(path, method, request(parts), about) {
            Ok(exchange) => exchange,
            Err(answer) => return Ok(refusal(answer, parts, call)),
        };
        let given = match exchange.wants_body() {
            true => Some(self.body_of(parts, body, call).await?),
            false => None,
        };
        // The turn before the resource: nobody keeps a resource from others while he waits for himself.
        let turn = self.turn(call).await?;
        // Between what a condition compares and what is changed then nobody else changes it.
        let alone = match exchange.compares() {
            true => Some(gateway::in_time(call, self.site.changing(&exchange.thing())).await?),
            false => None,
        };
        if self.renew(parts, call).await? {
            // What was decided was decided for somebody else.
            let about = self.about(method, call).await;
            exchange = match Exchange::new(path, method, request(parts), about) {
                Ok(exchange) => exchange,
                Err(answer) => return Ok(refusal(answer, parts, call)),
            };
        }
        if let Some(given) = given {
            exchange.set_body(given.to_vec());
        }
        let held = Held { turn: turn.clone(), alone: alone.map(Arc::new) };
        let mut room = call.caller.as_deref().map(|caller| self.bodies.share(Some(caller), call.conn.peer()));
        // Before anything is read: what is read is held until the answer is made of it.
        // A change waits for nobody's reading.
        let _read = match method.reads() {
            true => Some(gateway::in_time(call, self.turns.read(turn.as_deref())).await??),
            false => None,
        };
        // An answer is made into bytes at once: as values it is several times as large, and would wait for its turn like that.
        let mut shared = exchange.shared_as();
        let find = |key: &String| self.site.ready.find(key, &self.site.memory, &self.model.snapshot());
        if let Some(kept) = shared.as_ref().and_then(find) {
            // Turn and place may have been waited for long.
            if self.renew(parts, call).await? {
                shared = None;
            } else {
                let response = extended::respond_kept(&kept, &parts.headers);
                let Some(mut share) = room.take() else { return Ok(response) };
                share.grow(response.body().kept())?;
                return Ok(response.map(|body| body.counted(share)));
            }
        }
        let begun = Instant::now();
        // What of it was in memory; from the first question to a daemon on the answer is nobody else's.
        let mut made_of: Option<Vec<(Need, Stamp)>> = Some(Vec::new());
        let next = |step: Step, shared: &mut Option<String>, made_of: &mut Option<Vec<_>>| match step {
            Step::Done(answer) => {
                let kept = match (shared.take(), made_of.take()) {
                    (Some(key), Some(made_of)) => extended::keep(&answer).map(|kept| (key, made_of, kept)),
                    _ => None,
                };
                let code = extended::code(&answer);
                match kept {
                    Some((key, made_of, kept)) => {
                        let response = extended::respond_kept(&kept, &parts.headers);
                        self.site.ready.keep(key, begun, made_of, kept);
                        Next::Answer(code, response)
                    }
                    None => Next::Answer(code, extended::respond(answer, &parts.headers)),
                }
            }
            Step::Read(needs) => Next::Read(needs),
            Step::Write(wanted) => Next::Write(wanted),
            Step::Collect => Next::Collect,
            Step::Close(id) => Next::Close(id),
        };
        let mut step =
            self.turns.work(turn.as_deref(), || next(exchange.step(), &mut shared, &mut made_of)).await;
        loop {
            step = match step {
                Next::Answer(code, response) => {
                    call.code = code;
                    let Some(mut share) = room.take() else { return Ok(response) };
                    if method.reads() {
                        share.grow(response.body().kept())?;
                    } else {
                        share.settle(response.body().kept());
                    }
                    return Ok(response.map(|body| body.counted(share)));
                }
                Next::Read(needs) => {
                    // What is compared before a change, and shown after it, is asked of its owner.
                    let in_memory = method.reads();
                    let answers = needs.iter().map(|need| {
                        self.find(*need, exchange.call_for(*need), in_memory, &held, parts, call)
                    });
                    let answers: Vec<(Need, Result<Found, Status>)> =
                        needs.iter().copied().zip(future::join_all(answers).await).collect();
                    let fill = || {
                        for (need, answer) in answers {
                            match answer {
                                Ok(Found::Shared(supply, stamp)) => {
                                    if let Some(made_of) = &mut made_of {
                                        made_of.push((need, stamp));
                                    }
                                    exchange.supplied(supply);
                                    continue;
                                }
                                Ok(Found::Absent(status)) => {
                                    exchange.filled(need, Err(extended::fault(&status)));
                                    continue;
                                }
                                Ok(Found::Own(bytes)) => exchange.filled(need, Ok(&bytes)),
                                Err(status) => exchange.filled(need, Err(extended::fault(&status))),
                            }
                            made_of = None;
                        }
                        next(exchange.step(), &mut shared, &mut made_of)
                    };
                    self.turns.work(turn.as_deref(), fill).await
                }
                Next::Collect => {
                    let begun = self.collect_data(call);
                    let begun = begun.as_ref().map(String::as_bytes).map_err(extended::fault);
                    next(exchange.written(begun), &mut shared, &mut made_of)
                }
                Next::Close(id) => {
                    self.site.streams.close(&id);
                    next(exchange.written(Ok(&[])), &mut shared, &mut made_of)
                }
                Next::Write(wanted) => {
                    let answer = self.ask(wanted, Duration::MAX, &held, parts, call).await;
                    exchange.at(jobs::now());
                    next(
                        exchange.written(answer.as_deref().map_err(extended::fault)),
                        &mut shared,
                        &mut made_of,
                    )
                }
            };
        }
    }

    /// The archive of diagnostic data, for who may configure the controller.
    async fn archive(
        self: &Arc<Self>,
        id: &str,
        parts: &Parts,
        call: &mut Call,
    ) -> Result<Response<ResponseBody>, Failure> {
        self.login(parts, call).await?;
        if !matches!(parts.method, http::Method::GET | http::Method::HEAD) {
            return Err(Failure::method_not_allowed("GET, HEAD"));
        }
        // As its entry, whose resource it is a part of.
        let asker = asker(call);
        if !asker.privileges.has(Privileges::CONFIGURE_MANAGER) || asker.password_change_required {
            return Err(Status::permission_denied("this takes CONFIGURE_MANAGER").into());
        }
        if let Some(answer) = request(parts).version_refusal() {
            return Ok(refusal(answer, parts, call));
        }
        let Some(archive) = self.site.diagnostics.archive(id) else {
            return Ok(refusal(extended::missing(parts.uri.path()), parts, call));
        };
        let mut share = self.bodies.share(call.caller.as_deref(), call.conn.peer());
        let mut response = Response::new(ResponseBody::full(archive));
        share.grow(response.body().kept())?;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(DATA_TYPE));
        headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
        Ok(response.map(|body| body.counted(share)))
    }

    /// A stream of events, as the log has them, and of metric reports where its filter speaks of them.
    async fn events(
        self: &Arc<Self>,
        parts: &Parts,
        call: &mut Call,
    ) -> Result<Response<ResponseBody>, Failure> {
        self.login(parts, call).await?;
        if parts.method != http::Method::GET {
            return Err(Failure::method_not_allowed("GET"));
        }
        if let Some(answer) = request(parts).refusal(STREAM_TYPE) {
            return Ok(refusal(answer, parts, call));
        }
        let filter = match StreamFilter::of(parts.uri.query().unwrap_or_default()) {
            Ok(filter) => filter,
            Err(answer) => return Ok(refusal(answer, parts, call)),
        };
        let route = schema::method(WATCH).and_then(|method| self.routes.rpc(method.path));
        let route =
            Arc::clone(route.ok_or_else(|| Status::internal("the contract has no stream of events"))?);
        let admitted = gate::authorise(route.info, call.caller.clone())?;
        let message = DynamicMessage::new(route.input.clone());
        let (checked, message) = gateway::check(admitted, message, None, parts, call)?;
        self.confirm(checked, parts, call).await?;
        let after = gateway::last_event_id(&route, parts);
        let principal = call.caller.as_ref().map(|caller| caller.principal.clone()).unwrap_or_default();
        let username = principal.username.clone();
        let reports = match filter.shows_reports() {
            true => {
                let context = CallContext { deadline: None, ..call.context() }.with_principal(principal);
                let memory = Arc::clone(&self.site.memory);
                let (bus, model) = (self.bus.clone(), self.model.clone());
                Some(Reports::open(bus, model, memory, context, Arc::clone(&self.due)).await?)
            }
            false => None,
        };
        let watching = self.watch(&route, &message, None, after, call).await?;
        let is_of_reports = reports.is_some() && !filter.shows_events();
        let subscribed = self.site.streams.open(username, call.conn.peer().to_string(), is_of_reports);
        let mut response = stream::redfish(watching, subscribed, filter, reports);
        response.headers_mut().insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
        Ok(response)
    }

    /// What a resource is made of: what its owner says, or, when that is not there, what it last said, as far as that can be marked as old (I-8). So a
    /// machine does not fall to pieces when one daemon dies.
    async fn find(
        &self,
        need: Need,
        wanted: redfish::Call,
        in_memory: bool,
        held: &Held,
        parts: &Parts,
        call: &Call,
    ) -> Result<Found, Status> {
        // Whatever is shown, it is to somebody who is known and may see it.
        gate::authorise(wanted.method, self.caller_now(call).await?)?;
        let snapshot = self.model.snapshot();
        // Many machines leave their network as it is, and many boards have no drives and no screens; nobody waits for a daemon that does not run there.
        let of_some = match need {
            Need::Network => Some("netmgr"),
            Need::Ipmi | Need::Watchdog => Some("ipmisrv"),
            Need::Ssh => Some("sshsrv"),
            Need::Media | Need::MediaSwitch => Some("mediasrv"),
            Need::Screens => Some("kvmsrv"),
            _ => None,
        };
        if let Some(daemon) = of_some.filter(|daemon| last::is_without(daemon, &snapshot)) {
            return Ok(Found::Absent(Status::unavailable(format!("{daemon} does not run"))));
        }
        if last::is_gone(need, &snapshot)
            && let Some(known) = last::known(need, &snapshot)
        {
            return Ok(Found::Own(known));
        }
        let memory = &self.site.memory;
        if in_memory && let Some((supply, stamp)) = memory.supply(need, &snapshot) {
            return Ok(Found::Shared(supply, stamp));
        }
        let asked = memory.stamp(need, &snapshot).filter(|_| in_memory).map(|stamp| (stamp, Instant::now()));
        // Nothing that is shown is made of consoles, screens and what the operator knows, they are only shown beside; and most of what the network, drives and
        // other ways in are shown in is not about them.
        let is_beside = matches!(
            need,
            Need::Consoles
                | Need::Screens
                | Need::System
                | Need::Network
                | Need::Ipmi
                | Need::Watchdog
                | Need::Ssh
                | Need::Vnc
                | Need::Redirect
                | Need::Media
                | Need::MediaSwitch
        );
        let is_known = in_memory && last::is_known(need, &snapshot);
        let most = match (is_beside, is_known) {
            (true, _) => BESIDE_PATIENCE,
            (false, true) => KNOWN_PATIENCE,
            (false, false) => Duration::MAX,
        };
        let asking = self.ask(wanted, most, held, parts, call);
        // Its owner may stand still: once the model knows that, who only reads waits no longer.
        let answer = if in_memory {
            let mut model = self.model.clone();
            let silent = async {
                model.until(|snapshot| memory::is_silent(need, snapshot)).await;
                tokio::time::sleep(SILENT_PATIENCE).await;
            };
            tokio::select! {
                answer = asking => answer,
                () = silent => Err(Status::unavailable("its daemon says nothing")),
            }
        } else {
            asking.await
        };
        let is_away = answer.as_ref().is_err_and(|status| match status.code {
            ipc::Code::Unavailable => true,
            ipc::Code::DeadlineExceeded => is_known,
            _ => false,
        });
        if is_away && let Some(known) = last::known(need, &self.model.snapshot()) {
            return Ok(Found::Own(known));
        }
        // A question may be asked again, whoever got it.
        let answer = answer.map_err(|status| match status.code {
            ipc::Code::Unavailable => Status::unavailable(status.message),
            _ => status,
        })?;
        Ok(match memory.heard(need, asked, &answer) {
            Some((supply, stamp)) => Found::Shared(supply, stamp),
            None => Found::Own(answer),
        })
    }

    /// Who the caller is now, if its account is for Redfish still: between the steps of an exchange much may be waited for.
    async fn caller_now(&self, call: &Call) -> Result<Option<Arc<Caller>>, Status> {
        let Some(login) = &call.login else { return Ok(None) };
        Ok(match self.gate.renewed(login, &call.context()).await? {
            Some(login) => {
                if let Some(door) = call.door {
                    gate::enter(door, login.caller())?;
                }
                Some(Arc::clone(login.caller()))
            }
            None => call.caller.clone(),
        })
    }

    /// One call of the contract, as the caller, with all that the gate asks of it. It takes what its method may take, and at most as long as said.
    async fn ask(
        &self,
        wanted: redfish::Call,
        most: Duration,
        held: &Held,
        parts: &Parts,
        call: &Call,
    ) -> Result<Bytes, Status> {
        let admitted = gate::authorise(wanted.method, self.caller_now(call).await?)?;
        let wire = Bytes::from(wanted.request);
        let message = DynamicMessage::decode(wanted.method.input(), wire.clone())
            .map_err(|error| Status::internal(format!("a request of Redfish's is none: {error}")))?;
        let user_agent =
            parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let origin = Origin { peer: call.conn.peer().into(), user_agent };
        let (checked, _) = admitted.check(message, Some(wire), &origin)?;
        let route = self.routes.rpc(wanted.method.path);
        let within = route.map_or(wanted.method.deadline, |route| route.deadline).min(most);
        self.hand_over(wanted.method, checked, call.context().with_timeout(within), held.of()).await
    }

    async fn body_of(
        &self,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Result<Bytes, Failure> {
        let limits = &self.config.limits;
        let limit = if call.caller.is_some() {
            limits.body_bytes
        } else {
            limits.body_bytes.min(limits.unauthenticated_body_bytes)
        };
        let coding = gzip::coding(&parts.headers)?;
        let kind = media_type(&parts.headers);
        // Also without a body: a form on a foreign page can send one of its own types.
        if !kind.is_empty() && kind != "application/json" {
            return Err(Failure::unsupported_media(&kind, "application/json"));
        }
        let whole = self.collect_up_to(limit, parts, body, call).await?;
        if !whole.is_empty() && kind.is_empty() {
            return Err(Failure::unsupported_media(&kind, "application/json"));
        }
        if coding == Coding::Identity {
            return Ok(whole);
        }
        let mut share = call.body.take();
        let unpacked =
            gzip::unpack(&whole, limit, |more| share.as_mut().map_or(Ok(()), |share| share.grow(more)));
        call.body = share;
        unpacked
    }

    /// What the service knows of itself and of who asks.
    async fn about(&self, method: Method, call: &Call) -> About {
        let site = &self.site;
        let uuid = site.identity.get_or_try_init(async || {
            let context = CallContext::new().with_timeout(IDENTITY_PATIENCE);
            let request = api::GetSystemInfoRequest::default();
            let answer = self.bus.call(GET_SYSTEM_INFO, &request, &context).await?;
            answer
                .system_info
                .map(|system| system.id)
                .ok_or_else(|| Status::internal("the operator says nothing of itself"))
        });
        let uuid = match method {
            // No action and nothing new shows it, so none waits for it.
            Method::Post => site.identity.get().cloned(),
            _ => uuid.await.ok().cloned(),
        };
        let uuid = uuid.unwrap_or_default();
        About {
            now: jobs::now(),
            https_port: site.https_port,
            vnc_port: site.vnc_port.load(Ordering::Relaxed),
            basic: self.config.auth.basic,
            streams: site.streams.all(),
            collected: site.diagnostics.all(),
            host_name: std::fs::read_to_string(HOST_NAME).unwrap_or_default().trim().to_owned(),
            uuid,
            rollup: site.memory.rollup(&self.model.snapshot()),
            asker: asker(call),
            names: Vec::new(),
        }
    }
}

/// An answer that nothing was asked for.
fn refusal(answer: Answer, parts: &Parts, call: &mut Call) -> Response<ResponseBody> {
    call.code = extended::code(&answer);
    extended::respond(answer, &parts.headers)
}

fn request(parts: &Parts) -> Request {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    // RFC 9110 §5.3: several lines of such a field are one list.
    let list = |name: HeaderName| {
        let lines: Vec<String> = parts.headers.get_all(name).iter().map(text).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    };
    Request {
        query: parts.uri.query().unwrap_or_default().to_owned(),
        if_match: list(header::IF_MATCH),
        if_none_match: list(header::IF_NONE_MATCH),
        odata_version: parts.headers.get(ODATA_VERSION).map(text),
        accept: list(header::ACCEPT),
    }
}

fn asker(call: &Call) -> Asker {
    let Some(caller) = call.caller.as_deref() else { return Asker::default() };
    Asker {
        user_id: caller.principal.user_id.clone(),
        username: caller.principal.username.clone(),
        session_id: caller.principal.session_id.clone(),
        privileges: Privileges::of(&caller.principal.privileges),
        opens_consoles: caller.types.contains(AccountType::HostConsole),
        password_change_required: caller.password_change_required,
    }
}
