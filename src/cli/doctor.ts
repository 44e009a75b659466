/** `launch doctor`: the engines that work on this machine, each of them tried, and facts about the machine. */
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
import { countOf } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import {
  ENGINE_TARGETS,
  type EngineChoice,
  type EngineProbe,
  type EngineTarget,
  findEngine,
  type NoEngine,
} from '../engine/registry.ts';
import { type MachineFacts, machineFacts } from './machineFacts.ts';

/** A driver may take long to compile its first kernels. */
const PROBE_TIMEOUT_MS = 60_000;

export interface DoctorReport {
  readonly machine: MachineFacts;
  readonly engines: readonly EngineProbe[];
  /** The engine that `engine.name: auto` selects here. */
  readonly auto: EngineChoice | NoEngine;
}

export const doctorCommand: CommandModule<object, { json: boolean }> = {
  builder: (yargs) =>
    yargs
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('$0 doctor', 'try every engine and say how to get the missing ones')
      .epilogue('Exit code: 0 if at least one engine works, otherwise 1.'),
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
  return { machine, engines, auto: await findEngine({ name: 'auto' }) };
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
      // The engine was found: otherwise it could not fail this way.
      install: 'a newer driver of the device, or another engine',
    };
  }
}

/** The signal or exit code of a failed process, and its last line of output. */
function lastLine(error: unknown): string {
  const { signal, code, stderr } = error as { signal?: string; code?: number | string; stderr?: string };
  const said = stderr?.trim().split('\n').at(-1) || messageOf(error).split('\n', 1)[0];
  return `${signal ?? `exit code ${code}`}: ${said}`;
}

const bf16Texts = {
  yes: (label: string) => `is accelerated here, by ${label}`,
  sometimes: (label: string) =>
    `uses ${label} here, which is faster than float32 on some processors: compare with ${ownCommand('bench', 'step')}`,
  no: () => {
    const fast = instructionSetNames.filter((name) => instructionSets[name].fastBf16 !== 'no');
    return `works here but is not accelerated: acceleration needs a processor with ${fast.map((name) => instructionSets[name].label).join(' or ')}`;
  },
} as const satisfies Record<(typeof instructionSets)[InstructionSet]['fastBf16'], (label: string) => string>;

/** Whether `engine.precision: bf16` is faster than float32 on this machine. */
function bf16Report([best]: readonly string[]): string {
  if (best === undefined) return 'engine.precision: bf16 needs the native engine';
  const { label, fastBf16 } = isInstructionSet(best) ? instructionSets[best] : { label: best, fastBf16: 'no' as const };
  return `engine.precision: bf16 ${bf16Texts[fastBf16](label)}`;
}

const GIB = 2 ** 30;

/** The report as text. */
export function renderReport({ machine, engines, auto }: DoctorReport): string {
  const { versions } = machine;
  const lines = [
    `lockstep ${versions.lockstep}, node ${versions.node}, zeromq ${versions.zeromq}, tfjs ${versions.tfjs}`,
    `${machine.cpu}: ${countOf(machine.cores, 'core')}, ${machine.platform}${machine.isa.map((set) => `, ${set}`).join('')}`,
    `memory ${(machine.memoryBytes / GIB).toFixed(1)} GiB, ${(machine.memoryFreeBytes / GIB).toFixed(1)} GiB free`,
    '',
    'engines (each started and its matrix product checked):',
  ];
  for (const { name, deviceKind, available, detail, install, devices = [] } of engines) {
    lines.push(`  ${available ? 'ok     ' : 'missing'}  ${`${name} ${deviceKind}`.padEnd(16)} ${detail}`);
    if (!available) lines.push(`${' '.repeat(28)}to get it: ${install}`);
    for (const [i, device] of devices.entries()) lines.push(`${' '.repeat(28)}device ${i}: ${device}`);
  }
  lines.push(
    '',
    bf16Report(machine.isa),
    'missing' in auto ? auto.missing : `engine.name: auto selects ${auto.name} (${auto.deviceKind}): ${auto.reason}`,
  );
  return `${lines.join('\n')}\n`;
}
