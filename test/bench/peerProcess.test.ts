import { describe, expect, it } from 'vitest';
import { PeerProcess } from '../../bench/peerProcess.ts';

function peer(script: string, env: Record<string, string> = {}): PeerProcess {
  return new PeerProcess({ name: 'Some library', file: process.execPath, args: ['-e', script], env });
}

const echo = `
  console.log('ready ' + process.env.THREADS);
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    if (line === 'end') { console.error('some warning'); console.error('out of memory'); process.exit(3); }
    console.log(line);
  });`;

describe('PeerProcess', () => {
  it('answers line by line, in the environment that it is given', async () => {
    const process = peer(echo, { THREADS: '7' });
    expect(await process.line()).toBe('ready 7');
    expect(await process.ask('one')).toBe('one');
    expect(await process.askNumber('us 12.5', 'us')).toBe(12.5);
    await expect(process.askNumber('us many', 'us')).rejects.toThrow(
      'Some library: expected "us NUMBER" to "us many", received "us many"',
    );
    process.close();
  });

  it('says how a peer ended, and what it said last', async () => {
    const process = peer(echo);
    await process.line();
    await expect(process.ask('end')).rejects.toThrow('Some library ended with exit code 3: out of memory');
    await expect(process.ask('more')).rejects.toThrow('ended with exit code 3');
    const missing = new PeerProcess({ name: 'Nobody', file: '/nowhere/program' });
    await expect(missing.line()).rejects.toThrow('Nobody did not start: spawn /nowhere/program ENOENT');
  });
});
