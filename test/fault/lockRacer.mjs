/**
 * Run by lockRace.test.ts in a process of its own: claims each of the locks named in its arguments, at the agreed time, and prints
 * those that it got. It keeps them until it is killed.
 */
import { claimLock } from '../../dist/base/lockFile.js';

const [startMs, ...paths] = process.argv.slice(2);
await new Promise((resolve) => setTimeout(resolve, Number(startMs) - Date.now()));
for (const path of paths) {
  const isMine = await claimLock(path, { refusal: (who) => `${who} has it` }).then(
    () => true,
    () => false,
  );
  if (isMine) process.stdout.write(`${path}\n`);
}
process.stdout.write('done\n');
setInterval(() => {}, 1_000);
