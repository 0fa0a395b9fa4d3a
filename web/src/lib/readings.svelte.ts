// Sensors with their present values, from the stream of readings: a packed message each time a bus was read. Each sensor is a small state of
// its own, so that a message redraws the cells that changed and no others.
import { untrack } from "svelte";
import { Code } from "@connectrpc/connect";
import type { Event } from "../gen/schema/v1alpha1/event_pb";
import {
  SensorQuality,
  SensorReason,
  SensorStatus,
  type Sensor,
  type SensorReadings,
} from "../gen/schema/v1alpha1/sensor_pb";
import { date } from "./format";
import { ENDLESS, failureOf, isUnreachable, sensors as api } from "./api";
import { live } from "./live.svelte";
import { Resource } from "./resource.svelte";

/** Values kept for the small chart beside a sensor. */
export const TRAIL = 90;
/** How long readings are followed after the last one who looked, ms. */
const GRACE = 3000;
/** What changes together is asked for together, ms. */
const SETTLE = 300;
/** More sensors than these are asked for as a list. */
const FEW = 4;

/** One sensor as it is now. */
export class LiveSensor {
  readonly id: string;
  info = $state.raw<Sensor>()!;
  value = $state(NaN);
  status = $state(SensorStatus.UNKNOWN);
  quality = $state(SensorQuality.UNAVAILABLE);
  /** When the value was measured, ms since 1970. */
  at = $state(0);
  /** The newest values, oldest first, one for each time the sensor was read; NaN where there was none. */
  trail: number[] = [];
  /** Counts up with the trail. */
  beat = $state(0);

  constructor(info: Sensor) {
    this.id = info.id;
    this.describe(info);
  }

  /**
   * Takes in what is known of it beside its value. What it shows is the stream's to say while there is one: a list may be older, and what was measured at one
   * time may be judged otherwise since.
   */
  describe(info: Sensor): void {
    this.info = info;
    const at = date(info.lastReadingTimestamp)?.getTime() ?? 0;
    if (at < this.at || (readings.isLive && this.beat > 0)) return;
    this.at = at;
    this.status = info.status ?? SensorStatus.UNKNOWN;
    this.quality = info.quality;
    if (info.reading.case === "analogReading") this.value = info.reading.value.value ?? NaN;
  }

  /** What it shows is the last that is known of it. */
  get isOld(): boolean {
    return this.quality === SensorQuality.STALE || (!readings.isLive && this.quality !== SensorQuality.UNAVAILABLE);
  }

  /** How it is may be otherwise by now, also where it has no value. */
  get isDoubted(): boolean {
    return this.isOld || !readings.isLive;
  }

  /** Why it shows nothing good; what was told of another quality is over. */
  get reason(): SensorReason {
    return this.quality !== SensorQuality.GOOD && this.quality === this.info.quality ? this.info.reason : SensorReason.UNSPECIFIED;
  }

  take(value: number, status: SensorStatus, quality: SensorQuality, at: number): void {
    this.value = value;
    this.status = status;
    this.quality = quality;
    this.at = at;
    this.remember();
  }

  /** What it shows is shown for one more reading of its bus. */
  remember(): void {
    this.trail.push(this.quality === SensorQuality.GOOD ? this.value : NaN);
    if (this.trail.length > TRAIL) this.trail.shift();
    this.beat += 1;
  }

  /** Needs somebody. */
  get isBad(): boolean {
    return this.severity > 0;
  }

  /** 3 is worst. */
  get severity(): number {
    switch (this.status) {
      case SensorStatus.FATAL:
      case SensorStatus.CRITICAL:
        return 3;
      case SensorStatus.ERROR:
        return 2;
      case SensorStatus.WARNING:
        return 1;
      default:
        return 0;
    }
  }
}

const concerns = (event: Event) => event.domain === "sensor";

class Readings {
  /** By id. */
  list = $state.raw<LiveSensor[]>([]);
  byId = $state.raw(new Map<string, LiveSensor>());
  /** The stream is open. */
  #isOpen = $state(false);
  /** It has said that nobody reads the sensors any more. */
  #isSilent = $state(false);
  /** What is known of all sensors beside their values. */
  index = new Resource(() => this.#read(), { on: concerns, owner: "sensormon" });
  /** What the stream said of each, by its number. */
  #heard = new Map<number, [value: number, status: SensorStatus, quality: SensorQuality, at: number]>();
  /** Those of which more is to be asked, as the stream says something else than what they are described as. */
  #asking = new Set<string>();
  #users = 0;
  #isRunning = false;
  #soon: ReturnType<typeof setTimeout> | undefined;
  #leaving: ReturnType<typeof setTimeout> | undefined;
  #stop: AbortController | undefined;
  #endIndex: (() => void) | undefined;
  #numbers: string[] = [];
  #epoch = 0n;

  /** What is shown is what the BMC last said, and it would say what is new. */
  get isLive(): boolean {
    return this.#isOpen && !this.#isSilent && !live.isLost;
  }

  /** Follows the readings for as long as somebody looks; the answer ends that. Whoever goes from one page to the next keeps them. */
  use(): () => void {
    this.#users += 1;
    clearTimeout(this.#leaving);
    if (this.#users === 1 && !this.#isRunning) untrack(() => this.#begin());
    return () => {
      this.#users -= 1;
      if (this.#users === 0) this.#leaving = setTimeout(() => this.#end(), GRACE);
    };
  }

  /** Reads one sensor anew: what is recorded of it is in no message of the stream. */
  async refresh(id: string): Promise<void> {
    const { sensor } = await api.getSensor({ id });
    if (sensor) this.byId.get(id)?.describe(sensor);
  }

  #begin(): void {
    this.#endIndex?.();
    this.#stop = new AbortController();
    this.#isRunning = true;
    this.#endIndex = this.index.run();
    const { signal } = this.#stop;
    void this.#run(signal).finally(() => {
      if (this.#stop?.signal === signal) this.#isRunning = false;
    });
  }

  #end(): void {
    this.#stop?.abort();
    this.#endIndex?.();
    this.#endIndex = undefined;
    clearTimeout(this.#soon);
    this.#asking.clear();
    this.#isRunning = false;
    this.#isOpen = false;
  }

  /** Answers how many sensors there are. */
  async #read(): Promise<number> {
    const found: Sensor[] = [];
    let pageToken = "";
    do {
      const page = await api.listSensors({ pageToken });
      found.push(...page.sensors);
      pageToken = page.nextPageToken;
    } while (pageToken);
    const known = this.byId;
    const isSame = found.length === known.size && found.every((sensor) => known.has(sensor.id));
    for (const sensor of found) known.get(sensor.id)?.describe(sensor);
    if (isSame) return found.length;
    this.list = found.map((sensor) => known.get(sensor.id) ?? new LiveSensor(sensor));
    this.byId = new Map(this.list.map((sensor) => [sensor.id, sensor]));
    // The stream may have begun before this answer, which is older then.
    this.#numbers.forEach((id, number) => {
      const [heard, sensor] = [this.#heard.get(number), this.byId.get(id)];
      if (heard && sensor && !known.has(id)) sensor.take(...heard);
    });
    return found.length;
  }

  async #run(stop: AbortSignal): Promise<void> {
    /** So often it was refused: who has too much to do is asked less often. */
    let refused = 0;
    while (!stop.aborted) {
      // Who has lost the connection waits in vain for a stream that nobody ends.
      const cut = new AbortController();
      const end = () => cut.abort();
      const forget = live.onLost(end);
      stop.addEventListener("abort", end);
      try {
        for await (const message of api.watchReadings({}, { ...ENDLESS, signal: cut.signal })) {
          this.#isOpen = true;
          refused = 0;
          live.heard();
          this.#take(message);
        }
      } catch (thrown) {
        const failure = failureOf(thrown);
        if (failure.code === Code.Unauthenticated) return;
        refused = isUnreachable(failure) || failure.code === Code.Canceled ? 0 : refused + 1;
      } finally {
        forget();
        stop.removeEventListener("abort", end);
        this.#isOpen = false;
      }
      if (stop.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, Math.min(1000 * 2 ** refused, 10_000)));
    }
  }

  /** Asks for the description of a sensor anew; of many for all at once. */
  #ask(id: string): void {
    if (!this.#asking.size)
      this.#soon = setTimeout(() => {
        const ids = [...this.#asking];
        this.#asking.clear();
        if (ids.length > FEW) void this.index.refresh();
        // What fails here is told by the list.
        else for (const one of ids) this.refresh(one).catch(() => {});
      }, SETTLE);
    this.#asking.add(id);
  }

  #take(message: SensorReadings): void {
    if (message.full) {
      this.#numbers = message.ids;
      this.#heard.clear();
      this.#epoch = message.epoch;
      this.#isSilent = message.epoch === 0n;
    } else if (message.epoch !== this.#epoch) {
      return;
    }
    const time = message.time ? Number(message.time.seconds) * 1000 + message.time.nanos / 1e6 : Date.now();
    const heard = new Set<LiveSensor>();
    message.numbers.forEach((number, i) => {
      const value = message.values[i] ?? NaN;
      const quality = message.qualities[i] ?? SensorQuality.UNAVAILABLE;
      const said = [value, message.statuses[i] ?? SensorStatus.UNKNOWN, quality, time - (message.agesMs[i] ?? 0)] as const;
      this.#heard.set(number, [...said]);
      const sensor = this.byId.get(this.#numbers[number] ?? "");
      if (!sensor) return;
      heard.add(sensor);
      // In words, and why it is not good, is in no message of the stream. Who is silent cannot be asked either.
      const isOther = quality !== sensor.info.quality || (sensor.info.reading.case === "discreteReading" && sensor.value !== value && sensor.beat > 0);
      if (isOther && message.epoch) this.#ask(sensor.id);
      // How it is now nobody can say: what was wrong when it was last known may be wrong still.
      sensor.take(value, this.#isSilent && quality === SensorQuality.STALE ? sensor.status : said[1], quality, said[3]);
    });
    // Sensors of the bus that was read and are not in the message show the same, measured now.
    if (message.full || !message.bus) return;
    for (const sensor of this.list) {
      if (heard.has(sensor) || (sensor.info.bus ?? "") !== message.bus) continue;
      if (sensor.quality === SensorQuality.GOOD) sensor.at = time;
      sensor.remember();
    }
  }
}

export const readings = new Readings();
