//! What a provisioning tool does to a host it takes over, by NVIDIA's client for Redfish: `nv-redfish-claim HOST:PORT USER PASSWORD`.
//!
//! Its types are made of DMTF's schemas, so what it reads at all is as they have it. Ends with 0 when all is as it should be.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use nv_redfish::ServiceRoot;
use nv_redfish::account::AccountServiceConfig;
use nv_redfish::computer_system::ComputerSystem;
use nv_redfish::resource::{PowerState, ResetType};
use nv_redfish::schema::computer_system::{BootSource, BootSourceOverrideEnabled};
use nv_redfish_bmc_http::reqwest::{Client, ClientParams};
use nv_redfish_bmc_http::{BmcCredentials, CacheSettings, HttpBmc};
use tokio::time::{Instant, sleep};
use url::Url;

/// How long what is certain to come may take.
const WAIT: Duration = Duration::from_secs(60);

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;
type Bmc = HttpBmc<Client>;

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, user, password] = arguments.as_slice() else {
        return Err("usage: nv-redfish-claim HOST:PORT USER PASSWORD".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(claim(host, user, password))
}

fn check(holds: bool, what: impl Into<String>) -> Result {
    if holds { Ok(()) } else { Err(what.into().into()) }
}

async fn system(root: &ServiceRoot<Bmc>) -> Result<ComputerSystem<Bmc>> {
    let systems = root.systems().await?.ok_or("no systems")?.members().await?;
    systems.into_iter().next().ok_or_else(|| "no system".into())
}

async fn until(root: &ServiceRoot<Bmc>, wanted: PowerState) -> Result {
    let end = Instant::now() + WAIT;
    while system(root).await?.power_state() != Some(wanted) {
        check(Instant::now() < end, format!("the host is not {wanted:?}"))?;
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// What is overridden, and how.
async fn boot(root: &ServiceRoot<Bmc>) -> Result<(Option<BootSource>, Option<BootSourceOverrideEnabled>)> {
    let raw = system(root).await?.raw();
    let boot = raw.boot.as_ref().ok_or("no boot")?;
    Ok((boot.boot_source_override_target.flatten(), boot.boot_source_override_enabled.flatten()))
}

async fn claim(host: &str, user: &str, password: &str) -> Result {
    let client = Client::with_params(ClientParams::new().accept_invalid_certs(true))?;
    let credentials = BmcCredentials::new(user.to_owned(), password.to_owned());
    let bmc =
        HttpBmc::new(client, Url::parse(&format!("https://{host}"))?, credentials, CacheSettings::default());
    let root = ServiceRoot::new(Arc::new(bmc)).await?;
    // A machine that was never on has told nobody yet what is in it.
    system(&root).await?.reset(Some(ResetType::On)).await?;
    until(&root, PowerState::On).await?;
    let end = Instant::now() + WAIT;
    while !has_ports(&root).await? {
        check(Instant::now() < end, "no port with an address")?;
        sleep(Duration::from_millis(200)).await;
    }
    look(&root).await?;
    system(&root).await?.reset(Some(ResetType::ForceOff)).await?;
    until(&root, PowerState::Off).await?;
    for (target, uri) in [
        (BootSource::Pxe, None),
        (BootSource::Cd, None),
        (BootSource::UefiHttp, Some("http://boot.example/claim.efi".to_owned())),
    ] {
        let once = BootSourceOverrideEnabled::Once;
        system(&root).await?.set_boot_source_override(target, once, None, uri.clone()).await?;
        let told = boot(&root).await?;
        check(told == (Some(target), Some(once)), format!("{target:?} was asked for, and it is {told:?}"))?;
        let raw = system(&root).await?.raw();
        let shown = raw.boot.as_ref().and_then(|boot| boot.http_boot_uri.clone().flatten());
        check(uri.is_none() || shown == uri, format!("the URI to boot from is {shown:?}"))?;
        system(&root).await?.reset(Some(ResetType::On)).await?;
        until(&root, PowerState::On).await?;
        let end = Instant::now() + WAIT;
        while boot(&root).await?.1 != Some(BootSourceOverrideEnabled::Disabled) {
            check(Instant::now() < end, format!("{target:?} is not over after a boot"))?;
            sleep(Duration::from_millis(200)).await;
        }
        system(&root).await?.reset(Some(ResetType::ForceOff)).await?;
        until(&root, PowerState::Off).await?;
    }
    println!("claimed {host}");
    Ok(())
}

/// Whether there is a port whose address is known.
async fn has_ports(root: &ServiceRoot<Bmc>) -> Result<bool> {
    let ports = system(root).await?.ethernet_interfaces().await?.ok_or("no ports")?.members().await?;
    Ok(ports.iter().any(|port| port.mac_address().is_some()))
}

/// Whatever such a tool wants to know of a machine is there, and is read by types made of DMTF's schemas.
async fn look(root: &ServiceRoot<Bmc>) -> Result {
    check(root.redfish_version().is_some(), "no version of Redfish")?;
    let system = system(root).await?;
    check(system.hardware_id().manufacturer.is_some(), "no manufacturer")?;
    check(system.processors().await?.is_some(), "no processors")?;
    check(system.storage_controllers().await?.is_some(), "no storage")?;
    let chassis = root.chassis().await?.ok_or("no chassis")?.members().await?;
    let chassis = chassis.first().ok_or("no box")?;
    let sensors = chassis.sensor_links().await?.ok_or("no sensors")?;
    check(!sensors.is_empty(), "no sensor")?;
    for sensor in &sensors {
        sensor.fetch().await?;
    }
    let managers = root.managers().await?.ok_or("no managers")?.members().await?;
    let manager = managers.first().ok_or("no manager")?;
    check(manager.raw().firmware_version.is_some(), "no version of firmware")?;
    let accounts = root
        .account_service(AccountServiceConfig::standard())
        .await?
        .ok_or("no accounts")?
        .accounts()
        .await?;
    check(!accounts.ok_or("no collection of accounts")?.all_accounts_data().await?.is_empty(), "no account")?;
    let firmware = root.update_service().await?.ok_or("no updates")?.firmware_inventories().await?;
    check(!firmware.ok_or("no firmware")?.is_empty(), "no firmware")?;
    Ok(())
}
