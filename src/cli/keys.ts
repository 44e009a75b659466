/** `launch keys`: the key files of a run before it starts, for machines that all start at once, and for Secrets. */
import type { CommandModule } from 'yargs';
import { shortPath } from '../base/shortPath.ts';
import { userPath } from '../base/userPath.ts';
import { joinKeyVariable } from '../comm/runKeys.ts';
import { RunFolder } from '../run/runFolder.ts';
import { makeKeyFiles, runKeyVariable } from '../run/runKeyFiles.ts';
import { print } from './output.ts';

interface KeysArguments {
  out: string;
}

export const keysCommand: CommandModule<object, KeysArguments> = {
  builder: (yargs) =>
    yargs
      .option('out', {
        type: 'string',
        requiresArg: true,
        demandOption: true,
        describe: 'Folder for run.key and join.key, which must not exist there yet',
      })
      .example('$0 keys --out keys', 'then: $0 --run-key keys/run.key, and elsewhere: $0 join ADDRESS --key join.key'),
  handler: async ({ out }) => {
    const folder = new RunFolder(userPath(process.cwd(), out));
    await makeKeyFiles(folder);
    print(`${shortPath(folder.runKeyPath)} for the coordinator: --run-key FILE, or its contents in ${runKeyVariable}`);
    print(`${shortPath(folder.joinKeyPath)} for joining: --key FILE, or its contents in ${joinKeyVariable}`);
  },
};
