/** One client for each bucket, endpoint and set of keys of this process, so that connections are kept between uses. */
import { parseObjectPath } from '../base/objectPath.ts';
import { BucketClient, type ClientOptions } from './client.ts';
import { type Environment, storeSettings } from './credentials.ts';

/** What decides how a bucket is reached. */
const variables = [
  ...[
    'AWS_ACCESS_KEY_ID',
    'AWS_SECRET_ACCESS_KEY',
    'AWS_SESSION_TOKEN',
    'AWS_REGION',
    'AWS_DEFAULT_REGION',
    'AWS_PROFILE',
  ],
  ...[
    'AWS_DEFAULT_PROFILE',
    'AWS_ENDPOINT_URL_S3',
    'AWS_ENDPOINT_URL',
    'AWS_CONFIG_FILE',
    'AWS_SHARED_CREDENTIALS_FILE',
  ],
  'AWS_CA_BUNDLE',
];

const clients = new Map<string, BucketClient>();

/** A client and the key of a path. @throws UserError for a path or settings that are wrong */
export function openBucket(
  path: string,
  env: Environment = process.env,
  options: ClientOptions = {},
): { client: BucketClient; key: string } {
  const { bucket, key } = parseObjectPath(path);
  const identity = JSON.stringify([bucket, options, ...variables.map((name) => env[name])]);
  const client = clients.get(identity) ?? new BucketClient(bucket, storeSettings(env), options);
  clients.set(identity, client);
  return { client, key };
}
