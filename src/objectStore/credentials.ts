/**
 * Where the keys, the region and the endpoint of an object store come from, in the order of other programs: the environment, a profile in
 * `~/.aws`, and then the package `@aws-sdk/credential-providers`, if it is installed, which knows instance roles, web identities and SSO.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { errorCode, messageOf, PeerError, UserError } from '../base/errors.ts';
import { expandHome } from '../base/userPath.ts';
import type { Credentials } from './signature.ts';

/** Temporary keys are fetched again this long before they expire. */
const renewBeforeMs = 5 * 60_000;
const providersPackage = '@aws-sdk/credential-providers';

export type Environment = Readonly<Record<string, string | undefined>>;

/** How to reach a store. */
export interface StoreSettings {
  /** `https://…` without a slash at the end; undefined: Amazon's. */
  readonly endpoint: string | undefined;
  readonly region: string;
  /** The file of certificates to trust beside those of Node. */
  readonly certificates: string | undefined;
  readonly keys: Keys;
}

/** Supplies keys. Does not fetch those that do not expire twice. */
export interface Keys {
  /** Where they come from, for messages: never a key itself. */
  readonly source: string;
  /** @throws UserError if there are none; PeerError if there were some, and new ones cannot be had now */
  get(): Promise<Credentials>;
  /** Forgets temporary ones, because the store said that they have expired. @returns whether others can be had */
  renew(): boolean;
}

/** @throws UserError for an endpoint that is not an address, and for files in `~/.aws` that cannot be read */
export function storeSettings(env: Environment): StoreSettings {
  const profile = readProfile(env);
  const endpoint = env['AWS_ENDPOINT_URL_S3'] || env['AWS_ENDPOINT_URL'] || profile.values['endpoint_url'] || undefined;
  return {
    endpoint: endpoint === undefined ? undefined : parseEndpoint(endpoint),
    region: env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || profile.values['region'] || 'us-east-1',
    certificates: env['AWS_CA_BUNDLE'] || profile.values['ca_bundle'] || undefined,
    keys: keysOf(env, profile),
  };
}

function parseEndpoint(text: string): string {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Refused below.
  }
  const isPlain =
    url !== undefined && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
  if (!isPlain || !['http:', 'https:'].includes(url!.protocol)) {
    throw new UserError(
      `the endpoint of the object store (AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL) is not an address: expected for example https://storage.example.org:9000`,
    );
  }
  return `${url!.origin}${url!.pathname.replace(/\/+$/, '')}`;
}

function keysOf(env: Environment, profile: Profile): Keys {
  const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: token } = env;
  if (id && secret) return fixedKeys('the environment (AWS_ACCESS_KEY_ID)', id, secret, token);
  if (id || secret) {
    throw new UserError(
      `${id ? 'AWS_ACCESS_KEY_ID' : 'AWS_SECRET_ACCESS_KEY'} is set without ${id ? 'AWS_SECRET_ACCESS_KEY' : 'AWS_ACCESS_KEY_ID'}: set both, or neither`,
    );
  }
  const { aws_access_key_id: fileId, aws_secret_access_key: fileSecret, aws_session_token: fileToken } = profile.values;
  if (fileId && fileSecret) return fixedKeys(`the profile ${profile.name} in ~/.aws`, fileId, fileSecret, fileToken);
  return providedKeys(profile.name);
}

function fixedKeys(source: string, id: string, secret: string, sessionToken: string | undefined): Keys {
  const keys = { accessKeyId: id, secretAccessKey: secret, ...(sessionToken ? { sessionToken } : {}) };
  return { source, get: async () => keys, renew: () => false };
}

/** Keys of the optional package: those of the machine's role, of a web identity, of SSO. */
function providedKeys(profile: string): Keys {
  let known: { credentials: Credentials; untilMs: number } | undefined;
  let hadKeys = false;
  let pending: Promise<Credentials> | undefined;
  const fetchKeys = async () => {
    const provide = await findProvider(profile);
    try {
      const { expiration, ...credentials } = await provide();
      known = { credentials, untilMs: expiration?.getTime() ?? Number.POSITIVE_INFINITY };
      hadKeys = true;
      return credentials;
    } catch (error) {
      if (known !== undefined && Date.now() < known.untilMs) return known.credentials;
      // What gave keys before is only out of order: the request is repeated.
      if (hadKeys) throw new PeerError(`${providersPackage} gives no new keys: ${messageOf(error)}`, { cause: error });
      throw new UserError(
        `no keys for s3:// were found: neither AWS_ACCESS_KEY_ID is set nor has the profile ${profile} keys, and ${providersPackage} says: ${messageOf(error)}`,
      );
    }
  };
  return {
    source: providersPackage,
    async get() {
      if (known !== undefined && Date.now() < known.untilMs - renewBeforeMs) return known.credentials;
      // Parts that travel at once ask once.
      pending ??= fetchKeys().finally(() => {
        pending = undefined;
      });
      return await pending;
    },
    renew() {
      known = undefined;
      return true;
    },
  };
}

type Provider = () => Promise<Credentials & { readonly expiration?: Date }>;

async function findProvider(profile: string): Promise<Provider> {
  const path = findPackage();
  if (path === undefined) {
    throw new UserError(
      `no keys for s3:// were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile with keys in ~/.aws/credentials. ` +
        `For roles of machines, web identities and SSO, install ${providersPackage} beside Lockstep`,
    );
  }
  const found: { fromNodeProviderChain?: (options: { profile: string }) => Provider } = await import(
    pathToFileURL(path).href
  );
  if (found.fromNodeProviderChain === undefined) {
    throw new PeerError(`${providersPackage} has no fromNodeProviderChain: install version 3`);
  }
  return found.fromNodeProviderChain({ profile });
}

/** It is not a dependency: it may be beside Lockstep, in the project of the working folder, or missing. */
function findPackage(): string | undefined {
  for (const from of [import.meta.url, pathToFileURL(join(process.cwd(), 'package.json'))]) {
    try {
      return createRequire(from).resolve(providersPackage);
    } catch (error) {
      if (errorCode(error) !== 'MODULE_NOT_FOUND') {
        throw new PeerError(`${providersPackage} does not load: ${messageOf(error)}`, { cause: error });
      }
    }
  }
  return undefined;
}

interface Profile {
  readonly name: string;
  /** The keys of both files; those of `credentials` win. */
  readonly values: Readonly<Record<string, string>>;
}

function readProfile(env: Environment): Profile {
  const name = env['AWS_PROFILE'] || env['AWS_DEFAULT_PROFILE'] || 'default';
  const folder = join(homedir(), '.aws');
  const configFile = expandHome(env['AWS_CONFIG_FILE'] || join(folder, 'config'));
  const credentialsFile = expandHome(env['AWS_SHARED_CREDENTIALS_FILE'] || join(folder, 'credentials'));
  const config = sections(configFile)[name === 'default' ? 'default' : `profile ${name}`];
  const credentials = sections(credentialsFile)[name];
  const isNamed = Boolean(env['AWS_PROFILE'] || env['AWS_DEFAULT_PROFILE']);
  if (isNamed && config === undefined && credentials === undefined) {
    throw new UserError(
      `AWS_PROFILE is ${name}, but neither ${configFile} nor ${credentialsFile} has this profile: correct it, or add it there`,
    );
  }
  return { name, values: { ...config, ...credentials } };
}

/** An INI file: section → key → value. Indented lines belong to nested keys, which are not read. A file that does not exist has none. */
function sections(path: string): Record<string, Record<string, string>> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error))) return {};
    throw new UserError(`${path} cannot be read: ${messageOf(error)}`);
  }
  const found: Record<string, Record<string, string>> = Object.create(null);
  let section: Record<string, string> = {};
  for (const line of text.split(/\r?\n/)) {
    const header = /^\[\s*([^\]]+?)\s*\]/.exec(line)?.[1];
    if (header !== undefined) {
      section = found[header.replace(/\s+/g, ' ')] ??= {};
      continue;
    }
    const [, key, value] = /^([A-Za-z_][\w.-]*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) section[key.toLowerCase()] = value;
  }
  return found;
}
