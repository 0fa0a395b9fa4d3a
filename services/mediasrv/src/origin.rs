//! Where the bytes of a medium come from.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use media::{FETCH_MAX, Failure};
use tokio::sync::{mpsc, oneshot};

use crate::http::HttpImage;

/// How long a client may take for what it is asked: less than a host waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// A question to a client that serves a file.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) offset: u64,
    /// At most [`FETCH_MAX`].
    pub(crate) length: u32,
    pub(crate) answer: oneshot::Sender<Result<Vec<u8>, String>>,
}

/// A client that serves a file. It is told that it is of no more use by the end of these.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) session: u64,
    pub(crate) questions: mpsc::Sender<Question>,
}

/// Where the bytes of a medium come from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A server.
    Http(Arc<HttpImage>),
    /// A client.
    Client(Client),
    /// A client that has gone, or has not come back.
    Nobody,
    /// A file in the store.
    File(Arc<File>),
}

impl Origin {
    /// Bytes from here.
    pub(crate) async fn fetch(&self, offset: u64, length: u32) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Http(image) => image.fetch(offset, length).await,
            Self::Client(client) => {
                let failed = |why: String| Failure { why, is_final: false };
                let (answer, answered) = oneshot::channel();
                let question = Question { offset, length: length.min(FETCH_MAX), answer };
                let asking = async {
                    client.questions.send(question).await.ok()?;
                    answered.await.ok()
                };
                match tokio::time::timeout(ANSWER_WITHIN, asking).await {
                    Ok(Some(result)) => result.map_err(failed),
                    Ok(None) => Err(failed("the session that served it has ended".to_owned())),
                    Err(_) => Err(failed(format!(
                        "who serves it did not answer within {} s",
                        ANSWER_WITHIN.as_secs()
                    ))),
                }
            }
            Self::Nobody | Self::File(_) => {
                Err(Failure { why: "nobody serves it".to_owned(), is_final: true })
            }
        }
    }
}
