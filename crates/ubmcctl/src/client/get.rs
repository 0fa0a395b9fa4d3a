//! What is at a path, over HTTP/1.1: for what is no method of the contract.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, DATE, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};

use super::{AGENT, Client, MAX_REPLY};
use crate::failure::Failure;

impl Client {
    /// Asks for a path, with its query; the status and body of the answer, whatever they are.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        let attempt = async |credential: Option<HeaderValue>| {
            let mut sender = Box::pin(self.connected_h1()).await?;
            let mut request = Request::get(path)
                .header(HOST, self.endpoint.authority())
                .header(USER_AGENT, AGENT)
                .header(ACCEPT, "application/json, */*");
            if let Some(credential) = credential {
                request = request.header(AUTHORIZATION, credential);
            }
            let request = request.body(Full::new(Bytes::new()));
            let request = request.map_err(|error| Failure::Usage(format!("`{path}` is no path: {error}")))?;
            let response = sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
            let (parts, body) = response.into_parts();
            if let Some(date) = parts.headers.get(DATE).and_then(|date| date.to_str().ok()) {
                crate::text::server_says(date);
            }
            let body = Limited::new(body, MAX_REPLY).collect().await;
            Ok((parts.status, body.map_err(|error| self.unreachable(error))?.to_bytes()))
        };
        self.in_time(attempt(self.credential())).await
    }
}
