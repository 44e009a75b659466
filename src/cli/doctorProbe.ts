/**
 * Tries one engine in a process of its own, for `launch doctor`: a driver that crashes or talks on the console then takes nothing
 * with it. Arguments: name and device. Prints an EngineProbe as one line of JSON.
 */
import { ENGINE_TARGETS, probeEngine } from '../engine/registry.ts';

const [name, device] = process.argv.slice(2);
const target = ENGINE_TARGETS.find((candidate) => candidate.name === name && candidate.device === device);
if (target === undefined) throw new Error(`no engine ${name} on ${device}`);
process.stdout.write(`\n${JSON.stringify(await probeEngine(target))}\n`);
