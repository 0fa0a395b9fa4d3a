//! The loop: calls in, answers from the book or by way of the keeper.

use std::sync::{Arc, Mutex, PoisonError};

use hw::SysRoot;
use ipc::{Outbox, Reply, Status};
use schema::server::AssetServiceCall;
use schema::v1alpha1 as v1;
use service::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::keeper::{self, Keeper};
use crate::store::Store;
use crate::{Config, Error, wire};

/// Changes that may wait for a bus that takes its time.
const WAITING: usize = 8;

/// A change that is asked for.
type Set = (v1::SetAssetInfoRequest, Reply<v1::SetAssetInfoResponse>);

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config {} = context.config()?;
    let board = context.board()?;
    let store = Store::open(&context.bus).await?;
    let book = Arc::new(Mutex::new(store.book().await?));
    let root = SysRoot::of(&board, &context.run_dir);
    let (outbox, _sender) = Outbox::new(context.bus.clone());
    let keeper = Keeper::new(board, Arc::clone(&book), store, root, outbox.clone(), context.clock);
    let mut calls = context.bus.calls().await.map_err(Error::Serve)?;
    let (sets, queue) = mpsc::channel(WAITING);
    // Dropped with the loop, and ends with it.
    let mut keeping = JoinSet::new();
    keeping.spawn(keep(keeper, queue));
    let (mut shutdown, mut heartbeat) = (context.shutdown.clone(), context.heartbeat());
    context.ready();
    loop {
        let call = tokio::select! {
            biased;
            () = shutdown.wait() => return Ok(()),
            () = heartbeat.tick() => continue,
            call = calls.next() => call,
        };
        let book = book.lock().unwrap_or_else(PoisonError::into_inner);
        match call {
            None => return Ok(()),
            Some(AssetServiceCall::ListAssets(wanted, reply)) => {
                let is_wanted = |asset: &v1::Asset| {
                    (wanted.r#type == 0 || asset.r#type == wanted.r#type)
                        && (wanted.host_name.is_empty() || asset.host_name == wanted.host_name)
                };
                let assets =
                    book.entries().map(|entry| wire::asset(&book, entry)).filter(is_wanted).collect();
                outbox.answer(reply, Ok(v1::ListAssetsResponse { assets }));
            }
            Some(AssetServiceCall::GetAssetInfo(wanted, reply)) => {
                let known = || book.entries().map(|entry| entry.part.id.as_str());
                let entry =
                    book.entry(&wanted.id).ok_or_else(|| Status::no_such("asset", &wanted.id, known()));
                let asset = entry.map(|entry| wire::asset(&book, entry));
                outbox.answer(reply, asset.map(|asset| v1::GetAssetInfoResponse { asset: Some(asset) }));
            }
            Some(AssetServiceCall::ListAssetChanges(wanted, reply)) => {
                let of = |change: &&crate::book::Change| wanted.id.is_empty() || change.id == wanted.id;
                let changes = book.changes().rev().filter(of).map(wire::change).collect();
                outbox.answer(reply, Ok(v1::ListAssetChangesResponse { changes }));
            }
            Some(AssetServiceCall::SetAssetInfo(wanted, reply)) => {
                if let Err(full) = sets.try_send((wanted, reply)) {
                    let (mpsc::error::TrySendError::Full((_, reply))
                    | mpsc::error::TrySendError::Closed((_, reply))) = full;
                    let status =
                        Status::resource_exhausted("too many changes of assets wait; ask again later");
                    outbox.answer(reply, Err(status.with_reason("TOO_MANY_CHANGES")));
                }
            }
        }
    }
}

async fn keep(mut keeper: Keeper, mut queue: mpsc::Receiver<Set>) {
    keeper.begin().await;
    let mut look = tokio::time::interval(keeper::LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            set = queue.recv() => {
                let Some((wanted, reply)) = set else { return };
                let answer = keeper.set(wanted, reply.context()).await;
                reply.send(answer.map(|asset| v1::SetAssetInfoResponse { asset: Some(asset) })).await;
            }
            _ = look.tick() => keeper.look().await,
        }
    }
}
