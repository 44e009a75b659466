/** Swift, an object store with the protocol of S3, in namespaces of its own. Needs root, Linux and the packages of Swift. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const programs = [
  'swift-proxy-server',
  'swift-account-server',
  'swift-container-server',
  'swift-object-server',
  'memcached',
];
const script = join(import.meta.dirname, 'swift.sh');
const startMs = 100_000;

export class Swift {
  /** Keys and endpoint, for clients inside of the namespace. */
  readonly env = {
    AWS_ACCESS_KEY_ID: 'test:tester',
    AWS_SECRET_ACCESS_KEY: 'testing',
    AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:8080',
    AWS_REGION: 'us-east-1',
    AWS_CONFIG_FILE: '/nonexistent',
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
  };
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #pid: number;

  private constructor(process: ChildProcess, folder: string, pid: number) {
    this.#process = process;
    this.#folder = folder;
    this.#pid = pid;
  }

  /** Why it cannot run here; undefined if it can. */
  static obstacle(): string | undefined {
    if (process.platform !== 'linux') return `needs Linux, this is ${process.platform}`;
    if (process.getuid?.() !== 0) return 'needs root';
    const missing = programs.find((name) => !existsSync(`/usr/bin/${name}`));
    return missing === undefined ? undefined : `needs ${missing} (Debian has it)`;
  }

  static async open(): Promise<Swift> {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-swift-'));
    const namespaces = ['--net', '--pid', '--mount', '--fork', '--kill-child', '--mount-proc'];
    // It ends with this process, even if that is killed.
    const words = ['--pdeathsig', 'KILL', 'unshare', ...namespaces, script, folder];
    const child = spawn('setpriv', words, { stdio: ['ignore', 'pipe', 'inherit'] });
    const swift = new Swift(child, folder, child.pid ?? 0);
    try {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('Swift did not start in time')), startMs);
        child.on('error', reject);
        child.on('exit', (code) => reject(new Error(`Swift ended with ${code}`)));
        child.stdout.on('data', (text: Buffer) => {
          if (!text.includes('up')) return;
          clearTimeout(timer);
          resolve();
        });
      });
      return swift;
    } catch (error) {
      await swift.close();
      throw error;
    }
  }

  /** A command that runs the one that follows it in the network of the store. */
  get within(): readonly string[] {
    // unshare stays outside of the namespaces of its child.
    const [inside] = readFileSync(`/proc/${this.#pid}/task/${this.#pid}/children`, 'utf8').trim().split(' ');
    return ['nsenter', '-t', inside ?? '', '-n', '--'];
  }

  /** Runs a program inside, with the keys. @returns its output */
  run(command: readonly string[], env: Readonly<Record<string, string>> = {}): string {
    const [program = '', ...args] = [...this.within, ...command];
    return execFileSync(program, args, { encoding: 'utf8', env: { ...process.env, ...this.env, ...env } });
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    if (this.#process.exitCode === null && this.#process.kill('SIGKILL')) await ended;
    // The processes inside end with their namespace, and then write no more.
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
