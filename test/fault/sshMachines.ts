/**
 * Machines of a network (network.ts) that `ssh` reaches: each has an sshd of its own, with host keys, configuration and authorized keys
 * in a folder of the test. An `ssh` in that folder adds the configuration of a client; nothing of the user's is read or changed.
 */
import { execFile, spawn } from 'node:child_process';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Network } from './network.ts';

const run = promisify(execFile);
const sshd = '/usr/sbin/sshd';
const port = 2222;

export class SshMachines {
  readonly #network: Network;
  readonly #folder: string;

  private constructor(network: Network, folder: string) {
    this.#network = network;
    this.#folder = folder;
  }

  /** Why there can be none here; undefined if there can. */
  static async obstacle(): Promise<string | undefined> {
    return run(sshd, ['-?']).then(
      () => undefined,
      // It knows no such option, and says so.
      (error: Error & { code?: unknown }) => (error.code === 'ENOENT' ? 'needs openssh-server' : undefined),
    );
  }

  /** @param folder empty, of the test. @param names of machines with an sshd, by which `ssh` knows them */
  static async open(network: Network, folder: string, names: readonly string[]): Promise<SshMachines> {
    const machines = new SshMachines(network, folder);
    await machines.#configure(names);
    for (const name of names) await machines.#start(name);
    return machines;
  }

  async #configure(names: readonly string[]): Promise<void> {
    await mkdir(join(this.#folder, 'bin'), { recursive: true });
    await chmod(this.#folder, 0o700);
    for (const key of ['host', 'user']) {
      await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(this.#folder, key)]);
    }
    const [hostKey = '', userKey] = await Promise.all(
      ['host.pub', 'user.pub'].map((name) => readFile(join(this.#folder, name), 'utf8')),
    );
    await writeFile(join(this.#folder, 'authorized_keys'), userKey ?? '', { mode: 0o600 });
    const known = names.map((name) => `[${this.#network.address(name)}]:${port} ${hostKey}`);
    await writeFile(join(this.#folder, 'known_hosts'), known.join(''));
    const hosts = names.map((name) => `Host ${name}\n  HostName ${this.#network.address(name)}\n`);
    const client = [
      ...hosts,
      'Host *',
      `  Port ${port}`,
      `  IdentityFile ${join(this.#folder, 'user')}`,
      '  IdentitiesOnly yes',
      `  UserKnownHostsFile ${join(this.#folder, 'known_hosts')}`,
      '  GlobalKnownHostsFile /dev/null',
      '  ConnectTimeout 5',
    ];
    await writeFile(join(this.#folder, 'client'), `${client.join('\n')}\n`);
    const script = `#!/bin/sh\nexec /usr/bin/ssh -F '${join(this.#folder, 'client')}' "$@"\n`;
    await writeFile(join(this.#folder, 'bin', 'ssh'), script, { mode: 0o755 });
  }

  async #start(name: string): Promise<void> {
    const server = [
      `ListenAddress ${this.#network.address(name)}:${port}`,
      `HostKey ${join(this.#folder, 'host')}`,
      `AuthorizedKeysFile ${join(this.#folder, 'authorized_keys')}`,
      'PidFile none',
      'UsePAM no',
      'PermitRootLogin prohibit-password',
      'PasswordAuthentication no',
      'StrictModes no',
    ];
    const path = join(this.#folder, `server-${name}`);
    await writeFile(path, `${server.join('\n')}\n`);
    // sshd insists on this folder, which Debian makes at its start: in a /run that only this process sees.
    const own = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs run /run && mkdir /run/sshd && exec "$0" "$@"'];
    const [command = '', ...words] = [...this.#network.within(name), ...own, sshd, '-D', '-e', '-f', path];
    const daemon = spawn(command, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    while (!said.includes('Server listening')) {
      if (daemon.exitCode !== null) throw new Error(`sshd of ${name}: ${said}`);
      await after(20);
    }
  }

  /** What finds this `ssh` first. */
  get env(): Record<string, string> {
    return { PATH: `${join(this.#folder, 'bin')}${delimiter}${process.env['PATH']}` };
  }
}
