/** The name server of a network of a test: a file that each machine sees as its /etc/hosts. Needs root, as the network does. */
import { writeFile } from 'node:fs/promises';
import type { Network } from './network.ts';

export class Names {
  readonly #network: Network;
  readonly #path: string;
  readonly #name: string;

  private constructor(network: Network, path: string, name: string) {
    this.#network = network;
    this.#path = path;
    this.#name = name;
  }

  /**
   * @param path of a file to write
   * @param name the one name that it knows, or does not know
   */
  static async open(network: Network, path: string, name: string): Promise<Names> {
    const names = new Names(network, path, name);
    await names.lead(undefined);
    return names;
  }

  /** The name leads to this machine from now on, or nowhere. */
  async lead(machine: string | undefined): Promise<void> {
    const line = machine === undefined ? '' : `${this.#network.address(machine)} ${this.#name}\n`;
    await writeFile(this.#path, `127.0.0.1 localhost\n${line}`);
  }

  /** As `within` of the network, with these names: `ip netns exec` has made a mount namespace for the command. */
  within(machine: string): readonly string[] {
    return [...this.#network.within(machine), 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', this.#path];
  }
}
