//! The questions.

use std::time::Duration;

use ipc::{CallContext, Client, Code, Status};
use model::{Answer, Domain, Failure};
use schema::rpc;
use schema::v1alpha1 as v1;

/// How long an owner may take. The model gives a question up later than this.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Sensors in one message, so that it fits with 1,024 of them.
const PAGE: u32 = 256;
/// Events that are asked for: as many as the model keeps.
const EVENTS: u32 = 256;

/// Asks for a whole domain.
pub(crate) async fn ask(bus: &Client, domain: Domain) -> Result<Answer, Failure> {
    asked(bus, domain).await.map_err(|status| {
        tracing::debug!(domain = domain.as_str(), daemon = domain.owner(), %status, "cannot ask for domain");
        if status.code == Code::Unavailable { Failure::Gone } else { Failure::Other }
    })
}

async fn asked(bus: &Client, domain: Domain) -> Result<Answer, Status> {
    let context = CallContext::new().with_timeout(ANSWER_WITHIN);
    Ok(match domain {
        Domain::Daemons => {
            let request = v1::ListDaemonsRequest::default();
            Answer::Daemons(bus.call(rpc::system_service::LIST_DAEMONS, &request, &context).await?.daemons)
        }
        Domain::System => {
            let request = v1::GetSystemInfoRequest::default();
            let answer = bus.call(rpc::system_service::GET_SYSTEM_INFO, &request, &context).await?;
            Answer::System(Box::new(answer.system_info.unwrap_or_default()))
        }
        Domain::Hosts => {
            let request = v1::ListHostsRequest::default();
            Answer::Hosts(bus.call(rpc::host_service::LIST_HOSTS, &request, &context).await?.hosts)
        }
        Domain::Chassis => {
            let request = v1::ListChassisRequest::default();
            Answer::Chassis(bus.call(rpc::chassis_service::LIST_CHASSIS, &request, &context).await?.chassis)
        }
        Domain::Controllers => {
            let request = v1::ListManagementControllersRequest::default();
            let method = rpc::management_controller_service::LIST_MANAGEMENT_CONTROLLERS;
            Answer::Controllers(bus.call(method, &request, &context).await?.controllers)
        }
        Domain::Sensors => Answer::Sensors(sensors(bus, &context).await?),
        Domain::Readings => {
            let request = v1::GetReadingsRequest {};
            Answer::Readings(bus.call(rpc::sensor_service::GET_READINGS, &request, &context).await?)
        }
        Domain::Zones => {
            let request = v1::ListThermalZonesRequest {};
            let answer = bus.call(rpc::thermal_service::LIST_THERMAL_ZONES, &request, &context).await?;
            let profile = answer.profile();
            Answer::Zones(answer.thermal_zones, profile)
        }
        Domain::Fans => {
            let request = v1::ListCoolingDevicesRequest {};
            let answer = bus.call(rpc::thermal_service::LIST_COOLING_DEVICES, &request, &context).await?;
            Answer::Fans(answer.cooling_devices)
        }
        Domain::Leds => {
            let request = v1::ListLedsRequest::default();
            let answer = bus.call(rpc::led_service::LIST_LEDS, &request, &context).await?;
            Answer::Leds(answer.leds, answer.test_until)
        }
        Domain::Assets => {
            let request = v1::ListAssetsRequest::default();
            Answer::Assets(bus.call(rpc::asset_service::LIST_ASSETS, &request, &context).await?.assets)
        }
        Domain::Accounts => {
            let request = v1::ListAccountNamesRequest {};
            let answer = bus.call(rpc::auth_service::LIST_ACCOUNT_NAMES, &request, &context).await?;
            Answer::Accounts(answer.accounts)
        }
        Domain::Events => {
            let request = v1::ListEventsRequest { page_size: EVENTS, ..v1::ListEventsRequest::default() };
            let mut events = bus.call(rpc::event_service::LIST_EVENTS, &request, &context).await?.events;
            // What happened does not change; who has seen to it does, and is eventlog's to tell.
            events.iter_mut().for_each(|event| event.resolution = None);
            Answer::Events(events)
        }
    })
}

/// All sensors, page by page. As many as the model keeps: a daemon that never comes to an end is not followed.
async fn sensors(bus: &Client, context: &CallContext) -> Result<Vec<v1::Sensor>, Status> {
    let most = Domain::Sensors.bounds().items;
    let mut sensors = Vec::new();
    let mut request = v1::ListSensorsRequest { page_size: PAGE, ..v1::ListSensorsRequest::default() };
    loop {
        let answer = bus.call(rpc::sensor_service::LIST_SENSORS, &request, context).await?;
        let is_last = answer.next_page_token.is_empty() || answer.sensors.is_empty();
        sensors.extend(answer.sensors);
        if is_last || sensors.len() > most {
            return Ok(sensors);
        }
        request.page_token = answer.next_page_token;
    }
}
