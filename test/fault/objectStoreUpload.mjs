/** Run by objectStore.test.ts in the network of a store: makes the bucket and copies a folder. usage: node objectStoreUpload.mjs FOLDER PREFIX */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openBucket } from '../../dist/objectStore/buckets.js';
import { putObject } from '../../dist/objectStore/objects.js';

const [from, to] = process.argv.slice(2);
const { client, key } = openBucket(to);
await client.send({ action: 'PUT', key: '' });
for (const name of readdirSync(from)) await putObject(client, `${key}/${name}`, readFileSync(join(from, name)));
process.exit(0);
