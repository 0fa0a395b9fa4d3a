//! The loop: calls in, answers from the inventory or by way of the collector.

use std::sync::{Arc, Mutex, PoisonError};

use hw::SysRoot;
use ipc::{Outbox, Reply, Status};
use schema::server::AssetServiceCall;
use schema::v1alpha1 as v1;
use service::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::collector::{self, Collector, Setup};
use crate::hosts::{self, Said};
use crate::store::Store;
use crate::{Config, Error, wire};

/// Changes that are under way at once, and as many again that wait for a place.
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
    let inventory = Arc::new(Mutex::new(store.inventory().await?));
    let root = SysRoot::of(&board, &context.run_dir);
    let (outbox, sender) = Outbox::new(context.bus.clone());
    let is_powered =
        board.frus.iter().map(|fru| &fru.host).chain(board.drives.iter().map(|drive| &drive.host));
    let is_powered = is_powered.flatten().next().is_some();
    let collector = Collector::new(Setup {
        board,
        inventory: Arc::clone(&inventory),
        store,
        root,
        outbox: outbox.clone(),
        clock: context.clock,
    });
    let mut calls = context.bus.calls().await?;
    let (sets, queue) = mpsc::channel(WAITING);
    let mut collecting = JoinSet::new();
    let (tell, said) = mpsc::channel(1);
    if is_powered {
        collecting.spawn(hosts::watch(context.bus.clone(), tell));
    }
    collecting.spawn(collect(collector, queue, said));
    let (mut shutdown, mut heartbeat) = (context.shutdown.clone(), context.heartbeat());
    context.ready();
    loop {
        let call = tokio::select! {
            biased;
            () = shutdown.wait() => break,
            () = heartbeat.tick() => continue,
            call = calls.next() => call,
        };
        let inventory = inventory.lock().unwrap_or_else(PoisonError::into_inner);
        match call {
            None => break,
            Some(AssetServiceCall::ListAssets(wanted, reply)) => {
                let is_wanted = |asset: &v1::Asset| {
                    (wanted.r#type == 0 || asset.r#type == wanted.r#type)
                        && (wanted.host_name.is_empty() || asset.host_name == wanted.host_name)
                };
                let assets = inventory
                    .entries()
                    .map(|entry| wire::asset(&inventory, entry))
                    .filter(is_wanted)
                    .collect();
                outbox.answer(reply, Ok(v1::ListAssetsResponse { assets }));
            }
            Some(AssetServiceCall::GetAssetInfo(wanted, reply)) => {
                let known = || inventory.entries().map(|entry| entry.part.id.as_str());
                let entry =
                    inventory.entry(&wanted.id).ok_or_else(|| Status::no_such("asset", &wanted.id, known()));
                let asset = entry.map(|entry| wire::asset(&inventory, entry));
                outbox.answer(reply, asset.map(|asset| v1::GetAssetInfoResponse { asset: Some(asset) }));
            }
            Some(AssetServiceCall::ListAssetChanges(wanted, reply)) => {
                let of = |change: &&crate::inventory::Change| wanted.id.is_empty() || change.id == wanted.id;
                let changes = inventory.changes().rev().filter(of).map(wire::change).collect();
                outbox.answer(reply, Ok(v1::ListAssetChangesResponse { changes }));
            }
            Some(AssetServiceCall::SetAssetInfo(wanted, reply)) => {
                if let Err(full) = sets.try_send((wanted, reply)) {
                    let (mpsc::error::TrySendError::Full((_, reply))
                    | mpsc::error::TrySendError::Closed((_, reply))) = full;
                    outbox.answer(reply, Err(service::too_many_calls("changes of assets")));
                }
            }
        }
    }
    collecting.shutdown().await;
    drop(outbox);
    let _ = sender.await;
    Ok(())
}

async fn collect(mut collector: Collector, mut queue: mpsc::Receiver<Set>, mut hosts: mpsc::Receiver<Said>) {
    collector.begin();
    let mut sets = JoinSet::new();
    let mut scan = tokio::time::interval(collector::SCAN_EVERY);
    scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(done) = sets.join_next() => {
                if let Err(error) = done {
                    tracing::error!(%error, "background task failed");
                }
            }
            set = queue.recv(), if sets.len() < WAITING => {
                let Some((wanted, reply)) = set else { return };
                let core = collector.core();
                sets.spawn(async move {
                    let answer = core.set(wanted, reply.context()).await;
                    reply.send(answer.map(|asset| v1::SetAssetInfoResponse { asset: Some(asset) })).await;
                });
            }
            Some(said) = hosts.recv() => collector.hear(said),
            Some((item, answer)) = collector.next() => collector.take(item, answer),
            _ = scan.tick() => collector.scan().await,
        }
    }
}
