//! Boots that `cargo xtask test --long` has beside those of CI: each storage by itself.

mod common;

use anyhow::{Result, ensure};
use common::{becomes, describe, image, reset_bmc, step};
use emulate::Bmc;

const BOARD: &str = "aspeed/ast2600-evb";

#[tokio::test]
async fn a_stopped_operator_is_bitten_on_emmc_too() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_EVB_DEBUG") else { return Ok(()) };
    common::stopped::scenario(&folder, BOARD, "ubmc.storage=emmc").await
}

#[tokio::test]
async fn an_image_on_nor_boots_and_answers() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_EVB") else { return Ok(()) };
    let bmc = Bmc::builder(&folder, BOARD).append("ubmc.storage=nor").start().await?;
    let admin = bmc.first_login().await?;
    becomes(&admin, "HOST_STATUS_OFF").await?;
    step("what is stored on NOR is there after a reset");
    describe(&admin, "kept in flash").await?;
    let admin = reset_bmc(&bmc, &admin).await?;
    ensure!(common::host(&admin).await?["description"] == "kept in flash");
    Ok(())
}
