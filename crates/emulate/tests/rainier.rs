//! The second board's image: a server whose power follows a held line.

mod common;

use anyhow::{Result, ensure};
use common::{FOLLOW, act, becomes, image, reset_bmc, step};
use emulate::Bmc;
use twin::Role;

#[tokio::test]
async fn a_server_powered_by_a_held_line_goes_on_and_off_and_stays_on_over_a_reset() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_RAINIER") else { return Ok(()) };
    let bmc = Bmc::builder(&folder, "ibm/rainier").start().await?;
    let server = bmc.server();
    let admin = bmc.first_login().await?;
    becomes(&admin, "HOST_STATUS_OFF").await?;
    ensure!(server.trace(0).is_empty(), "I-2: the boot moved a pin: {:?}", server.trace(0));

    step("on: the line is held");
    act(&admin, "HOST_ACTION_ON").await?;
    let held = server.edge(Role::Control, true, 0, FOLLOW).await?;
    server.edge(Role::PowerGood, true, held.seq, FOLLOW).await?;
    becomes(&admin, "HOST_STATUS_ON").await?;

    step("a reset of the BMC does not let go");
    let mark = server.mark();
    let admin = reset_bmc(&bmc, &admin).await?;
    becomes(&admin, "HOST_STATUS_ON").await?;
    ensure!(server.trace(mark).is_empty(), "I-2: the reset moved a pin: {:?}", server.trace(mark));
    ensure!(server.is_on("system")?);

    step("force off: the line is let go");
    act(&admin, "HOST_ACTION_FORCE_OFF").await?;
    server.edge(Role::Control, false, mark, FOLLOW).await?;
    becomes(&admin, "HOST_STATUS_OFF").await?;
    ensure!(server.driven(mark).len() == 1, "{:?}", server.driven(mark));
    Ok(())
}
