/** Paths of objects, `s3://BUCKET/KEY`, beside those of files: which of the two a path is, its parts, and paths inside of it. */
import { isAbsolute, join, resolve } from 'node:path';
import { UserError } from './errors.ts';

const scheme = 's3://';
/** The rule of S3 for names of buckets. Other stores allow no more than capitals and underscores beyond it. */
const bucketName = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/;
const keyBytesMax = 1024;

/** A bucket, and a key without a slash at its ends; '' is the bucket itself. */
export interface ObjectPath {
  readonly bucket: string;
  readonly key: string;
}

export function isObjectPath(path: string): boolean {
  return path.startsWith(scheme);
}

/** @throws UserError for a path that no bucket or object can have */
export function parseObjectPath(path: string): ObjectPath {
  const [bucket = '', ...segments] = path.slice(scheme.length).replace(/\/+$/, '').split('/');
  if (!isObjectPath(path) || bucket === '') {
    throw new UserError(
      `${path}: expected s3://BUCKET/PREFIX with the name of a bucket, for example s3://my-bucket/runs`,
    );
  }
  if (!bucketName.test(bucket)) {
    throw new UserError(
      `${path}: ${JSON.stringify(bucket)} cannot be the name of a bucket: expected 3 to 255 letters, digits and . _ - with a letter or digit at both ends`,
    );
  }
  const key = segments.join('/');
  const isOdd = segments.some((segment) => ['', '.', '..'].includes(segment) || /\p{Cc}/u.test(segment));
  if (isOdd || Buffer.byteLength(key) > keyBytesMax) {
    throw new UserError(
      `${path}: expected names between the slashes, without . and .. and control characters, of at most ${keyBytesMax} bytes in all`,
    );
  }
  return { bucket, key };
}

/** The path without slashes at its end. @throws as {@link parseObjectPath} */
export function objectPath({ bucket, key }: ObjectPath): string {
  return `${scheme}${bucket}${key === '' ? '' : `/${key}`}`;
}

/** A name inside a folder or below a prefix. */
export function inFolder(folder: string, ...names: readonly string[]): string {
  return isObjectPath(folder) ? [folder, ...names].join('/') : join(folder, ...names);
}

/** A file named from a folder or prefix: absolute, an object, or inside. */
export function fromFolder(folder: string, file: string): string {
  if (isObjectPath(file) || isAbsolute(file)) return file;
  return isObjectPath(folder) ? inFolder(folder, file) : resolve(folder, file);
}
