//! Who is signed in to the pages of the Web UI (`docs/adr/0015-web-session.md`).
//!
//! The token of their session is in a cookie that no script can read. It counts for requests that carry [`ui_cookie::MARK`], which a page of another origin
//! cannot send, and for them it is a token like any other: from here on nobody knows that it came in a cookie. Logins of everybody else, by RPC, REST or
//! Redfish, neither get one nor are read from one.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use ipc::{Code, Status};
use schema::v1alpha1::{AccountType, Privilege};
use serde_json::{Value, json};

use crate::auth::X_AUTH_TOKEN;
use crate::body::{RequestBody, ResponseBody};
use crate::call::Call;
use crate::dispatch::Wire;
use crate::gateway::{API, Gateway};
use crate::rest;
use crate::status::Failure;
use crate::ui_cookie;

/// Answers to the resource [`ui_cookie::PATH`].
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    mut parts: Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Response<ResponseBody> {
    let answer = match parts.method {
        Method::GET | Method::HEAD => who(gateway, &parts, call).await,
        Method::POST => sign_in(gateway, &mut parts, body, call).await,
        Method::DELETE => sign_out(gateway, &mut parts, body, call).await,
        _ => Err(Failure::method_not_allowed(ui_cookie::VERBS)),
    };
    answer.unwrap_or_else(|failure| call.fail(Wire::Rest, &failure))
}

/// Whoever it is; nobody is an answer, too.
async fn who(gateway: &Gateway, parts: &Parts, call: &mut Call) -> Result<Response<ResponseBody>, Failure> {
    if !parts.headers.contains_key(X_AUTH_TOKEN) {
        return Ok(reply(&json!({})));
    }
    match gateway.login(parts, call).await {
        Ok(()) => {}
        Err(failure) if failure.status.code == Code::Unauthenticated => {
            return with_cookie(reply(&json!({})), &forget(parts));
        }
        Err(failure) => return Err(failure),
    }
    let caller = call.caller.as_deref().ok_or_else(|| Status::internal("a login without a caller"))?;
    let principal = &caller.principal;
    let privileges: Vec<&str> = principal
        .privileges
        .iter()
        .filter_map(|number| Privilege::try_from(*number).ok())
        .map(|privilege| privilege.as_str_name())
        .collect();
    let account_types: Vec<&str> = gate::account_types(caller.types)
        .into_iter()
        .filter_map(|number| AccountType::try_from(number).ok())
        .map(|kind| kind.as_str_name())
        .collect();
    Ok(reply(&json!({ "principal": {
        "username": principal.username,
        "userId": principal.user_id,
        "role": principal.role,
        "privileges": privileges,
        "accountTypes": account_types,
        "sessionId": principal.session_id,
        "passwordChangeRequired": caller.password_change_required,
    } })))
}

/// As `POST /sessions`, but that the account has to be for the Web UI, and that the token goes into the cookie and not to the script.
async fn sign_in(
    gateway: &Arc<Gateway>,
    parts: &mut Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Result<Response<ResponseBody>, Failure> {
    only_of_our_pages(parts)?;
    parts.headers.remove(X_AUTH_TOKEN);
    let name = ui_cookie::name(parts);
    // What the body says of it does not count.
    parts.uri = target(format!("{API}/sessions?account_type=ACCOUNT_TYPE_WEB_UI"))?;
    let answer = gateway.rest(parts, body, call).await;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let whole =
        answer.into_body().collect().await.map_err(|_| Status::internal("the answer broke off"))?.to_bytes();
    let mut answer: Value =
        serde_json::from_slice(&whole).map_err(|_| Status::internal("the answer is not JSON"))?;
    let token = answer.as_object_mut().and_then(|answer| answer.remove("token"));
    let Some(Value::String(token)) = token else {
        return Err(Status::internal("the answer has no token").into());
    };
    with_cookie(reply(&answer), &format!("{name}={token}; {}", ui_cookie::ATTRIBUTES))
}

/// Ends the session, and the cookie in any case.
async fn sign_out(
    gateway: &Arc<Gateway>,
    parts: &mut Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Result<Response<ResponseBody>, Failure> {
    only_of_our_pages(parts)?;
    let forget = forget(parts);
    if !parts.headers.contains_key(X_AUTH_TOKEN) {
        return with_cookie(reply(&json!({})), &forget);
    }
    match gateway.login(parts, call).await {
        Ok(()) => {}
        Err(failure) if failure.status.code == Code::Unauthenticated => {
            return with_cookie(reply(&json!({})), &forget);
        }
        Err(failure) => return with_cookie(call.fail(Wire::Rest, &failure), &forget),
    }
    let id = call.caller.as_deref().map(|caller| caller.principal.session_id.clone()).unwrap_or_default();
    if id.is_empty() {
        return with_cookie(reply(&json!({})), &forget);
    }
    parts.uri = target(format!("{API}/sessions/{id}"))?;
    let answer = gateway.rest(parts, body, call).await;
    with_cookie(answer, &forget)
}

/// Signing somebody in or out is a write as any other: a foreign page must not.
fn only_of_our_pages(parts: &Parts) -> Result<(), Failure> {
    if ui_cookie::is_of_our_pages(&parts.headers) {
        return Ok(());
    }
    Err(Status::permission_denied(
        "this is for the pages of the BMC itself; POST /api/v1alpha1/sessions gives a token",
    )
    .with_reason("CROSS_ORIGIN")
    .into())
}

fn forget(parts: &Parts) -> String {
    format!("{}=; {}; Max-Age=0", ui_cookie::name(parts), ui_cookie::ATTRIBUTES)
}

fn target(path: String) -> Result<Uri, Status> {
    path.parse().map_err(|_| Status::internal("a path that is none"))
}

fn reply(value: &Value) -> Response<ResponseBody> {
    rest::reply(value.to_string().into())
}

fn with_cookie(
    mut response: Response<ResponseBody>,
    cookie: &str,
) -> Result<Response<ResponseBody>, Failure> {
    let mut value = HeaderValue::from_str(cookie).map_err(|_| Status::internal("a cookie that is none"))?;
    value.set_sensitive(true);
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}
