/**
 * Machines of a test as Linux network namespaces, each with one cable (a veth pair) to a switch (a bridge in a namespace of its
 * own). Needs root. Names are the test's own, and nothing outside the namespaces is touched.
 *
 * ```
 *  machine a: eth0 10.77.0.1 ── port-a ┐
 *  machine b: eth0 10.77.0.2 ── port-b ┼ bridge, in the namespace of the switch
 *  machine c: eth0 10.77.0.3 ── port-c ┘
 * ```
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { signal } from './elasticRun.ts';

/** How the machines of a network differ from those with one address each. */
export interface NetworkOptions {
  /**
   * Each has a bridge for containers too, `docker0`, which the system lists before the cable and which has the same address on every
   * machine; and on the cable an IPv6 address.
   */
  readonly manyAddresses?: boolean;
}

const run = promisify(execFile);
const ip = (...args: readonly string[]) => run('ip', args);
const namespacesFolder = '/run/netns';

/** A link that is slow, or loses something. */
export type Impairment = 'netem' | 'nft' | 'tbf';

export class Network {
  readonly #prefix = `lockstep-test-${process.pid}-${randomBytes(3).toString('hex')}`;
  readonly #machines: readonly string[];
  readonly #options: NetworkOptions;

  private constructor(machines: readonly string[], options: NetworkOptions) {
    this.#machines = machines;
    this.#options = options;
  }

  /** Why there can be none here; undefined if there can. */
  static async obstacle(): Promise<string | undefined> {
    if (process.platform !== 'linux') return `needs Linux, this is ${process.platform}`;
    if (process.getuid?.() !== 0) return 'needs root';
    return Network.open(['a']).then(
      (network) => network.close().then(() => undefined),
      (error: Error) => `cannot make network namespaces: ${error.message.trim()}`,
    );
  }

  /** @throws Error with what `ip` said; nothing is left then */
  static async open(machines: readonly string[], options: NetworkOptions = {}): Promise<Network> {
    const network = new Network(machines, options);
    try {
      await network.#build();
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  async #build(): Promise<void> {
    const hub = this.#namespace('switch');
    await ip('netns', 'add', hub);
    await ip('-n', hub, 'link', 'add', 'bridge', 'type', 'bridge');
    await ip('-n', hub, 'link', 'set', 'bridge', 'up');
    for (const machine of this.#machines) {
      const name = this.#namespace(machine);
      const port = `port-${machine}`;
      await ip('netns', 'add', name);
      await ip('-n', name, 'link', 'set', 'lo', 'up');
      if (this.#options.manyAddresses) await this.#addBridge(name);
      await ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port, 'netns', hub);
      await ip('-n', name, 'address', 'add', `${this.address(machine)}/24`, 'dev', 'eth0');
      if (this.#options.manyAddresses) {
        await ip('-n', name, 'address', 'add', `${this.address6(machine)}/64`, 'dev', 'eth0', 'nodad');
      }
      await ip('-n', name, 'link', 'set', 'eth0', 'up');
      await ip('-n', hub, 'link', 'set', port, 'master', 'bridge', 'up');
    }
    for (const machine of this.#machines) await this.#awaitLinks(this.#namespace(machine));
  }

  /** Resolves when the system calls every link of a namespace running, up to a second late: before, Node does not list its addresses. */
  async #awaitLinks(name: string): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt++) {
      const links = JSON.parse((await ip('-n', name, '-j', 'link')).stdout) as { ifname: string; operstate: string }[];
      if (links.every(({ ifname, operstate }) => !['eth0', 'docker0'].includes(ifname) || operstate === 'UP')) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`the links of ${name} do not come up: ${(await ip('-n', name, 'link')).stdout}`);
  }

  /** A bridge shows as running only while something hangs on it: the end of a cable whose other end is a container's. */
  async #addBridge(name: string): Promise<void> {
    await ip('-n', name, 'link', 'add', 'docker0', 'type', 'bridge');
    await ip('-n', name, 'address', 'add', '172.17.0.1/16', 'dev', 'docker0');
    await ip('-n', name, 'link', 'add', 'veth0', 'type', 'veth', 'peer', 'name', 'container0');
    for (const end of ['veth0', 'container0']) await ip('-n', name, 'link', 'set', end, 'up');
    await ip('-n', name, 'link', 'set', 'veth0', 'master', 'docker0');
    await ip('-n', name, 'link', 'set', 'docker0', 'up');
  }

  address(machine: string): string {
    return `10.77.0.${this.#machines.indexOf(machine) + 1}`;
  }

  /** For a network with many addresses. */
  address6(machine: string): string {
    return `fd77::${this.#machines.indexOf(machine) + 1}`;
  }

  /** The command that runs another one on the machine, in its place. */
  within(machine: string): readonly string[] {
    return ['ip', 'netns', 'exec', this.#namespace(machine)];
  }

  /** The cable of the machine is pulled, or plugged in again. Nobody's connections are told. */
  async plug(machine: string, state: 'up' | 'down'): Promise<void> {
    await ip('-n', this.#namespace('switch'), 'link', 'set', `port-${machine}`, state);
  }

  /** Machines that are isolated reach those that are not, and not each other. */
  async isolate(machine: string, state: 'on' | 'off'): Promise<void> {
    const port = ['dev', `port-${machine}`, 'type', 'bridge_slave'];
    await ip('-n', this.#namespace('switch'), 'link', 'set', ...port, 'isolated', state);
  }

  /**
   * From now on the way to the machine delays and loses packets: by chance (netem: 20 ms ± 5 ms and 1 %; nft: 1 %), or since it
   * is slow and has little room for those that wait (tbf).
   * @throws Error if the tool or the kernel cannot do it
   */
  async impair(machine: string, how: Impairment): Promise<void> {
    const hub = this.#namespace('switch');
    const qdisc = ['-n', hub, 'qdisc', 'add', 'dev', `port-${machine}`, 'root'];
    const chain = 'type filter hook input priority 0; numgen random mod 100 < 1 drop';
    if (how === 'netem') await run('tc', [...qdisc, 'netem', 'delay', '20ms', '5ms', 'loss', '1%']);
    else if (how === 'tbf') await run('tc', [...qdisc, 'tbf', 'rate', '40mbit', 'burst', '16kb', 'limit', '48kb']);
    else await this.#run(machine, 'nft', `table inet lossy { chain input { ${chain}; }; }`);
  }

  /** Packets that the slow way to the machine had no room for. */
  async droppedOnTheWay(machine: string): Promise<number> {
    const args = ['-n', this.#namespace('switch'), '-s', 'qdisc', 'show', 'dev', `port-${machine}`];
    const { stdout } = await run('tc', args);
    return Number(/dropped (\d+)/.exec(stdout)?.[1]);
  }

  /** Where programs of the machine listen by IPv4, other than on loopback: `10.77.0.1:5555`. */
  async listening(machine: string): Promise<string[]> {
    const [file = '', ...args] = [...this.within(machine), 'cat', '/proc/net/tcp'];
    const { stdout } = await run(file, args);
    const found = [...stdout.matchAll(/^ *\d+: ([0-9A-F]{8}):([0-9A-F]{4}) \S+ 0A /gm)].map(
      ([, host = '', port = '']) => {
        // The bytes of an address are in the order of the machine.
        const bytes = [...Buffer.from(host, 'hex').reverse()];
        return `${bytes.join('.')}:${Number.parseInt(port, 16)}`;
      },
    );
    return found.filter((address) => !address.startsWith('127.'));
  }

  /** Processes of all machines. */
  async pids(): Promise<number[]> {
    const found = await Promise.all(
      (await this.namespaces()).map(async (name) => (await ip('netns', 'pids', name)).stdout.trim().split(/\s+/)),
    );
    return found.flat().filter(Boolean).map(Number);
  }

  /** Those of this network that exist. */
  async namespaces(): Promise<string[]> {
    const names = await readdir(namespacesFolder).catch(() => []);
    return names.filter((name) => name.startsWith(`${this.#prefix}-`));
  }

  /** Ends whatever still runs on the machines, and removes them with their cables. */
  async close(): Promise<void> {
    for (const pid of await this.pids()) signal(pid, 'SIGKILL');
    for (const name of await this.namespaces()) await ip('netns', 'delete', name);
  }

  #namespace(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  async #run(machine: string, ...command: readonly string[]): Promise<void> {
    const [file = '', ...args] = [...this.within(machine), ...command];
    await run(file, args);
  }
}
