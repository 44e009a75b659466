/**
 * Which engine runs: from a name, a kind of device and an index to an Engine, with the reason for the choice. What is asked for by name and is not
 * there is a UserError that says what to install; only `auto` chooses, and it says what it took.
 */
import { invariant, messageOf, UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import type { Engine } from './engine.ts';
import type { EngineEntry } from './engineEntry.ts';
import { engines, hasDeviceKinds } from './engines.ts';
import { EngineUnavailableError } from './engineUnavailable.ts';
import type { EnginePrecision } from './precision.ts';
import { tryEngine } from './trial.ts';

/** Engines by name. */
export type EngineTable = Readonly<Record<string, EngineEntry>>;

/** Which engine, on which device. A worker passes `localIndex`, and has a device of its own where there are several. */
export interface EngineOptions {
  /** `auto`: the first of the table that is present: a GPU, else the native engine where it is built, else TensorFlow.js. */
  readonly name: string;
  /** One of the engine's kinds of device; `auto` (or absent) is its usual one. */
  readonly deviceKind?: string | undefined;
  /** Which device of that kind, from 0; `auto` (or absent): that of `localIndex`; more workers than devices share them in turn. */
  readonly device?: number | 'auto' | undefined;
  /** Which of the workers that share this machine's devices the engine is for, from 0. Default 0. */
  readonly localIndex?: number | undefined;
  /** Threads of the host, for engines that compute on them; 0 or absent: one for each core. */
  readonly threads?: number | undefined;
  /** What of the device computes, where it can be asked for: an instruction set of the native engine. */
  readonly unit?: string | undefined;
  /** The precision of the products; `auto` takes only engines that have it. Default float32. */
  readonly precision?: EnginePrecision | undefined;
}

/** All keys of the group `engine` of a config are among them: `config.engine` may be given as it is. */
export const engineOptionNames = {
  name: true,
  deviceKind: true,
  device: true,
  localIndex: true,
  threads: true,
  unit: true,
  precision: true,
} satisfies OptionNames<EngineOptions>;

/** One engine on one kind of device, as `launch doctor` lists them. */
export interface EngineTarget {
  readonly name: string;
  readonly deviceKind: string;
}

/** An engine to start, and the reason for choosing it. */
export interface EngineChoice extends EngineTarget {
  /** Threads of the host; 0: one for each core. */
  readonly threads: number;
  readonly reason: string;
  /** It takes the place of faster ones that are missing, as `reason` says. */
  readonly isFallback?: boolean;
}

/** That `auto` has no engine to choose. */
export interface NoEngine {
  /** Why none is available, and what to do to have one. */
  readonly missing: string;
}

/** What was found of one engine and kind of device. */
export interface EngineProbe extends EngineTarget {
  /** It starts, and multiplies matrices correctly. */
  readonly available: boolean;
  /** What it runs on, or why it is not available. */
  readonly detail: string;
  /** What to do to have it. */
  readonly install: string;
  /** A line for each of its devices, for engines that may have several. */
  readonly devices?: readonly string[];
}

/** Every engine on every kind of device. */
export const ENGINE_TARGETS: readonly EngineTarget[] = Object.entries(engines as EngineTable).flatMap(
  ([name, { deviceKinds }]) => deviceKinds.map((deviceKind) => ({ name, deviceKind })),
);

/**
 * Decides without starting anything; whether what is asked for is there shows when it is started.
 * @throws UserError if the choice is left to `auto`, and no engine is available
 */
export async function selectEngine(options: EngineOptions, table: EngineTable = engines): Promise<EngineChoice> {
  const found = await findEngine(options, table);
  if ('missing' in found) throw new UserError(found.missing);
  return found;
}

/** As `selectEngine`, for what works without an engine too: that none is available is an answer, not an error. */
export async function findEngine(
  { name, deviceKind = 'auto', threads = 0, precision = 'float32' }: EngineOptions,
  table: EngineTable = engines,
): Promise<EngineChoice | NoEngine> {
  const choice = (chosen: string, reason: string): EngineChoice => {
    const { deviceKinds, defaultDeviceKind } = entryOf(chosen, table);
    const on = deviceKind === 'auto' ? defaultDeviceKind : deviceKind;
    if (deviceKinds.includes(on)) return { name: chosen, deviceKind: on, threads, reason };
    const others = Object.keys(table).filter((other) => table[other]!.deviceKinds.includes(on));
    const hint = others.length > 0 ? `: set engine.name to ${others.join(' or ')} for that` : '';
    throw new UserError(`engine ${chosen} runs on ${deviceKinds.join(', ')}, not on ${on}${hint}`);
  };
  if (name !== 'auto') return choice(name, `engine ${name} was requested`);
  const reasons: string[] = [];
  const usual: string[] = [];
  for (const [candidate, entry] of Object.entries(table)) {
    if (deviceKind !== 'auto') {
      if (hasDeviceKinds(entry) && entry.deviceKinds.includes(deviceKind))
        return choice(candidate, `${deviceKind} was requested`);
      continue;
    }
    if (!entry.precisions.includes(precision)) continue;
    const presence = await entry.presence();
    if ('found' in presence) {
      if (reasons.length === 0) return choice(candidate, presence.found);
      return { ...choice(candidate, reasons.join('; ')), isFallback: true };
    }
    (presence.isUsual ? usual : reasons).push(presence.missing);
  }
  const why = reasons.join('; ') || usual.join('; ') || `none runs on ${deviceKind}`;
  if (precision === 'float32') return { missing: `no engine is available: ${why}` };
  return {
    missing: `no engine with precision ${precision} is available: ${why}; set engine.precision to float32 to use another`,
  };
}

/**
 * The text of a warning about an engine: it takes the place of faster ones, or people should know something of its devices. Undefined if
 * there is nothing to say.
 * @throws UserError if its devices are not available
 */
export async function engineWarning(
  { name, deviceKind, reason, isFallback = false }: EngineChoice,
  table: EngineTable = engines,
): Promise<string | undefined> {
  if (isFallback) return `using the engine ${name} (${deviceKind}), many times slower: ${reason}`;
  return await entryOf(name, table).caution?.();
}

/** Starts the engine that `selectEngine` chooses. Throws a UserError if it is not available, saying what to install, and for an unknown option. */
export async function createEngine(options: EngineOptions, table: EngineTable = engines): Promise<Engine> {
  checkOptionNames('createEngine', options, engineOptionNames);
  const target = await selectEngine(options, table);
  const { name, deviceKind, threads } = target;
  const { unit = 'auto' } = options;
  const entry = entryOf(name, table);
  if (unit !== 'auto' && entry.units === undefined) {
    throw new UserError(`the unit ${unit} was requested, but the engine ${name} has only one`);
  }
  const device = await deviceOf(options, target, entry);
  return await entry.start({ deviceKind, device, threads, unit });
}

/** The device that a worker takes. @throws UserError that says which there are */
async function deviceOf(
  { device = 'auto', localIndex = 0 }: EngineOptions,
  { name, deviceKind }: EngineTarget,
  entry: EngineEntry,
): Promise<number> {
  const devices = await entry.devices?.(deviceKind);
  if (devices === undefined) {
    if (device === 'auto' || device === 0) return 0;
    throw new UserError(
      `device ${device} was requested, but the engine ${name} has one (${deviceKind}), which all workers of a machine share: ` +
        'set engine.device to auto',
    );
  }
  const index = device === 'auto' ? localIndex % devices.length : device;
  if (index < devices.length) return index;
  const list = devices.map((text, i) => `${i}: ${text}`).join(', ');
  throw new UserError(
    `device ${device} was requested, but the engine ${name} finds ${devices.length} here (${list}): set engine.device to one of these, or to auto`,
  );
}

/** The devices that `workers` workers of this machine take, for engines with several; undefined for others. */
export async function devicesOf(
  { name, deviceKind }: EngineTarget,
  table: EngineTable = engines,
): Promise<readonly string[] | undefined> {
  return await entryOf(name, table).devices?.(deviceKind);
}

/** What of a device may compute, best first: instruction sets, for the native engine. */
export function unitsOf(name: string): readonly string[] {
  return entryOf(name, engines).units?.() ?? [];
}

/** An engine that takes the memory that the native engine takes, and computes nothing. */
export function planEngine(): Engine {
  return engines.native.plan();
}

/**
 * The same for the device that a worker takes, where the engine of the choice has devices with memory of their own; undefined for others.
 * @throws UserError if it is not available
 */
export async function planDeviceEngine(
  options: EngineOptions,
  choice: EngineChoice,
  table: EngineTable = engines,
): Promise<Engine | undefined> {
  const entry = entryOf(choice.name, table);
  return await entry.planDevice?.(await deviceOf(options, choice, entry));
}

/** What to do to have an engine on a kind of device. */
export function installHint({ name, deviceKind }: EngineTarget): string {
  return entryOf(name, engines).installHint(deviceKind);
}

/** Starts an engine, multiplies two matrices on it, ends it. */
export async function probeEngine(target: EngineTarget): Promise<EngineProbe> {
  const install = installHint(target);
  const listed = async () => {
    const devices = await entryOf(target.name, engines).details?.();
    return devices === undefined || devices.length === 0 ? {} : { devices };
  };
  try {
    const engine = await createEngine(target);
    const { correct, maxError } = await tryEngine(engine).finally(() => engine.dispose());
    const detail = correct ? engine.description : `${engine.description} multiplies wrongly: off by ${maxError}`;
    return { ...target, available: correct, detail, install, ...(await listed()) };
  } catch (error) {
    const { reason: detail = messageOf(error), cure = install } =
      error instanceof EngineUnavailableError ? error : ({} as Partial<EngineUnavailableError>);
    const devices = await listed().catch(() => ({})); // the same error
    return { ...target, available: false, detail, install: cure, ...devices };
  }
}

function entryOf(name: string, table: EngineTable): EngineEntry {
  const entry = table[name];
  invariant(entry !== undefined, `there is no engine ${name}; there are ${Object.keys(table).join(', ')}`);
  return entry;
}
