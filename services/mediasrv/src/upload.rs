//! A file that a client serves, copied into the store.

use std::os::unix::fs::FileExt as _;

use media::FETCH_MAX;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::origin::Question;
use crate::store::Store;

/// Pieces on their way at a time.
const PIECES_MAX: usize = 6;

/// Copies it. What was copied of a file that did not come whole goes.
///
/// # Errors
/// Why it is not in the store, for people.
pub(crate) async fn copy(
    store: &Store,
    name: &str,
    size: u64,
    questions: mpsc::Sender<Question>,
) -> Result<(), String> {
    let lost = |error: tokio::task::JoinError| format!("cannot write into the store: {error}");
    let (place, called) = (store.clone(), name.to_owned());
    let part = tokio::task::spawn_blocking(move || place.begin(&called, size)).await.map_err(lost)??;
    let mut pieces: JoinSet<Result<(), String>> = JoinSet::new();
    let mut at = 0;
    while at < size || !pieces.is_empty() {
        while at < size && pieces.len() < PIECES_MAX {
            let length = u32::try_from((size - at).min(FETCH_MAX.into())).unwrap_or(FETCH_MAX);
            let (questions, file, offset) = (questions.clone(), part.file(), at);
            pieces.spawn(async move {
                let (answer, answered) = oneshot::channel();
                let gone = || "the session ended".to_owned();
                questions.send(Question { offset, length, answer }).await.map_err(|_| gone())?;
                let bytes = answered.await.map_err(|_| gone())??;
                let write = move || file.write_all_at(&bytes, offset);
                let written = tokio::task::spawn_blocking(write).await.map_err(lost)?;
                written.map_err(|error| format!("cannot write into the store: {error}"))
            });
            at += u64::from(length);
        }
        if let Some(piece) = pieces.join_next().await {
            piece.map_err(lost)??;
        }
    }
    let finished = tokio::task::spawn_blocking(move || part.finish()).await.map_err(lost)?;
    finished.map_err(|error| format!("cannot write into the store: {error}"))
}
