import { expect, it } from 'vitest';
import { protocolVersion } from '../../../src/comm/protocol.ts';
import { tokenRefusal } from '../../../src/coordinator/joinToken.ts';

const token = 'ab'.repeat(32);
const join = { type: 'join', protocolVersion, version: '1', host: 'h', pid: 1, worker: 'w', ringAddress: 'r' } as const;

it('lets in who shows the token of the run, and everybody where there is none', () => {
  expect(tokenRefusal({ ...join, token }, token)).toBeUndefined();
  expect(tokenRefusal(join, undefined)).toBeUndefined();
  expect(tokenRefusal({ ...join, token }, undefined)).toBeUndefined();
});

it('refuses who shows none, another, a part, or more', () => {
  expect(tokenRefusal(join, token)).toMatch(/expected the run's token, received none/);
  for (const shown of ['', 'cd'.repeat(32), token.slice(1), `${token}a`, 'é'.repeat(64)]) {
    const refusal = tokenRefusal({ ...join, token: shown }, token);
    expect(refusal).toMatch(/expected the token of this run, received another/);
    expect(refusal).not.toContain(token);
  }
});

it('leaves a worker of another protocol version to be refused for that', () => {
  expect(tokenRefusal({ ...join, protocolVersion: protocolVersion + 1 }, token)).toBeUndefined();
});
