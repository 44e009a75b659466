// Tells whether what was built is still current: a stamp beside the output holds a hash of all that it was made of. `npx launch` in a
// checkout makes npm run `install` and `prepare` again, which then have nothing to do.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A hash of files, with their names, and of facts.
 * @param {string} root
 * @param {readonly string[]} sources files and folders in it; those that do not exist count as absent
 * @param {readonly string[]} facts of the machine: a compiler's version
 */
export function hashOf(root, sources, facts) {
  const hash = createHash('sha256').update(JSON.stringify(facts));
  const add = (name) => {
    const path = join(root, name);
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const inside of readdirSync(path).sort()) add(join(name, inside));
      return;
    }
    const bytes = readFileSync(path);
    hash.update(`\n${name} ${bytes.length}\n`).update(bytes);
  };
  for (const source of sources) add(source);
  return hash.digest('hex');
}

/**
 * Whether all `outputs` exist and were built from the inputs that `hash` describes.
 * @param {readonly string[]} outputs files and folders
 * @param {string} stamp a file
 * @param {string} hash
 */
export function isCurrent(outputs, stamp, hash) {
  return outputs.every((output) => existsSync(output)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
}

/**
 * Makes an output anew. The stamp is gone while it is made, so that one that was begun only does not count.
 * @param {string} stamp
 * @param {string} hash
 * @param {() => Promise<boolean>} make whether it succeeded
 */
export async function makeStamped(stamp, hash, make) {
  rmSync(stamp, { force: true });
  if (await make()) writeFileSync(stamp, hash);
}
