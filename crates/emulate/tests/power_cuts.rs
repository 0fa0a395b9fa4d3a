//! Power taken from the BMC at any moment, in numbers, and a slot that rotted: what was acknowledged is there (I-4), and something boots.

mod common;

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::cuts::{Ledger, console, nothing_is_made_anew, rot};
use common::{image, step};
use emulate::Bmc;
use testkit::Client;

const BOARD: &str = "aspeed/ast2600-evb";
/// Rounds, unless `UBMC_TEST_POWER_CUTS` says another number.
const ROUNDS: u32 = 20;
/// How long a start may take before the power goes again, in milliseconds: about as long as it takes until the API answers.
const STARTING: u64 = 15_000;

/// A small generator of numbers (SplitMix64): the moments differ from round to round and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_cuts_and_a_rotten_slot() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_EVB") else { return Ok(()) };
    let rounds = std::env::var("UBMC_TEST_POWER_CUTS").map_or(Ok(ROUNDS), |text| text.parse())?;
    let mut bmc = Bmc::builder(&folder, BOARD).start().await?;
    let mut admin = bmc.first_login().await?;
    // Once: the cuts after that leave no boot the time to be confirmed, and something must boot all the same.
    bmc.confirmed().await?;
    let mut ledger = Ledger::default();
    let mut numbers = Numbers(0x0075_626d);
    for round in 0..rounds {
        admin = cut(&mut bmc, &admin, &mut ledger, &mut numbers, round)
            .await
            .with_context(|| format!("round {round}, {}", console(&bmc)))?;
    }
    rot(&mut bmc, &mut ledger).await.context("with a rotten slot")
}

/// The power goes while it writes, in every third round again while it starts; then all must be there.
async fn cut(
    bmc: &mut Bmc,
    admin: &Client,
    ledger: &mut Ledger,
    numbers: &mut Numbers,
    round: u32,
) -> Result<Client> {
    // The first acknowledgement comes within some 50 ms; then the cut may hit any moment of the writing.
    let moment = Duration::from_millis(50 + numbers.below(1_500));
    let before = ledger.acknowledged;
    tokio::select! {
        written = ledger.write(admin, round) => written.context("before the power went")?,
        () = tokio::time::sleep(moment) => {}
    }
    bmc.cut().await?;
    step(&format!("round {round}: cut after {moment:?}, {} changes", ledger.acknowledged - before));
    if round % 3 == 2 {
        bmc.boot().await?;
        let moment = Duration::from_millis(numbers.below(STARTING));
        tokio::time::sleep(moment).await;
        nothing_is_made_anew(bmc)?;
        bmc.cut().await?;
        step(&format!("round {round}: cut again {moment:?} after the power came"));
    }
    bmc.boot().await?;
    let admin = bmc.ready().await?;
    ledger.check(&admin).await?;
    nothing_is_made_anew(bmc)?;
    Ok(admin)
}
