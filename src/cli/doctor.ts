/** `launch doctor`: which engines this machine has, each really tried, and what it is made of. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { CommandModule } from 'yargs';
import { messageOf } from '../base/errors.ts';
import {
  type InstructionSet,
  instructionSetNames,
  instructionSets,
  isInstructionSet,
} from '../base/instructionSets.ts';
import { ownCommand } from '../base/ownCommand.ts';
import {
  ENGINE_TARGETS,
  type EngineChoice,
  type EngineProbe,
  type EngineTarget,
  selectEngine,
} from '../engine/registry.ts';
import { type MachineFacts, machineFacts } from './machineFacts.ts';

/** A driver may compile its first kernels for long, but not for ever. */
const PROBE_TIMEOUT_MS = 60_000;

export interface DoctorReport {
  readonly machine: MachineFacts;
  readonly engines: readonly EngineProbe[];
  /** What `engine.name: auto` takes here. */
  readonly auto: EngineChoice;
}

export const doctorCommand: CommandModule<object, { json: boolean }> = {
  builder: (yargs) =>
    yargs
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object instead of text' })
      .example('$0 doctor', 'try every engine and say what to install for the others')
      .epilogue('Exit code: 0 if at least one engine works, else 1.'),
  handler: async ({ json }) => {
    const report = await examine();
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report));
    if (!report.engines.some(({ available }) => available)) process.exitCode = 1;
  },
};

async function examine(): Promise<DoctorReport> {
  const machine = await machineFacts();
  const engines: EngineProbe[] = [];
  // One after another: they share the cores, and a slow driver must not fail the others.
  for (const target of ENGINE_TARGETS) engines.push(await probeInProcess(target));
  return { machine, engines, auto: selectEngine({ name: 'auto' }) };
}

async function probeInProcess(target: EngineTarget): Promise<EngineProbe> {
  // doctorProbe.js beside doctor.js.
  const program = fileURLToPath(import.meta.url).replace(/doctor(\.\w+)$/, 'doctorProbe$1');
  try {
    const run = promisify(execFile);
    const { stdout } = await run(process.execPath, [program, target.name, target.deviceKind], {
      timeout: PROBE_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as EngineProbe;
  } catch (error) {
    return {
      ...target,
      available: false,
      detail: `its process failed: ${lastLine(error)}`,
      // It was found, or it could not have failed so.
      install: 'a newer driver of the device, or another engine',
    };
  }
}

/** Of a process that failed: the signal or code, and the last thing it said. */
function lastLine(error: unknown): string {
  const { signal, code, stderr } = error as { signal?: string; code?: number | string; stderr?: string };
  const said = stderr?.trim().split('\n').at(-1) || messageOf(error).split('\n', 1)[0];
  return `${signal ?? `exit code ${code}`}: ${said}`;
}

const bf16Texts = {
  yes: (label: string) => `is accelerated here, by ${label}`,
  sometimes: (label: string) =>
    `has ${label} here, faster than float32 on some processors: see ${ownCommand('bench', 'step')}`,
  no: () => {
    const fast = instructionSetNames.filter((name) => instructionSets[name].fastBf16 !== 'no');
    return `works here but is not accelerated: that takes a processor with ${fast.map((name) => instructionSets[name].label).join(' or ')}`;
  },
} as const satisfies Record<(typeof instructionSets)[InstructionSet]['fastBf16'], (label: string) => string>;

/** Whether `engine.precision: bf16` is faster here than float32. */
function bf16Report([best]: readonly string[]): string {
  if (best === undefined) return 'engine.precision: bf16 needs the native engine';
  const { label, fastBf16 } = isInstructionSet(best) ? instructionSets[best] : { label: best, fastBf16: 'no' as const };
  return `engine.precision: bf16 ${bf16Texts[fastBf16](label)}`;
}

const GIB = 2 ** 30;

/** The report for people. */
export function renderReport({ machine, engines, auto }: DoctorReport): string {
  const { versions } = machine;
  const lines = [
    `lockstep ${versions.lockstep}, node ${versions.node}, zeromq ${versions.zeromq}, tfjs ${versions.tfjs}`,
    `${machine.cpu}: ${machine.cores} ${machine.cores === 1 ? 'core' : 'cores'}, ${machine.platform}${machine.isa.map((set) => `, ${set}`).join('')}`,
    `memory ${(machine.memoryBytes / GIB).toFixed(1)} GiB, ${(machine.memoryFreeBytes / GIB).toFixed(1)} GiB free`,
    '',
    'engines (each started and its matrix product checked):',
  ];
  for (const { name, deviceKind, available, detail, install } of engines) {
    lines.push(`  ${available ? 'ok     ' : 'missing'}  ${`${name} ${deviceKind}`.padEnd(16)} ${detail}`);
    if (!available) lines.push(`${' '.repeat(28)}to have it: ${install}`);
  }
  lines.push('', bf16Report(machine.isa), `engine.name: auto takes ${auto.name} (${auto.deviceKind}): ${auto.reason}`);
  return `${lines.join('\n')}\n`;
}
