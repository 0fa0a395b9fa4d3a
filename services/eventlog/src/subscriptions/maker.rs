//! Makes metric reports for those that have them sent, of what the sensors show at that time. Nothing of it is stored, and nobody is asked while nobody
//! has any sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipc::{CallContext, Client, Status};
use redfish::{MetricReport, Supply, World};
use schema::rpc::chassis_service::LIST_CHASSIS;
use schema::rpc::sensor_service::LIST_SENSORS;
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use units::{Lasting, Millis};

/// How long the daemons may take to say what there is.
const WITHIN: Duration = Duration::from_secs(4);
/// Sensors in one answer, and in a report at most: a daemon that never comes to an end is not followed.
const PAGE: u32 = 256;
const SENSORS_MAX: usize = 4096;

/// Reports that were made at one time, one of each definition; none before the first ones.
pub(crate) type Made = Vec<Arc<MetricReport>>;

/// Makes reports at this interval, for ever. Where the sensors are not known there are none that time.
pub(crate) async fn make(bus: Client, clock: Clock, every: Millis, made: Arc<watch::Sender<Made>>) {
    let every = Duration::from(every);
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = Lasting::default();
    loop {
        ticks.tick().await;
        if made.receiver_count() == 0 {
            // What was made last is nobody's any more.
            made.send_replace(Made::default());
            continue;
        }
        match reports(&bus, clock.wall()).await {
            Ok(reports) => {
                if let Some(said) = failing.works(clock.now()) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "metric reports are made again");
                }
                made.send_replace(reports);
            }
            Err(status) => {
                if let Some(said) = failing.fails(clock.now()) {
                    tracing::warn!(%status, times = said.times, lasts = %said.lasts, "cannot make metric reports");
                }
            }
        }
    }
}

async fn reports(bus: &Client, wall: SystemTime) -> Result<Made, Status> {
    let context = CallContext::new().with_timeout(WITHIN);
    let chassis = bus.call(LIST_CHASSIS, &v1::ListChassisRequest::default(), &context).await?;
    let sensors = v1::ListSensorsResponse { sensors: sensors(bus, &context).await?, ..Default::default() };
    let mut world = World::default();
    world.supply(Supply::Chassis(Arc::new(chassis)));
    world.supply(Supply::Sensors(Arc::new(sensors)));
    world.about.now = i64::try_from(schema::time::unix_ms(wall) / 1000).unwrap_or_default();
    let made = redfish::metric_reports(&world).map_err(|fault| Status::internal(fault.message))?;
    Ok(made.into_iter().map(Arc::new).collect())
}

/// All sensors, page by page.
async fn sensors(bus: &Client, context: &CallContext) -> Result<Vec<v1::Sensor>, Status> {
    let mut sensors = Vec::new();
    let mut request = v1::ListSensorsRequest { page_size: PAGE, ..v1::ListSensorsRequest::default() };
    loop {
        let answer = bus.call(LIST_SENSORS, &request, context).await?;
        let is_last = answer.next_page_token.is_empty() || answer.sensors.is_empty();
        sensors.extend(answer.sensors);
        if is_last || sensors.len() >= SENSORS_MAX {
            sensors.truncate(SENSORS_MAX);
            return Ok(sensors);
        }
        request.page_token = answer.next_page_token;
    }
}
