/** Finds and reads the files of a tokenizer given by path: those of Hugging Face's fast tokenizers. */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { messageOf, UserError } from '../../base/errors.ts';
import { inFolder, isObjectPath } from '../../base/objectPath.ts';
import { storedPath } from '../../base/userPath.ts';
import { isStored, isStoredFolder, readStored } from '../../objectStore/storedFiles.ts';
import { GENERATION_CONFIG_FILE } from './tokenizerFiles.ts';

const mainFile = 'tokenizer.json';
const settingsFiles = [
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  // Beside a model's tokenizer: further tokens that end an answer.
  GENERATION_CONFIG_FILE,
];
/** The largest published ones have about 35 MB. */
const fileBytesMax = 200_000_000;

export interface TokenizerFolder {
  /** By name; only tokenizer.json is required. */
  readonly files: Readonly<Record<string, string>>;
  /** The name in messages. */
  readonly folder: string;
}

/** Reads `path`, a tokenizer.json or its folder; a relative path starts at `cwd`; `s3://…` is in an object store. Throws a UserError if it is missing. */
export async function readTokenizerFiles(path: string, cwd: string): Promise<TokenizerFolder> {
  const found = storedPath(cwd, path);
  const isFolder = await isStoredFolder(found);
  const folder = isFolder ? found : dirname(found);
  const files: Record<string, string> = {
    [mainFile]: await readText(isFolder ? inFolder(found, mainFile) : found, path),
  };
  // For a file with another name, the files beside it may belong to something else.
  if (isFolder || basename(found) === mainFile) {
    for (const name of settingsFiles) {
      const file = inFolder(folder, name);
      if (await isStored(file)) files[name] = await readText(file, path);
    }
  }
  // Without it, Hugging Face's libraries load the tokenizer of the model's kind instead of tokenizer.json.
  files['tokenizer_config.json'] ??=
    `${JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast' }, undefined, 2)}\n`;
  return { files, folder: isFolder ? path : dirname(path) };
}

async function readText(file: string, path: string): Promise<string> {
  if (isObjectPath(file)) return (await readStored(file, fileBytesMax)).toString();
  try {
    const { size } = await stat(file);
    if (size > fileBytesMax) {
      throw new UserError(
        `data.tokenizer: ${file} has ${size} bytes: expected a tokenizer.json of at most ${fileBytesMax}.`,
      );
    }
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof UserError) throw error;
    const what = messageOf(error);
    throw new UserError(
      `data.tokenizer: ${path}: expected Hugging Face's tokenizer.json or a folder that has one, but ${file} cannot be read: ${what}.`,
    );
  }
}
