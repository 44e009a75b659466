/**
 * Lockstep's own two JSON files in a checkpoint folder, with their schemas and versions, and the names of all files in it.
 * `manifest.json` is written last and lists every other file with its size and sha256; `trainer.json` has what a resume needs
 * besides tensors. Both are deterministic: they contain no time, host or path.
 */
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { inFolder } from '../base/objectPath.ts';
import { damaged, parseJsonObject } from '../base/strictJson.ts';
import { readStored } from '../objectStore/storedFiles.ts';

export const MANIFEST_FILE = 'manifest.json';
export const TRAINER_FILE = 'trainer.json';
export const CONFIG_FILE = 'config.json';
export const MODEL_FILE = 'model.safetensors';
export const OPTIMIZER_FILE = 'optimizer.safetensors';
const OWN_FILES: readonly string[] = [MANIFEST_FILE, TRAINER_FILE, CONFIG_FILE, MODEL_FILE, OPTIMIZER_FILE];
const REQUIRED_FILES = OWN_FILES.filter((name) => name !== MANIFEST_FILE);

/** Size limits of files that are read into memory. */
const MANIFEST_BYTES_MAX = 2 ** 20;
export const CONFIG_BYTES_MAX = 2 ** 20;
/** The config in it may list a thousand paths. */
const TRAINER_BYTES_MAX = 16 * 2 ** 20;
export const SMALL_FILE_BYTES_MAX = 64 * 2 ** 20;

const FORMAT_VERSION = 1;
const MANIFEST_FORMAT = 'lockstep-checkpoint';
const TRAINER_FORMAT = 'lockstep-trainer';

/** A plain file name: no separator, no leading dot, so that it cannot leave its folder. */
const fileName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/, 'not a plain file name');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'not a sha256 in lower-case hex');
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

const manifestSchema = z.strictObject({
  format: z.literal(MANIFEST_FORMAT),
  version: z.literal(FORMAT_VERSION),
  step: count,
  files: z.record(fileName, z.strictObject({ bytes: count, sha256 })),
});
export type Manifest = z.infer<typeof manifestSchema>;

const trainerSchema = z.strictObject({
  format: z.literal(TRAINER_FORMAT),
  version: z.literal(FORMAT_VERSION),
  step: count,
  seed: z.number().int(),
  data: z.strictObject({
    sha256: z.string().max(128),
    samplesSeen: count,
    reference: sha256.optional(),
    tokensSeen: count.optional(),
    rollouts: z.strictObject({ iteration: count.min(1), sha256 }).optional(),
  }),
  valLoss: z.number().nullable(),
  config: z.record(z.string(), z.unknown()),
});

/** The state of a run after `step` optimizer steps, apart from its tensors. */
export interface TrainerState {
  /** Number of optimizer steps applied to the tensors; training resumes at step number `step` (counted from 0). */
  readonly step: number;
  readonly seed: number;
  readonly data: {
    /** Identifies the tokens. */
    readonly sha256: string;
    /** Number of samples trained on, at any batch size. */
    readonly samplesSeen: number;
    /** Identifies the reference log probabilities of preferences (run/referenceFile.ts). */
    readonly reference?: string | undefined;
    /** Number of tokens trained on, if only the samples tell. */
    readonly tokensSeen?: number | undefined;
    /** The samples that the run wrote itself for its next step; absent between two iterations. */
    readonly rollouts?: { readonly iteration: number; readonly sha256: string } | undefined;
  };
  /** The validation loss at this step, in nats per token; null when it was not measured. */
  readonly valLoss: number | null;
  /** The full resolved config, as written by the config layer's schema. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** @throws UserError unless `name` may be a tokenizer file in a checkpoint */
export function checkTokenizerFileName(name: string): void {
  const result = fileName.safeParse(name);
  if (!result.success || OWN_FILES.includes(name)) {
    throw new UserError(`${JSON.stringify(name)} cannot be the name of a tokenizer file in a checkpoint`);
  }
}

/** The files in a manifest that Lockstep's format does not define: the tokenizer's. */
export function tokenizerFileNames(manifest: Manifest): string[] {
  return Object.keys(manifest.files).filter((name) => !OWN_FILES.includes(name));
}

export function encodeManifest(step: number, files: ReadonlyMap<string, { bytes: number; sha256: string }>): string {
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
  const manifest: Manifest = {
    format: MANIFEST_FORMAT,
    version: FORMAT_VERSION,
    step,
    files: Object.fromEntries(sorted),
  };
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

/** @throws UserError when it is missing, damaged, has another version, or does not list every required file */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = inFolder(folder, MANIFEST_FILE);
  const value = parseJsonObject(await readStored(path, MANIFEST_BYTES_MAX), path);
  checkVersion(value, MANIFEST_FORMAT, path);
  const manifest = parseWith(manifestSchema, value, path);
  for (const name of REQUIRED_FILES) {
    if (!Object.hasOwn(manifest.files, name)) throw damaged(path, `it does not list ${name}`);
  }
  return manifest;
}

export function encodeTrainer(state: TrainerState): string {
  const value: z.infer<typeof trainerSchema> = {
    format: TRAINER_FORMAT,
    version: FORMAT_VERSION,
    step: state.step,
    seed: state.seed,
    data: {
      sha256: state.data.sha256,
      samplesSeen: state.data.samplesSeen,
      ...(state.data.reference !== undefined && { reference: state.data.reference }),
      ...(state.data.tokensSeen !== undefined && { tokensSeen: state.data.tokensSeen }),
      ...(state.data.rollouts && { rollouts: state.data.rollouts }),
    },
    valLoss: state.valLoss !== null && Number.isFinite(state.valLoss) ? state.valLoss : null,
    config: { ...state.config },
  };
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/** @throws UserError when it is missing, damaged or has another version */
export async function readTrainer(folder: string): Promise<TrainerState> {
  const path = inFolder(folder, TRAINER_FILE);
  const value = parseJsonObject(await readStored(path, TRAINER_BYTES_MAX), path);
  checkVersion(value, TRAINER_FORMAT, path);
  const { format: _format, version: _version, ...state } = parseWith(trainerSchema, value, path);
  return state;
}

/** Checks format and version first, so that a newer file is reported as newer rather than damaged. */
function checkVersion(value: Record<string, unknown>, format: string, path: string): void {
  if (value['format'] !== format) {
    throw new UserError(
      `${path} is not a Lockstep file: its format is ${JSON.stringify(value['format'])}, not "${format}"`,
    );
  }
  if (value['version'] !== FORMAT_VERSION) {
    throw new UserError(
      `${path} has format version ${JSON.stringify(value['version'])}; this Lockstep reads version ${FORMAT_VERSION}`,
    );
  }
}

function parseWith<Schema extends z.ZodType>(schema: Schema, value: unknown, path: string): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw damaged(path, `${issue?.path.join('.') || 'content'}: ${issue?.message}`);
}
