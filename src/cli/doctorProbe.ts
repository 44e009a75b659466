/**
 * Tries one engine in a process of its own, for `launch doctor`: a driver that crashes or talks on the console then takes nothing
 * with it. Arguments: name and kind of device. Prints an EngineProbe as one line of JSON.
 */
import { ENGINE_TARGETS, probeEngine } from '../engine/registry.ts';

const [name, kind] = process.argv.slice(2);
const target = ENGINE_TARGETS.find((candidate) => candidate.name === name && candidate.deviceKind === kind);
if (target === undefined) throw new Error(`no engine ${name} on ${kind}`);
process.stdout.write(`\n${JSON.stringify(await probeEngine(target))}\n`);
