//! The generic gateway: authenticate, authorise, validate, forward. It knows methods only as [`Route`]s.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gate::audit::Level;
use gate::{Admitted, Checked, Gate, Origin, Policy};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::Body;
use ipc::{CallContext, Code, Status};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use schema::MethodInfo;
use schema::rpc::network_service::{CHANGE_NETWORK, CONFIRM_NETWORK};
use schema::v1alpha1::{ChangeNetworkResponse, ConfirmNetworkRequest, ConfirmNetworkResponse, Privilege};
use tokio::time::Instant;

use crate::admission::HttpVersion;
use crate::auth::{self, credential, refused};
use crate::body::{CollectError, RequestBody, ResponseBody};
use crate::budget::{Budget, Share};
use crate::call::Call;
use crate::config::Config;
use crate::dispatch::{self, Codec, Library, Rpc, Wire, media_type};
use crate::error::Error;
use crate::events::Feed;
use crate::guard::{Access, Guard};
use crate::gzip::{self, Coding};
use crate::headers::Decorator;
use crate::health::Liveness;
use crate::json;
use crate::places::Places;
use crate::readings::Readings;
use crate::reports::Due;
use crate::route::{BodyRule, Rest, Route, Routes};
use crate::served::Served;
use crate::site::Site;
use crate::status::Failure;
use crate::stream::{self, Source, Watching};
use crate::turns::{Turn, Turns};
use crate::{extended, request, rest, ui_cookie};

/// Where REST lives.
pub(crate) const API: &str = "/api/v1alpha1";
/// Bytes an answer to a change is taken to have before it is there; most have less.
const ANSWER: usize = 4 * 1024;
/// How long who has come in waits for netmgr to hear that he has.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);

/// Everything the gateway needs to answer any request.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub config: Config,
    pub routes: Arc<Routes>,
    /// What speaks Connect, gRPC and gRPC-Web.
    pub library: Library,
    pub gate: Gate,
    pub feed: Arc<Feed>,
    pub places: Arc<Places>,
    /// The memory of request bodies.
    pub bodies: Arc<Budget>,
    pub readings: Readings,
    /// Which metric reports of clients are due.
    pub due: Arc<Due>,
    /// What is known of everything, without asking anybody.
    pub model: model_feed::Reader,
    pub turns: Arc<Turns>,
    pub live: Liveness,
    pub decorator: Decorator,
    /// What Redfish is told of where it is served.
    pub site: Site,
    pub bus: ipc::Client,
    /// The daemon's own runtime, which waits for all sockets.
    pub runtime: tokio::runtime::Handle,
    /// Where the sockets of other daemons are.
    pub run_dir: std::path::PathBuf,
    /// The certificate; `None` without HTTPS.
    pub served: Option<Arc<Served>>,
}

impl Gateway {
    pub(crate) fn new(
        config: Config,
        bus: ipc::Client,
        model: model_feed::Reader,
        h3_port: Option<u16>,
        site: Site,
        served: Option<Arc<Served>>,
        run_dir: std::path::PathBuf,
    ) -> Result<Self, Error> {
        config.check()?;
        let limits = &config.limits;
        let policy = Policy {
            basic_cache: Duration::from_secs(config.auth.basic_cache_s),
            token_cache: Duration::from_secs(config.auth.token_cache_s),
            logins: limits.logins,
        };
        let routes = Arc::new(Routes::new(&config)?);
        Ok(Self {
            library: Library::new(Arc::clone(&routes)),
            routes,
            gate: Gate::new(bus.clone(), policy).map_err(Error::Entropy)?,
            feed: Feed::new(bus.clone(), limits.stream_buffer),
            readings: Readings::new(bus.clone(), model.clone()),
            due: Arc::new(Due::new()),
            model,
            places: Places::new(limits),
            bodies: Arc::default(),
            turns: Arc::default(),
            live: Liveness::new(bus.clone()),
            site,
            bus,
            runtime: tokio::runtime::Handle::current(),
            run_dir,
            decorator: Decorator::new(&config.cors, h3_port),
            served,
            config,
        })
    }

    /// What is answered whatever is at the path: what is malformed, OPTIONS, and a write for a foreign page. `None` for all else.
    pub(crate) async fn before(
        &self,
        parts: &Parts,
        checked: Result<(), Failure>,
        call: &mut Call,
    ) -> Option<Response<ResponseBody>> {
        if !(shows_credential(&parts.headers) && may_log_in(parts.uri.path())) {
            self.enter(call).await;
        }
        if let Err(failure) = checked {
            return Some(call.fail(Wire::guess(parts), &failure));
        }
        if parts.method == Method::OPTIONS {
            return Some(self.options(parts.uri.path()));
        }
        let failure = self.decorator.same_origin(parts).err()?;
        Some(call.fail(Wire::guess(parts), &failure))
    }

    /// Waits in the strangers' line, unless the request has stood in one.
    pub(crate) async fn enter(&self, call: &mut Call) {
        if !std::mem::replace(&mut call.has_entered, true) {
            self.turns.enter(None, call.conn.peer()).await;
        }
    }

    /// An RPC, if there is a method of the schema at the path.
    pub(crate) async fn call(
        self: &Arc<Self>,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Response<ResponseBody> {
        let path = parts.uri.path();
        let guess = Wire::guess(parts);
        if let Some(route) = self.routes.rpc(path) {
            let query = parts.uri.query().unwrap_or_default();
            let rpc = match Rpc::of(&parts.method, &parts.headers, query) {
                Ok(rpc) => rpc,
                Err(failure) if failure.http == Some(StatusCode::METHOD_NOT_ALLOWED) => {
                    return call.fail(guess, &wrong_verb(route));
                }
                Err(failure) => return call.fail(guess, &of_no_protocol(failure)),
            };
            if !rpc.fits(route.info.server_streaming) {
                let text = if route.info.server_streaming {
                    "the method streams"
                } else {
                    "the method does not stream"
                };
                let kind = media_type(&parts.headers);
                let failure = Failure::unsupported_media(&kind, dispatch::ACCEPT_POST).because(text);
                // Not in the words of a protocol that was the wrong choice.
                return call.fail(Wire::Rpc(Rpc::PLAIN), &of_no_protocol(failure));
            }
            return match self.rpc(route, rpc, parts, body, call).await {
                Ok(response) => response,
                Err(failure) => call.fail(Wire::Rpc(rpc), &failure),
            };
        }
        let mut failure = Failure::not_found(path);
        if let Wire::Rpc(_) = guess {
            // An RPC client shall learn that the method, not an object, is missing.
            failure.status = Status::unimplemented(failure.status.message);
            failure.http = Some(StatusCode::NOT_FOUND);
        }
        call.fail(guess, &failure)
    }

    /// Connect, gRPC and gRPC-Web.
    async fn rpc(
        self: &Arc<Self>,
        route: &Arc<Route>,
        rpc: Rpc,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Result<Response<ResponseBody>, Failure> {
        call.traced = Level::of(route.info);
        if rpc.is_grpc() && call.version == HttpVersion::H1 {
            return Err(Status::unimplemented("gRPC needs HTTP/2 or HTTP/3").into());
        }
        let timeout = rpc.timeout(&parts.headers);
        self.due(route, timeout.as_ref().ok().copied().flatten(), call);
        let admitted = self.identify(route, parts, call).await?;
        rpc.check(&parts.headers)?;
        let timeout = timeout?;
        let whole = if rpc.by_get() {
            if !route.info.read_only() {
                return Err(wrong_verb(route));
            }
            Bytes::new()
        } else {
            self.collect(route, rpc.framed(), parts, body, call).await?
        };
        let mut dialogue = self.library.call(rpc, parts, whole, self.body_limit(route, call))?;
        let raw = match dialogue.message().await {
            Ok(raw) => raw,
            Err(refusal) => {
                call.code = dispatch::code(&refusal);
                return Ok(refusal);
            }
        };
        let turn = self.turn(call).await?;
        let decode = || match rpc.codec() {
            Codec::Json => json::decode(route.input.clone(), &raw).map_err(Failure::from),
            Codec::Proto => DynamicMessage::decode(route.input.clone(), raw.clone()).map_err(|error| {
                Failure::from(Status::invalid_argument(format!("the request cannot be decoded: {error}")))
            }),
        };
        let message = self.turns.work(turn.as_deref(), decode).await?;
        let wire_bytes = (rpc.codec() == Codec::Proto).then_some(raw);
        let (checked, message) = check(admitted, message, wire_bytes, parts, call)?;
        if let Some(response) = unconditional(parts)? {
            return Ok(response);
        }
        if route.info.server_streaming {
            self.confirm(checked, parts, call).await?;
            let after = resume_after(route, &message);
            let watching = self.watch(route, &message, timeout, after, call).await?;
            let (messages, head) = stream::messages(rpc, watching);
            return Ok(dialogue.stream(messages, head).await);
        }
        // Decoded, a message may take thirty times its bytes: it does not wait for the owner's answer.
        drop(message);
        let room = self.room(route, call)?;
        let reply = self.forward(route, checked, turn.clone(), parts, call).await?;
        let encode = || match rpc.codec() {
            Codec::Proto => Ok(reply),
            Codec::Json => Ok::<_, Failure>(json::encode(&decode_reply(route, reply)?)?),
        };
        let answer = dialogue.reply(self.turns.work(turn.as_deref(), encode).await?).await;
        counted(route, room, answer)
    }

    /// REST.
    pub(crate) async fn rest(
        self: &Arc<Self>,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Response<ResponseBody> {
        match self.binding(parts, body, call).await {
            Ok(response) => response,
            Err(failure) => call.fail(Wire::Rest, &failure),
        }
    }

    async fn binding(
        self: &Arc<Self>,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Result<Response<ResponseBody>, Failure> {
        let verb = if parts.method == Method::HEAD { "GET" } else { parts.method.as_str() };
        let (binding, values) = match self.routes.rest(verb, parts.uri.path()) {
            Rest::Found(binding, values) => (binding, values),
            Rest::WrongVerb(verbs) => return Err(Failure::method_not_allowed(&allow(&verbs))),
            Rest::NotFound => return Err(Failure::not_found(parts.uri.path())),
        };
        let route = &binding.route;
        call.traced = Level::of(route.info);
        self.due(route, None, call);
        let admitted = self.identify(route, parts, call).await?;
        let query = parts.uri.query().unwrap_or_default();
        let mut coding = Coding::Identity;
        let mut whole = if let BodyRule::None = binding.body {
            // A client may send `{}`, or anything, with a GET: it has no meaning (RFC 9110 §9.3.1).
            Bytes::new()
        } else {
            coding = gzip::coding(&parts.headers)?;
            let kind = media_type(&parts.headers);
            // Also without a body: a form on a foreign page can send one of its own types and put the rest in the query.
            if !kind.is_empty() && kind != "application/json" {
                return Err(Failure::unsupported_media(&kind, "application/json"));
            }
            let whole = self.collect(route, false, parts, body, call).await?;
            if !whole.is_empty() && kind.is_empty() {
                return Err(Failure::unsupported_media(&kind, "application/json"));
            }
            whole
        };
        let turn = self.turn(call).await?;
        if coding == Coding::Gzip {
            let limit = self.body_limit(route, call);
            let mut share = call.body.take();
            let unpack = || {
                gzip::unpack(&whole, limit, |more| share.as_mut().map_or(Ok(()), |share| share.grow(more)))
            };
            let unpacked = self.turns.work(turn.as_deref(), unpack).await?;
            (whole, call.body) = (unpacked, share);
        }
        let decode = || rest::message(binding, &values, query, &whole);
        let message = self.turns.work(turn.as_deref(), decode).await?;
        let (checked, message) = check(admitted, message, None, parts, call)?;
        if let Some(response) = unconditional(parts)? {
            return Ok(response);
        }
        if route.info.server_streaming {
            self.confirm(checked, parts, call).await?;
            let after = resume_after(route, &message).or_else(|| last_event_id(route, parts));
            let watching = self.watch(route, &message, None, after, call).await?;
            return Ok(stream::sse(watching));
        }
        drop(message);
        let room = self.room(route, call)?;
        let reply = self.forward(route, checked, turn.clone(), parts, call).await?;
        let encode = || {
            let reply = decode_reply(route, reply)?;
            let answer = match &binding.response_body {
                None => json::encode(&reply)?,
                Some(field) => json::encode_field(&reply, field)?,
            };
            Ok::<_, Failure>(if route.secret || answer.len() < gzip::ANSWER_MIN {
                rest::reply(answer)
            } else {
                gzip::json(answer, &parts.headers, gzip::pack)
            })
        };
        let answer = self.turns.work(turn.as_deref(), encode).await?;
        counted(route, room, answer)
    }

    /// Passes a request on, if its caller may still make it.
    async fn forward(
        &self,
        route: &Route,
        checked: Checked,
        turn: Option<Arc<Turn>>,
        parts: &Parts,
        call: &mut Call,
    ) -> Result<Bytes, Failure> {
        let checked = self.confirm(checked, parts, call).await?;
        // Its bytes are there as long as the request is, so they count as long.
        let held = turn.map(|turn| (turn, call.body.take()));
        Ok(self.hand_over(route.info, checked, call.context(), held).await?)
    }

    /// Hands a request to its owner, and keeps what is held for it until that has answered or the time is over, also when the client has gone:
    /// the owner does not know that. What may have changed by it is asked for again, so that whoever reads the model next finds it there.
    pub(crate) async fn hand_over<H: Send + 'static>(
        &self,
        method: &'static MethodInfo,
        checked: Checked,
        context: CallContext,
        held: Option<H>,
    ) -> Result<Bytes, Status> {
        let (gate, model, memory) = (self.gate.clone(), self.model.clone(), Arc::clone(&self.site.memory));
        let trial = Arc::clone(&self.site.trial);
        let asking = async move {
            if !method.read_only() {
                memory.changes(method.owner);
            }
            let answer = gate.forward(checked, context).await;
            let may_be_done = match &answer {
                Ok(_) => true,
                Err(status) => matches!(status.code, Code::Unavailable | Code::DeadlineExceeded),
            };
            if may_be_done && !method.read_only() {
                model.refresh(method.owner);
                memory.changes(method.owner);
            }
            if method.full_name == CHANGE_NETWORK.info.full_name
                && let Ok(Ok(changed)) =
                    answer.as_ref().map(|bytes| ChangeNetworkResponse::decode(bytes.clone()))
            {
                match changed.trial_ends.and_then(|until| SystemTime::try_from(until).ok()) {
                    // The clock may be set meanwhile: what counts is how long it is from now on.
                    Some(until) => {
                        let lasts = until.duration_since(SystemTime::now()).unwrap_or_default();
                        trial.begin(lasts, Instant::now());
                    }
                    None => trial.end(),
                }
            }
            answer
        };
        // A change goes on in any case: what it makes old is asked for anew.
        if held.is_none() && method.read_only() {
            return asking.await;
        }
        let asked = tokio::spawn(async move {
            let answer = asking.await;
            drop(held);
            answer
        });
        asked.await.unwrap_or_else(|_| Err(Status::unavailable("websrv is shutting down")))
    }

    /// Finds out who the caller is now, if that may have changed since the login: body, turn and others' changes may have been waited for long.
    /// Whether it did change.
    ///
    /// # Errors
    /// As [`Self::login`].
    pub(crate) async fn renew(&self, parts: &Parts, call: &mut Call) -> Result<bool, Failure> {
        let Some(login) = &call.login else { return Ok(false) };
        match self.gate.renewed(login, &call.context()).await {
            Ok(None) => Ok(false),
            Ok(Some(login)) => {
                call.logged_in(login);
                by_door(call)?;
                Ok(true)
            }
            Err(status) => Err(self.turned_away(status, parts, call)),
        }
    }

    /// A request as its caller may make it now.
    ///
    /// # Errors
    /// As [`Self::login`]; `PERMISSION_DENIED` for who may not any more.
    pub(crate) async fn confirm(
        &self,
        checked: Checked,
        parts: &Parts,
        call: &mut Call,
    ) -> Result<Checked, Failure> {
        match (self.renew(parts, call).await?, &call.caller) {
            (true, Some(caller)) => Ok(checked.by(caller)?),
            _ => Ok(checked),
        }
    }

    /// What is said to who is not let in, whose connection is nobody's from now on.
    fn turned_away(&self, status: Status, parts: &Parts, call: &Call) -> Failure {
        if status.code == Code::Unauthenticated {
            call.conn.mark_stranger();
        }
        auth::failure(status, self.config.auth.basic, &parts.headers)
    }

    /// Fixes when the call of a method is over, whatever it waits for: what the client allows, at most what the method takes.
    fn due(&self, route: &Route, timeout: Option<Duration>, call: &mut Call) {
        let most = route.deadline.min(Duration::from_millis(self.config.limits.deadline_ms));
        call.due(Some(timeout.map_or(most, |timeout| timeout.min(most))));
    }

    /// Authenticates, and authorises as far as that needs no body.
    pub(crate) async fn identify(
        &self,
        route: &Route,
        parts: &Parts,
        call: &mut Call,
    ) -> Result<Admitted, Failure> {
        match route.info.privilege {
            // Whoever it is from: nobody is asked.
            Privilege::None => self.enter(call).await,
            _ => self.login(parts, call).await?,
        }
        Ok(gate::authorise(route.info, call.caller.clone())?)
    }

    /// Authenticates; any account will do that is for the door of the call.
    pub(crate) async fn login(&self, parts: &Parts, call: &mut Call) -> Result<(), Failure> {
        let basic = self.config.auth.basic;
        let Some(shown) = credential(&parts.headers, basic)? else {
            return Err(refused(
                "log in first: this needs a session token or HTTP Basic",
                basic,
                &parts.headers,
            ));
        };
        let peer = call.conn.peer();
        let login = match self.gate.login(shown, peer.into(), &call.context()).await {
            Ok(login) => login,
            Err(status) => {
                self.enter(call).await;
                return Err(self.turned_away(status, parts, call));
            }
        };
        if let Some(head) = call.head.take() {
            let bytes = head.settle()?;
            let mut kept = self.bodies.share(Some(login.caller()), peer);
            kept.grow(bytes)?;
            call.kept = Some(kept);
        }
        call.logged_in(login);
        self.confirm_network(call).await;
        call.has_entered = true;
        in_time(call, self.turns.enter(call.caller.as_deref(), peer)).await?;
        by_door(call).map_err(Failure::from)
    }

    /// Who may change the network and has come in at an address that is on trial confirms it: he is not cut off. It takes a connection that was made since: on
    /// one from before, requests still arrive when no answer leaves any more.
    async fn confirm_network(&self, call: &Call) {
        if !self.site.trial.is_on() {
            return;
        }
        let Some(address) = call.conn.reached_at() else { return };
        let method = CONFIRM_NETWORK.info;
        let Ok(admitted) = gate::authorise(method, call.caller.clone()) else { return };
        if !self.site.trial.is_due(call.conn.made(), Instant::now()) {
            return;
        }
        let wire = Bytes::from(ConfirmNetworkRequest { reached_at: address.to_string() }.encode_to_vec());
        let Ok(message) = DynamicMessage::decode(method.input(), wire.clone()) else { return };
        let origin = Origin { peer: call.conn.peer().into(), user_agent: "" };
        let Ok((checked, _)) = admitted.check(message, Some(wire), &origin) else { return };
        let context = call.context().with_timeout(CONFIRM_PATIENCE);
        let answer = self.hand_over(method, checked, context, None::<()>).await;
        let answer = answer.ok().and_then(|bytes| ConfirmNetworkResponse::decode(bytes).ok());
        if answer.is_some_and(|answer| answer.confirmed) {
            self.site.trial.end();
        }
    }

    fn body_limit(&self, route: &Route, call: &Call) -> usize {
        if call.caller.is_some() {
            route.body_bytes
        } else {
            route.body_bytes.min(self.config.limits.unauthenticated_body_bytes)
        }
    }

    async fn collect(
        &self,
        route: &Route,
        framed: bool,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Result<Bytes, Failure> {
        let message = self.body_limit(route, call);
        // Framing adds five bytes, base64 a third; the message itself is checked after it is unpacked.
        let limit = if framed { message / 3 * 4 + 16 } else { message };
        self.collect_up_to(limit, parts, body, call).await
    }

    /// The whole body. Its announced length is checked before a byte is read: only reading sends `100 Continue`.
    pub(crate) async fn collect_up_to(
        &self,
        limit: usize,
        parts: &Parts,
        body: &mut Option<RequestBody>,
        call: &mut Call,
    ) -> Result<Bytes, Failure> {
        let announced =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(Failure::too_large(limit));
        }
        let Some(incoming) = body.as_mut() else { return Ok(Bytes::new()) };
        if incoming.is_end_stream() {
            return Ok(Bytes::new());
        }
        let mut share = self.bodies.share(call.caller.as_deref(), call.conn.peer());
        // HTTP/1.1 sends `100 Continue` by itself, HTTP/3 in `quic`.
        let expects = call.version == HttpVersion::H2 && expects_continue(&parts.headers);
        let patience = self.config.limits.body();
        let patience = call.remaining().map_or(patience, |left| left.min(patience));
        match incoming.read_all(limit, patience, &mut share, expects).await {
            Ok(bytes) => {
                *body = None;
                // RFC 9113 §8.1.1, RFC 9114 §4.1.2.
                if announced.is_some_and(|length| length != bytes.len() as u64) {
                    return Err(
                        Status::invalid_argument("the body is not as long as Content-Length says").into()
                    );
                }
                // A caller's bytes count until the answer; a stranger's place is for what is still arriving.
                call.body = call.caller.is_some().then_some(share);
                Ok(bytes)
            }
            Err(CollectError::NoRoom(status)) => {
                // Not read to its end either: that would hold the same memory.
                *body = None;
                Err(status.into())
            }
            Err(CollectError::TooLarge(limit)) => Err(Failure::too_large(limit)),
            Err(error @ CollectError::NoContinue) => {
                *body = None;
                Err(Failure::from(Status::failed_precondition(error.to_string()))
                    .http(StatusCode::EXPECTATION_FAILED))
            }
            Err(error @ CollectError::TooSlow(_)) => {
                Err(Failure::from(Status::deadline_exceeded(error.to_string()))
                    .http(StatusCode::REQUEST_TIMEOUT))
            }
            // RFC 9112 §7.1: what cannot be framed is the client's mistake, not its departure.
            Err(CollectError::Broken(error)) if error.is_malformed() => {
                *body = None;
                Err(Status::invalid_argument("the chunks of the request body are malformed").into())
            }
            Err(CollectError::Broken(_)) => {
                *body = None;
                Err(Status::cancelled("the request body broke off").into())
            }
        }
    }

    /// The caller's turn, waited for as long as its call may take. With it the request is not given up for another any more.
    pub(crate) async fn turn(&self, call: &mut Call) -> Result<Option<Arc<Turn>>, Failure> {
        let turn = in_time(call, self.turns.take(call.caller.as_deref(), call.conn.peer())).await?;
        if let Some(head) = call.head.take() {
            head.settle()?;
        }
        Ok(turn.map(Arc::new))
    }

    /// Room for the answer, which the client may not take for as long as `write_ms`. Whoever has none left is told so before anything
    /// is done. Nobody's answers are small.
    fn room(&self, route: &Route, call: &Call) -> Result<Option<Share>, Failure> {
        let Some(caller) = call.caller.as_deref() else { return Ok(None) };
        let mut share = self.bodies.share(Some(caller), call.conn.peer());
        if !route.info.read_only() {
            share.grow(ANSWER)?;
        }
        Ok(Some(share))
    }

    /// Opens a stream: after the number of the last event the client has, or from now on.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        route: &Arc<Route>,
        message: &DynamicMessage,
        timeout: Option<Duration>,
        after: Option<u64>,
        call: &Call,
    ) -> Result<Watching, Failure> {
        let subject = route
            .stream
            .as_ref()
            .and_then(|subject| subject.fill(message))
            .ok_or_else(|| Status::invalid_argument("a filter holds characters no event can have"))?;
        // The method's own deadline is for what answers at once.
        let deadline = timeout.and_then(|timeout| call.arrived.checked_add(timeout));
        let access = self.access(call)?;
        let caller = access.login.caller();
        let (account, administrator) = (caller.account().to_owned(), caller.administrator());
        if let Some(snapshot) = route.info.snapshot {
            let context = access.context.clone();
            let guard = self.guard(Some(route.info), access, deadline)?;
            let snapshot = self.readings.open(subject.join("."), snapshot, context).await?;
            return Ok(Watching::new(Arc::clone(route), guard, Source::Snapshot(snapshot)));
        }
        let guard = self.guard(Some(route.info), access, deadline)?;
        let events = self.feed.open(subject, after, &account, administrator).await;
        Ok(Watching::new(Arc::clone(route), guard, Source::Log(events)))
    }

    /// A place for a stream, and its guard.
    ///
    /// # Errors
    /// As [`Places::take`].
    pub(crate) fn guard(
        &self,
        method: Option<&'static MethodInfo>,
        access: Access,
        deadline: Option<Instant>,
    ) -> Result<Guard, Status> {
        Guard::new(&self.gate, &self.places, self.config.limits.heartbeat(), method, access, deadline)
    }

    /// Whose stream it will be.
    ///
    /// # Errors
    /// `INTERNAL` when nobody is logged in: a stream of a stranger would be bounded by nothing.
    pub(crate) fn access(&self, call: &Call) -> Result<Access, Status> {
        let login = call.login.clone().ok_or_else(|| Status::internal("a stream needs a login"))?;
        // It asks again for as long as the stream lives, not as long as it may take to open.
        let context = CallContext { deadline: None, ..call.context() };
        Ok(Access { login, conn: Arc::clone(&call.conn), door: call.door, context })
    }

    fn options(&self, path: &str) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let verbs = if let Some(route) = self.routes.rpc(path) {
            rpc_verbs(route).to_owned()
        } else if let Some(verbs) = extended::allow(path) {
            verbs
        } else {
            match self.routes.rest("OPTIONS", path) {
                Rest::WrongVerb(verbs) => format!("{}, OPTIONS", allow(&verbs)),
                _ if path == ui_cookie::PATH => format!("{}, OPTIONS", ui_cookie::VERBS),
                _ => "GET, HEAD, OPTIONS".to_owned(),
            }
        };
        if let Ok(value) = header::HeaderValue::from_str(&verbs) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        if extended::is_at(path) {
            response.headers_mut().insert(extended::ODATA_VERSION, header::HeaderValue::from_static("4.0"));
        }
        response
    }
}

/// Whether the account of a call is for the door it came in by.
fn by_door(call: &Call) -> Result<(), Status> {
    match (call.door, call.caller.as_deref()) {
        (Some(door), Some(caller)) => gate::enter(door, caller),
        _ => Ok(()),
    }
}

/// Whether who asks at this path may be asked who he is; everything else is open.
fn may_log_in(path: &str) -> bool {
    let roots = ["/api/", "/redfish/", "/schema.", "/grpc."];
    path == ui_cookie::PATH
        || roots.iter().any(|root| path.starts_with(root)) && path != "/api/v1alpha1/openapi.json"
}

/// Whether it says who it is from: whether it is will be seen.
pub(crate) fn shows_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(crate::auth::X_AUTH_TOKEN)
}

pub(crate) async fn in_time<T>(call: &Call, turn: impl Future<Output = T>) -> Result<T, Failure> {
    let Some(deadline) = call.deadline else { return Ok(turn.await) };
    tokio::time::timeout_at(deadline, turn)
        .await
        .map_err(|_| Status::deadline_exceeded("other requests were not answered in time").into())
}

/// What the connection says about the request, the second half of authorisation, and validation.
pub(crate) fn check(
    admitted: Admitted,
    message: DynamicMessage,
    wire_bytes: Option<Bytes>,
    parts: &Parts,
    call: &Call,
) -> Result<(Checked, DynamicMessage), Failure> {
    let user_agent =
        parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let origin = Origin { peer: call.conn.peer().into(), user_agent };
    Ok(admitted.check(message, wire_bytes, &origin)?)
}

/// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1; the value is compared without regard to case).
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    let is_it = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
    headers.get_all(header::EXPECT).iter().any(|value| value.as_bytes().split(|b| *b == b',').any(is_it))
}

/// The number of the last message the client has, if the request says it.
fn resume_after(route: &Route, message: &DynamicMessage) -> Option<u64> {
    let (field, _) = route.resume.as_ref()?;
    if message.has_field(field) { message.get_field(field).as_u64() } else { None }
}

/// Where a browser that reconnects by itself says it was. What is no number of ours is from elsewhere, as one the log has not reached.
pub(crate) fn last_event_id(route: &Route, parts: &Parts) -> Option<u64> {
    route.resume.as_ref()?;
    let id = parts.headers.get("last-event-id").filter(|id| !id.is_empty())?;
    Some(id.to_str().ok().and_then(|id| id.parse().ok()).unwrap_or(u64::MAX))
}

/// Looks at the client's conditions, last of all before something is done; an answer if there is nothing to tell.
fn unconditional(parts: &Parts) -> Result<Option<Response<ResponseBody>>, Failure> {
    match request::conditions(parts) {
        Ok(()) => Ok(None),
        Err(StatusCode::NOT_MODIFIED) => {
            let mut response = Response::new(ResponseBody::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            Ok(Some(response))
        }
        Err(status) => {
            let text = "nothing here has an entity tag that could match";
            Err(Failure::from(Status::failed_precondition(text)).http(status))
        }
    }
}

/// The answer, with its bytes counted until the client has them. One that only reads is refused when they are too many; what was done
/// is told in any case.
fn counted(
    route: &Route,
    room: Option<Share>,
    answer: Response<ResponseBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let Some(mut share) = room else { return Ok(answer) };
    if route.info.read_only() {
        share.grow(answer.body().kept())?;
    } else {
        share.settle(answer.body().kept());
    }
    Ok(answer.map(|body| body.counted(share)))
}

fn decode_reply(route: &Route, reply: Bytes) -> Result<DynamicMessage, Failure> {
    DynamicMessage::decode(route.output.clone(), reply).map_err(|error| {
        let text = format!(
            "{} answered {} with bytes that are no answer: {error}",
            route.info.owner, route.info.method
        );
        Failure::from(Status::internal(text))
    })
}

/// A refusal of what is no call at all: RPC clients know it by its HTTP status alone, which stands for "unknown".
fn of_no_protocol(mut failure: Failure) -> Failure {
    failure.status.code = Code::Unknown;
    failure
}

fn wrong_verb(route: &Route) -> Failure {
    of_no_protocol(Failure::method_not_allowed(rpc_verbs(route)))
}

/// What the path of an RPC takes. Connect calls by GET what only reads.
fn rpc_verbs(route: &Route) -> &'static str {
    let by_get = route.info.read_only() && !route.info.server_streaming;
    if by_get { "GET, HEAD, OPTIONS, POST" } else { "OPTIONS, POST" }
}

fn allow(verbs: &[&str]) -> String {
    let mut all: Vec<&str> = verbs.to_vec();
    if all.contains(&"GET") {
        all.push("HEAD");
    }
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}
