/**
 * Machines of a network (network.ts) that `ssh` reaches: each has an sshd of its own, with host keys, configuration and authorized keys
 * in a folder of the test. An `ssh` in that folder adds the configuration of a client; nothing of the user's is read or changed.
 */
import { execFile, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { Network } from './network.ts';

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

  /** @param folder for files of the test. @param names of machines that get an sshd */
  static async open(network: Network, folder: string, names: readonly string[]): Promise<SshMachines> {
    const machines = new SshMachines(network, folder);
    await machines.#configure(names);
    for (const name of names) await machines.#start(name);
    return machines;
  }

  async #configure(names: readonly string[]): Promise<void> {
    await mkdir(this.#path('bin'), { recursive: true });
    await chmod(this.#folder, 0o700);
    for (const key of ['host', 'user']) {
      const generated = run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', this.#path(key)]);
      // It would wait for an answer for ever.
      generated.child.stdin?.end();
      await generated;
    }
    const [hostKey = '', userKey] = await Promise.all(
      ['host.pub', 'user.pub'].map((name) => readFile(join(this.#folder, name), 'utf8')),
    );
    await writeFile(this.#path('authorized_keys'), userKey ?? '', { mode: 0o600 });
    const known = names.map((name) => `[${name}]:${port} ${hostKey}`);
    await writeFile(this.#path('known_hosts'), known.join(''));
    const hosts = names.map((name) => `${this.#network.address(name)} ${name}\n`);
    await writeFile(this.#path('hosts'), `127.0.0.1 localhost\n${hosts.join('')}`);
    const client = [
      'Host *',
      `  Port ${port}`,
      `  IdentityFile ${this.#path('user')}`,
      '  IdentitiesOnly yes',
      `  UserKnownHostsFile ${this.#path('known_hosts')}`,
      '  GlobalKnownHostsFile /dev/null',
      '  ConnectTimeout 5',
    ];
    await writeFile(this.#path('client'), `${client.join('\n')}\n`);
    const script = `#!/bin/sh\nexec /usr/bin/ssh -F '${this.#path('client')}' "$@"\n`;
    await writeFile(join(this.#folder, 'bin', 'ssh'), script, { mode: 0o755 });
  }

  async #start(name: string): Promise<void> {
    const server = [
      `ListenAddress ${this.#network.address(name)}:${port}`,
      `HostKey ${this.#path('host')}`,
      `AuthorizedKeysFile ${this.#path('authorized_keys')}`,
      'PidFile none',
      'UsePAM no',
      'PermitRootLogin prohibit-password',
      'PasswordAuthentication no',
      'StrictModes no',
    ];
    const path = this.#path(`server-${name}`);
    await writeFile(path, `${server.join('\n')}\n`);
    const [command = '', ...words] = [...this.within(name), sshd, '-D', '-e', '-f', path];
    const daemon = spawn(command, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    while (!said.includes('Server listening')) {
      if (daemon.exitCode !== null || daemon.signalCode !== null) throw new Error(`sshd of ${name}: ${said}`);
      await after(20);
    }
  }

  /**
   * The command that runs another one on the machine, in its place: with the machine's host name, the names of all in /etc/hosts, and a
   * /run with the folder that sshd insists on. Only that process sees these.
   */
  within(name: string): readonly string[] {
    const mounts = 'mount -t tmpfs run /run && mkdir /run/sshd && mount --bind "$1" /etc/hosts';
    const script = `${mounts} && hostname "$0" && shift && exec "$@"`;
    return [
      ...this.#network.within(name),
      'unshare',
      '--mount',
      '--uts',
      'sh',
      '-c',
      script,
      name,
      this.#path('hosts'),
    ];
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  /** What finds this `ssh` first. */
  get env(): Record<string, string> {
    return { PATH: `${this.#path('bin')}${delimiter}${process.env['PATH']}` };
  }
}

/** What {@link useSshMachines} makes for each test. */
export interface SshNetwork {
  readonly network: Network;
  readonly machines: SshMachines;
}

/**
 * Machines a and b for each test of a `describe`, which leave nothing. Both have the files of this one, and so the same installation in the
 * same folder.
 * @param folder of the tests
 */
export function useSshMachines(folder: () => string): () => SshNetwork {
  let open: SshNetwork | undefined;
  beforeEach(async () => {
    const network = await Network.open(['a', 'b']);
    // Keys are made once in a folder: ssh-keygen asks before it replaces one.
    const machines = await SshMachines.open(network, await mkdtemp(join(folder(), 'ssh-')), ['a', 'b']);
    open = { network, machines };
    await symlink(join(packageRoot, 'node_modules'), join(folder(), 'node_modules')).catch(() => undefined);
  });
  afterEach(async () => {
    await open?.network.close();
    expect(await open?.network.namespaces()).toEqual([]);
  });
  return () => {
    if (open === undefined) throw new Error('only within a test');
    return open;
  };
}
