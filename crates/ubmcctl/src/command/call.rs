//! Any method of the contract, from the descriptors alone.

use std::io::Read as _;

use prost::Message as _;
use prost_reflect::DynamicMessage;
use schema::Idempotency;

use super::Session;
use crate::cli::Call;
use crate::failure::Failure;
use crate::output::Output;

/// Longest request read from standard input.
const MAX_REQUEST: u64 = 1 << 20;

pub(crate) async fn run(session: Session, call: Call, output: Output) -> Result<(), Failure> {
    let name = call.method.replace('/', ".");
    let method = schema::methods()
        .iter()
        .find(|method| {
            !method.internal && (method.full_name == name || method.full_name.ends_with(&format!(".{name}")))
        })
        .ok_or_else(|| {
            Failure::Usage(format!("there is no method `{}`; docs/reference.md lists them", call.method))
        })?;
    if method.server_streaming {
        return Err(Failure::Usage(format!("{} is a stream:  ubmcctl event watch", method.method)));
    }
    let text = if call.request == "-" {
        // A pipe nobody writes to must not keep Ctrl-C from ending us.
        let read = tokio::task::spawn_blocking(|| {
            let mut text = String::new();
            std::io::stdin().lock().take(MAX_REQUEST + 1).read_to_string(&mut text).map(|_| text)
        });
        let read = read.await.map_err(|error| Failure::Local(format!("standard input: {error}")))?;
        let text = read.map_err(|error| Failure::Usage(format!("standard input: {error}")))?;
        if text.len() as u64 > MAX_REQUEST {
            return Err(Failure::Usage("the request is larger than 1 MiB".into()));
        }
        text
    } else {
        call.request
    };
    let mut json = serde_json::Deserializer::from_str(&text);
    let request = DynamicMessage::deserialize(method.input(), &mut json)
        .and_then(|request| json.end().map(|()| request))
        .map_err(|error| Failure::Usage(format!("{} is not understood: {error}", method.input().name())))?;
    let client = match method.idempotency {
        Idempotency::NoSideEffects => session.client().await?,
        _ => session.changing().await?,
    };
    let reply = client.raw(method, request.encode_to_vec().into()).await?;
    let reply = DynamicMessage::decode(method.output(), reply)
        .map_err(|error| Failure::Local(format!("{}: answer not understood: {error}", method.method)))?;
    let reply = serde_json::to_value(&reply)
        .map_err(|error| Failure::Local(format!("the answer has no JSON form: {error}")))?;
    let shown = output.value(&reply);
    match method.idempotency {
        Idempotency::NoSideEffects => shown,
        // It may hold the only copy of a password or a token.
        _ => shown.map_err(|failure| {
            failure.after(&format!("{} WAS done and its answer could not be shown", method.method))
        }),
    }
}
