//! A WebSocket to the BMC.

use http::Request;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{AGENT, Client};
use crate::failure::Failure;

/// A message larger than this is not one of ours.
const MESSAGE_MAX: usize = 64 * 1024;

/// An open one.
pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

impl Client {
    /// Opens one at a path, with its query.
    pub(crate) async fn socket(&self, path: &str) -> Result<Socket, Failure> {
        let attempt = async {
            let stream = Box::pin(self.connect(&self.h1)).await?;
            let authority = self.endpoint.authority();
            let mut request = Request::get(format!("wss://{authority}{path}"))
                .header(HOST, authority)
                .header(USER_AGENT, AGENT)
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "websocket")
                .header(SEC_WEBSOCKET_VERSION, "13")
                .header(SEC_WEBSOCKET_KEY, generate_key());
            if let Some(credential) = self.credential() {
                request = request.header(AUTHORIZATION, credential);
            }
            let request = request.body(());
            let request = request.map_err(|error| Failure::Usage(format!("`{path}` is no path: {error}")))?;
            let mut config = WebSocketConfig::default();
            config.max_message_size = Some(MESSAGE_MAX);
            config.max_frame_size = Some(MESSAGE_MAX);
            match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
                Ok((socket, _)) => Ok(socket),
                Err(Error::Http(response)) => {
                    let body = response.body().as_deref().unwrap_or_default();
                    Err(super::status::of_rest(response.status(), body))
                }
                Err(error) => Err(self.unreachable(error)),
            }
        };
        Box::pin(self.in_time(attempt)).await
    }
}
