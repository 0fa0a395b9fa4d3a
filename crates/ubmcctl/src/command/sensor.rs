//! Sensors: what they show and showed, and when they are judged to be wrong.

use std::collections::BTreeMap;

use schema::rpc::sensor_service;
use schema::v1alpha1::{
    GetSensorHistoryRequest, GetSensorHistoryResponse, GetSensorRequest, ListSensorsRequest,
    ResetStatisticsRequest, ResetThresholdsRequest, Sensor, SensorContext, SensorHistorySpan, SensorQuality,
    SensorReadings, SensorStatus, SensorUnit, SetThresholdsRequest, Threshold, ThresholdSource,
    WatchReadingsRequest, sensor,
};

use super::Session;
use crate::cli::{Limit, SensorCommand, SensorOrder, ThresholdArgs, ThresholdsCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Card, Format, Output, Table, note};
use crate::reconnect::Reconnect;
use crate::text::{ago, enum_word, time, when};

/// How often thresholds are set while those of somebody else are being stored, and the pause in between.
const TRIES: u32 = 20;
const TRY_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

pub(crate) async fn run(session: Session, command: SensorCommand, output: Output) -> Result<(), Failure> {
    let client = if changes(&command) { session.changing().await? } else { session.client().await? };
    match command {
        SensorCommand::List { measures, prefix, sort } => {
            let context = measures.as_deref().map(context_of).transpose()?.unwrap_or_default();
            let request =
                ListSensorsRequest { context: context.into(), id_prefix: prefix, ..Default::default() };
            let mut reply = client.call(sensor_service::LIST_SENSORS, &request).await?;
            order(&mut reply.sensors, sort);
            output.reply(&reply, || {
                let head = ["ID", "VALUE", "UNIT", "STATUS", "LOWER", "UPPER", "AGE", "NAME"];
                let mut table = Table::new(&head).empty("the board has no sensors");
                for sensor in &reply.sensors {
                    let (lower, upper) = limits(sensor);
                    table.row([
                        sensor.id.clone(),
                        shown(sensor),
                        unit(sensor.unit()).to_owned(),
                        status_word(sensor),
                        lower,
                        upper,
                        age(sensor),
                        sensor.name.clone(),
                    ]);
                }
                table
            })
        }
        SensorCommand::Show { id } => {
            let request = GetSensorRequest { id, field_mask: None };
            let reply = client.call(sensor_service::GET_SENSOR, &request).await?;
            let sensor = reply.sensor.clone().unwrap_or_default();
            output.card(&reply, || card(&sensor))
        }
        SensorCommand::Watch { ids } => watch(&client, &ids, output).await,
        SensorCommand::History { id, day } => {
            let span = if day { SensorHistorySpan::Day } else { SensorHistorySpan::Hour };
            let request = GetSensorHistoryRequest { id, span: span.into(), since: None };
            let reply = client.call(sensor_service::GET_SENSOR_HISTORY, &request).await?;
            history(&reply, output)
        }
        SensorCommand::Thresholds(ThresholdsCommand::Set { id, thresholds }) => {
            let request = GetSensorRequest { id: id.clone(), field_mask: None };
            let sensor = client.call(sensor_service::GET_SENSOR, &request).await?.sensor.unwrap_or_default();
            let request = changed(&sensor, &thresholds)?;
            let mut tries = 0;
            let reply = loop {
                tries += 1;
                match client.call(sensor_service::SET_THRESHOLDS, &request).await {
                    // Another's are being stored; ours name what they set, so they may come after.
                    Err(Failure::Status(status)) if status.reason == "BUSY" && tries < TRIES => {
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                    answer => break answer?,
                }
            };
            let sensor = reply.sensor.clone().unwrap_or_default();
            output.card(&reply, || card(&sensor))
        }
        SensorCommand::Thresholds(ThresholdsCommand::Reset { id }) => {
            let request = ResetThresholdsRequest { id };
            let reply = client.call(sensor_service::RESET_THRESHOLDS, &request).await?;
            let sensor = reply.sensor.clone().unwrap_or_default();
            output.card(&reply, || card(&sensor))
        }
        SensorCommand::ResetStatistics { id } => {
            let request = ResetStatisticsRequest { id: id.unwrap_or_default() };
            let reply = client.call(sensor_service::RESET_STATISTICS, &request).await?;
            output.line(&reply, || "statistics begin anew".to_owned())
        }
    }
}

/// Whether it does more than read.
fn changes(command: &SensorCommand) -> bool {
    match command {
        SensorCommand::Thresholds(_) | SensorCommand::ResetStatistics { .. } => true,
        SensorCommand::List { .. }
        | SensorCommand::Show { .. }
        | SensorCommand::Watch { .. }
        | SensorCommand::History { .. } => false,
    }
}

fn context_of(word: &str) -> Result<SensorContext, Failure> {
    let name = format!("SENSOR_CONTEXT_{}", word.to_uppercase().replace('-', "_"));
    SensorContext::from_str_name(&name).ok_or_else(|| {
        Failure::Usage(format!("nothing measures `{word}`; temperature, voltage, current, tach, power, …"))
    })
}

fn unit(unit: SensorUnit) -> &'static str {
    match unit {
        SensorUnit::Unspecified => "",
        SensorUnit::Celsius => "°C",
        SensorUnit::Fahrenheit => "°F",
        SensorUnit::Kelvin => "K",
        SensorUnit::Volts => "V",
        SensorUnit::Amps => "A",
        SensorUnit::Watts => "W",
        SensorUnit::Joules => "J",
        SensorUnit::Pascals => "Pa",
        SensorUnit::Percent => "%",
        SensorUnit::Rpm => "rpm",
        SensorUnit::Hertz => "Hz",
        SensorUnit::Meters => "m",
        SensorUnit::LitersPerMinute => "l/min",
    }
}

/// As many digits as mean something.
fn number(unit: SensorUnit, value: f64) -> String {
    match unit {
        SensorUnit::Volts | SensorUnit::Amps => format!("{value:.3}"),
        SensorUnit::Rpm | SensorUnit::Joules | SensorUnit::Pascals | SensorUnit::Hertz => {
            format!("{value:.0}")
        }
        _ => format!("{value:.1}"),
    }
}

fn value(sensor: &Sensor) -> Option<f64> {
    match &sensor.reading {
        Some(sensor::Reading::AnalogReading(reading)) => reading.value,
        _ => None,
    }
}

fn shown(sensor: &Sensor) -> String {
    match &sensor.reading {
        Some(sensor::Reading::AnalogReading(reading)) => {
            reading.value.map(|value| number(sensor.unit(), value)).unwrap_or_default()
        }
        Some(sensor::Reading::DiscreteReading(reading)) => reading.state.clone(),
        None => String::new(),
    }
}

/// The status; of a value that is not good why.
fn status_word(sensor: &Sensor) -> String {
    let word = match sensor.status() {
        SensorStatus::Enabled => "ok".to_owned(),
        status => enum_word(status.as_str_name(), "SENSOR_STATUS_"),
    };
    let reason = enum_word(sensor.reason().as_str_name(), "SENSOR_REASON_");
    match (sensor.quality(), sensor.status()) {
        (SensorQuality::Stale, _) => format!("stale ({reason})"),
        (SensorQuality::Failed, _) => format!("failed ({reason})"),
        (SensorQuality::Unavailable, SensorStatus::Disabled | SensorStatus::Unknown) => {
            format!("unavailable ({reason})")
        }
        _ => word,
    }
}

fn levels(threshold: Option<&Threshold>, unit: SensorUnit) -> String {
    let Some(Threshold { warning, critical, fatal }) = threshold.copied() else { return String::new() };
    let of = |level: Option<f64>| level.map_or_else(|| "-".to_owned(), |at| number(unit, at));
    format!("{} {} {}", of(warning), of(critical), of(fatal))
}

/// Thresholds below and above: warning, critical, fatal.
fn limits(sensor: &Sensor) -> (String, String) {
    match &sensor.reading {
        Some(sensor::Reading::AnalogReading(reading)) => (
            levels(reading.lower_thresholds.as_ref(), sensor.unit()),
            levels(reading.upper_thresholds.as_ref(), sensor.unit()),
        ),
        _ => (String::new(), String::new()),
    }
}

fn age(sensor: &Sensor) -> String {
    let Some(age) = &sensor.age else { return String::new() };
    let seconds = age.seconds.max(0);
    format!("{seconds}.{} s", age.nanos.max(0) / 100_000_000)
}

fn order(sensors: &mut [Sensor], order: SensorOrder) {
    let badness = |sensor: &Sensor| match sensor.status() {
        SensorStatus::Error => 0,
        SensorStatus::Fatal => 1,
        SensorStatus::Critical => 2,
        SensorStatus::Warning => 3,
        SensorStatus::Unknown => 4,
        SensorStatus::NotPresent => 5,
        _ => 6,
    };
    match order {
        SensorOrder::Id => {}
        // Those without a value come last.
        SensorOrder::Value => sensors.sort_by(|one, other| {
            let of = |sensor: &Sensor| value(sensor).unwrap_or(f64::NEG_INFINITY);
            of(other).total_cmp(&of(one))
        }),
        SensorOrder::Status => sensors.sort_by_key(badness),
    }
}

fn card(sensor: &Sensor) -> Card {
    let mut card = Card::default();
    let with_unit = |value: f64| format!("{} {}", number(sensor.unit(), value), unit(sensor.unit()));
    card.line("Id", sensor.id.clone())
        .line("Name", sensor.name.clone())
        .line("Measures", enum_word(sensor.context().as_str_name(), "SENSOR_CONTEXT_"))
        .line("Value", format!("{} {}", shown(sensor), unit(sensor.unit())).trim().to_owned())
        .line("Status", status_word(sensor))
        .line("Measured", when(sensor.last_reading_timestamp.as_ref()));
    if let Some(sensor::Reading::AnalogReading(reading)) = &sensor.reading {
        let (lower, upper) = limits(sensor);
        let from = match reading.thresholds_source() {
            ThresholdSource::Set => " (set here; the board has others)",
            ThresholdSource::Device => " (of the device; the board states none)",
            ThresholdSource::Board | ThresholdSource::Unspecified => "",
        };
        let crossed = reading.crossed.iter().map(|crossed| {
            let side = enum_word(crossed.side().as_str_name(), "THRESHOLD_SIDE_");
            format!("{side} {}", enum_word(crossed.level().as_str_name(), "THRESHOLD_LEVEL_"))
        });
        card.line("Crossed", crossed.collect::<Vec<_>>().join(", "))
            .line("Upper warning, critical, fatal", if upper.is_empty() { upper } else { upper + from })
            .line("Lower warning, critical, fatal", if lower.is_empty() { lower } else { lower + from });
        if reading.hysteresis > 0.0 {
            card.line("Hysteresis", with_unit(reading.hysteresis));
        }
        if let Some(seen) = &reading.min_max_recorded {
            let at = |value: Option<f64>, at: Option<&prost_types::Timestamp>| {
                value.map(|value| format!("{} ({})", with_unit(value), ago(at))).unwrap_or_default()
            };
            card.line("Least", at(seen.min_value, seen.min_timestamp.as_ref()))
                .line("Largest", at(seen.max_value, seen.max_timestamp.as_ref()))
                .line("Mean", seen.average.map(with_unit).unwrap_or_default())
                .line("  since", when(seen.since.as_ref()));
        }
    }
    card.line("Host", sensor.host.clone().unwrap_or_default())
        .line("Source", sensor.source.clone())
        .line("Bus", sensor.bus.clone().unwrap_or_default());
    card
}

/// What is set, by name. With what was before where nothing is said, for a BMC that knows no names and replaces all.
fn changed(sensor: &Sensor, args: &ThresholdArgs) -> Result<SetThresholdsRequest, Failure> {
    let Some(sensor::Reading::AnalogReading(reading)) = &sensor.reading else {
        return Err(Failure::Usage(format!("{} is either so or not: it has no thresholds", sensor.id)));
    };
    let set = |before: Option<&Threshold>,
               warning: Option<Limit>,
               critical: Option<Limit>,
               fatal: Option<Limit>| {
        let before = before.copied().unwrap_or_default();
        let of = |limit: Option<Limit>, before: Option<f64>| limit.map_or(before, |Limit(value)| value);
        Threshold {
            warning: of(warning, before.warning),
            critical: of(critical, before.critical),
            fatal: of(fatal, before.fatal),
        }
    };
    let named = [
        (args.upper_warning.is_some(), "upper_thresholds.warning"),
        (args.upper_critical.is_some(), "upper_thresholds.critical"),
        (args.upper_fatal.is_some(), "upper_thresholds.fatal"),
        (args.lower_warning.is_some(), "lower_thresholds.warning"),
        (args.lower_critical.is_some(), "lower_thresholds.critical"),
        (args.lower_fatal.is_some(), "lower_thresholds.fatal"),
        (args.hysteresis.is_some(), "hysteresis"),
    ];
    let paths =
        named.into_iter().filter(|(is_given, _)| *is_given).map(|(_, path)| path.to_owned()).collect();
    let (upper, lower) = (reading.upper_thresholds.as_ref(), reading.lower_thresholds.as_ref());
    Ok(SetThresholdsRequest {
        id: sensor.id.clone(),
        upper_thresholds: Some(set(upper, args.upper_warning, args.upper_critical, args.upper_fatal)),
        lower_thresholds: Some(set(lower, args.lower_warning, args.lower_critical, args.lower_fatal)),
        hysteresis: args.hysteresis.unwrap_or(reading.hysteresis),
        field_mask: Some(prost_types::FieldMask { paths }),
    })
}

/// Values as bars of a line of text; blanks where there is none.
fn sparkline(values: &[f32], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let good = || values.iter().copied().filter(|value| value.is_finite());
    let (least, most) =
        good().fold((f32::MAX, f32::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let each = values.len().div_ceil(width.max(1)).max(1);
    values
        .chunks(each)
        .map(|chunk| {
            // The largest of what shares a bar: a peak is not averaged away.
            let value = chunk.iter().copied().filter(|value| value.is_finite()).fold(f32::MIN, f32::max);
            if value == f32::MIN {
                return ' ';
            }
            let part = if most > least { (value - least) / (most - least) } else { 0.0 };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
            let bar = (part * 7.0).round().clamp(0.0, 7.0) as usize;
            BARS.get(bar).copied().unwrap_or(' ')
        })
        .collect()
}

/// The history of a sensor that is either set or not, an alert or the presence of a part: it has no unit, and its values are 1 and 0.
fn set(reply: &GetSensorHistoryResponse) -> String {
    let known = reply.means.iter().filter(|mean| mean.is_finite());
    let (known, set) = (known.clone().count(), known.filter(|mean| **mean > 0.0).count());
    let now = match reply.means.last() {
        Some(mean) if *mean > 0.0 => "set",
        Some(mean) if mean.is_finite() => "not set",
        _ => "not known",
    };
    let steps = if known == 1 { "step" } else { "steps" };
    match set {
        0 => format!("set in none of {known} {steps}, now {now}"),
        set => format!("set in {set} of {known} {steps}, now {now}"),
    }
}

fn history(reply: &GetSensorHistoryResponse, output: Output) -> Result<(), Failure> {
    let step = reply.step.map_or(0, |step| step.seconds).max(1);
    let start = reply.start.unwrap_or_default();
    match output.format {
        Format::Json => output.json(reply),
        Format::Csv => {
            let mut table = Table::new(&["TIME", "MEAN", "LEAST", "LARGEST"]);
            for (index, mean) in reply.means.iter().enumerate().filter(|(_, mean)| mean.is_finite()) {
                let seconds = start.seconds + i64::try_from(index).unwrap_or(0) * step;
                let at = prost_types::Timestamp { seconds, nanos: start.nanos };
                let of = |list: &[f32]| list.get(index).map(f32::to_string).unwrap_or_default();
                table.row([time(Some(&at)), mean.to_string(), of(&reply.minima), of(&reply.maxima)]);
            }
            output.table(&table)
        }
        Format::Table => {
            let values = if reply.maxima.is_empty() { &reply.means } else { &reply.maxima };
            let good = || values.iter().copied().filter(|value| value.is_finite()).map(f64::from);
            if good().next().is_none() {
                note("nothing was measured in that time");
                return Ok(());
            }
            output.text(&sparkline(values, 72))?;
            let from = time(reply.start.as_ref());
            if reply.unit() == SensorUnit::Unspecified {
                return output.text(&format!(
                    "{}: {}; from {from} on, a step is {step} s",
                    reply.id,
                    set(reply)
                ));
            }
            let lows = if reply.minima.is_empty() { &reply.means } else { &reply.minima };
            let least = lows
                .iter()
                .copied()
                .filter(|value| value.is_finite())
                .map(f64::from)
                .fold(f64::MAX, f64::min);
            let of = |value: f64| format!("{} {}", number(reply.unit(), value), unit(reply.unit()));
            output.text(&format!(
                "{}: {} to {}, now {}; from {from} on, a step is {step} s",
                reply.id,
                of(least),
                of(good().fold(f64::MIN, f64::max)),
                of(reply.means.last().copied().map_or(f64::NAN, f64::from)),
            ))
        }
    }
}

/// What is known from the stream.
#[derive(Debug, Default)]
struct Known {
    epoch: u64,
    sequence: u64,
    ids: Vec<String>,
}

/// A reading of the stream.
#[derive(Debug, PartialEq)]
struct News {
    id: String,
    value: f64,
    quality: SensorQuality,
    status: SensorStatus,
}

impl Known {
    /// What a message says. One of before the snapshot, or of another life, says nothing.
    fn take(&mut self, readings: &SensorReadings) -> Vec<News> {
        if readings.full {
            *self = Self { epoch: readings.epoch, sequence: readings.sequence, ids: readings.ids.clone() };
        } else if readings.epoch != self.epoch || readings.sequence <= self.sequence {
            return Vec::new();
        }
        self.sequence = readings.sequence;
        let mut news = Vec::new();
        for (at, number) in readings.numbers.iter().enumerate() {
            let id = usize::try_from(*number).ok().and_then(|number| self.ids.get(number));
            let (Some(id), Some(value)) = (id, readings.values.get(at)) else { continue };
            let quality = readings.qualities.get(at).copied().unwrap_or_default();
            let status = readings.statuses.get(at).copied().unwrap_or_default();
            news.push(News {
                id: id.clone(),
                value: *value,
                quality: SensorQuality::try_from(quality).unwrap_or_default(),
                status: SensorStatus::try_from(status).unwrap_or_default(),
            });
        }
        news
    }
}

/// Prints readings until interrupted. A stream that breaks is opened again.
async fn watch(client: &Client, ids: &[String], output: Output) -> Result<(), Failure> {
    let units: BTreeMap<String, SensorUnit> = {
        let reply = client.call(sensor_service::LIST_SENSORS, &ListSensorsRequest::default()).await?;
        reply.sensors.iter().map(|sensor| (sensor.id.clone(), sensor.unit())).collect()
    };
    if let Some(unknown) = ids.iter().find(|id| !units.contains_key(*id)) {
        return Err(Failure::not_found(format!("there is no sensor `{unknown}`")));
    }
    let (mut known, mut reconnect) = (Known::default(), Reconnect::new());
    // A snapshot of what was shown already is no news.
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let stream = client.stream::<SensorReadings>(
            "schema.v1alpha1.SensorService.WatchReadings",
            &WatchReadingsRequest {},
        );
        let broken = match stream.await {
            Ok(mut stream) => {
                reconnect.opened();
                loop {
                    match stream.next().await {
                        Ok(Some(readings)) => {
                            reconnect.works();
                            if output.format == Format::Json {
                                output.json_line(&readings)?;
                                continue;
                            }
                            let at = time(readings.time.as_ref());
                            for news in known.take(&readings) {
                                if !ids.is_empty() && !ids.contains(&news.id) {
                                    continue;
                                }
                                let line = line(
                                    &news,
                                    units.get(&news.id).copied().unwrap_or_default(),
                                    output.format,
                                );
                                if last.insert(news.id, line.clone()).as_ref() != Some(&line) {
                                    let gap = if output.format == Format::Csv { "," } else { "  " };
                                    output.text(&format!("{at}{gap}{line}"))?;
                                }
                            }
                        }
                        Ok(None) => break None,
                        // Its session has ended, and there is another one.
                        Err(failure) if client.renew(&failure, stream.credential()) => break None,
                        Err(failure) => break Some(failure),
                    }
                }
            }
            Err(failure) => Some(failure),
        };
        reconnect.broken(broken).await?;
    }
}

fn line(news: &News, of: SensorUnit, format: Format) -> String {
    let word = match (news.quality, news.status) {
        (SensorQuality::Good, SensorStatus::Enabled) => "ok".to_owned(),
        (SensorQuality::Good, status) => enum_word(status.as_str_name(), "SENSOR_STATUS_"),
        (quality, _) => enum_word(quality.as_str_name(), "SENSOR_QUALITY_"),
    };
    let value = if news.value.is_finite() { number(of, news.value) } else { String::new() };
    match format {
        Format::Csv => format!("{},{value},{},{word}", news.id, unit(of)),
        _ => format!("{:<20} {value:>10} {:<5} {word}", news.id, unit(of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_of_an_alert_says_whether_it_was_set() {
        let of =
            |means: &[f32]| set(&GetSensorHistoryResponse { means: means.to_vec(), ..Default::default() });
        assert_eq!(of(&[0.0, 0.0]), "set in none of 2 steps, now not set");
        assert_eq!(of(&[0.0, f32::NAN, 0.5, 1.0]), "set in 2 of 3 steps, now set");
        assert_eq!(of(&[1.0, f32::NAN]), "set in 1 of 1 step, now not known");
    }

    #[test]
    fn a_sparkline_shows_peaks_and_gaps() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 7.0], 10), "▁▂▃█");
        assert_eq!(sparkline(&[0.0, f32::NAN, 7.0], 10), "▁ █");
        assert_eq!(sparkline(&[5.0, 5.0], 10), "▁▁");
        assert_eq!(sparkline(&[0.0, 7.0, 0.0, 0.0], 2), "█▁", "a peak is not averaged away");
        assert_eq!(sparkline(&[], 10), "");
    }

    #[test]
    fn a_stream_is_read_from_its_snapshot_on() {
        let message = |full, epoch, sequence, number: u32, value| SensorReadings {
            full,
            epoch,
            sequence,
            ids: if full { vec!["a".into(), "b".into()] } else { Vec::new() },
            numbers: vec![number],
            values: vec![value],
            qualities: vec![SensorQuality::Good.into()],
            statuses: vec![SensorStatus::Enabled.into()],
            ..Default::default()
        };
        let mut known = Known::default();
        let ids = |news: Vec<News>| news.into_iter().map(|news| (news.id, news.value)).collect::<Vec<_>>();
        assert_eq!(ids(known.take(&message(false, 7, 1, 0, 1.0))), [], "nothing is known yet");
        assert_eq!(ids(known.take(&message(true, 7, 5, 0, 2.0))), [("a".to_owned(), 2.0)]);
        assert_eq!(ids(known.take(&message(false, 7, 5, 1, 3.0))), [], "it is in the snapshot");
        assert_eq!(ids(known.take(&message(false, 7, 6, 1, 4.0))), [("b".to_owned(), 4.0)]);
        assert_eq!(ids(known.take(&message(false, 7, 7, 9, 4.0))), [], "no such sensor");
        assert_eq!(ids(known.take(&message(false, 8, 8, 1, 4.0))), [], "another life");
    }

    #[test]
    fn thresholds_that_are_not_named_stay() {
        let upper = Threshold { warning: Some(80.0), critical: Some(90.0), fatal: None };
        let reading = schema::v1alpha1::AnalogSensorReading {
            upper_thresholds: Some(upper),
            hysteresis: 2.0,
            ..Default::default()
        };
        let sensor = Sensor {
            id: "t".into(),
            reading: Some(sensor::Reading::AnalogReading(reading)),
            ..Default::default()
        };
        let args = ThresholdArgs {
            upper_warning: Some(Limit(None)),
            upper_critical: Some(Limit(Some(95.0))),
            upper_fatal: None,
            lower_warning: None,
            lower_critical: None,
            lower_fatal: None,
            hysteresis: None,
        };
        let request = changed(&sensor, &args).unwrap();
        let expected = Threshold { warning: None, critical: Some(95.0), fatal: None };
        assert_eq!((request.upper_thresholds, request.hysteresis), (Some(expected), 2.0));
        let paths = request.field_mask.unwrap().paths;
        assert_eq!(paths, ["upper_thresholds.warning", "upper_thresholds.critical"]);
    }

    #[test]
    fn what_sets_or_resets_says_first_on_which_bmc() {
        assert!(changes(&SensorCommand::ResetStatistics { id: None }));
        assert!(changes(&SensorCommand::Thresholds(ThresholdsCommand::Reset { id: "t".into() })));
        assert!(!changes(&SensorCommand::Show { id: "t".into() }));
    }
}
