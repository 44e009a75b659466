import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { coordinatorMessage } from '../../../src/comm/coordinatorMessages.ts';
import { hostReports } from '../../../src/comm/hostReports.ts';
import { hostShares } from '../../../src/comm/hostShares.ts';
import { protocolVersion } from '../../../src/comm/protocol.ts';
import { workerMessage } from '../../../src/comm/workerMessages.ts';

/** The messages that a version of the protocol has: the first 16 digits of the SHA-256 of their JSON Schemas. */
const pinned = { protocolVersion: 13, messages: 'cfcebd958fc92534' };

it('a version of the protocol has one set of messages', () => {
  const schemas = [workerMessage, hostReports, coordinatorMessage, hostShares].map((schema) =>
    z.toJSONSchema(schema, { unrepresentable: 'any' }),
  );
  const messages = createHash('sha256').update(JSON.stringify(schemas)).digest('hex').slice(0, 16);
  expect(
    { protocolVersion, messages },
    'The messages and the version of the protocol have not changed together. If a worker or coordinator of the released version would misread a ' +
      'message, raise protocolVersion (src/comm/protocol.ts) above that of the release, and say so in CHANGELOG.md. Then write the values below here.',
  ).toEqual(pinned);
});
