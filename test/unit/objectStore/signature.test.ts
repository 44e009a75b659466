/** The four examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. */
import { expect, test } from 'vitest';
import { authorization, encodeSegment, sha256Of } from '../../../src/objectStore/signature.ts';

const credentials = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const date = '20130524T000000Z';
const empty = sha256Of('');

function signatureOf(
  method: string,
  path: string,
  rest: { query?: [string, string][]; headers?: Record<string, string>; body?: string },
) {
  const sha256 = sha256Of(rest.body ?? '');
  const headers = {
    host: 'examplebucket.s3.amazonaws.com',
    'x-amz-content-sha256': sha256,
    'x-amz-date': date,
    ...rest.headers,
  };
  const request = { method, path, query: rest.query ?? [], headers, sha256 };
  return authorization(request, { credentials, region: 'us-east-1', date });
}

test('GET of a range', () => {
  expect(signatureOf('GET', '/test.txt', { headers: { range: 'bytes=0-9' } })).toBe(
    'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,' +
      'SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,' +
      'Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  );
});

test('PUT with a name that is encoded', () => {
  const headers = { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' };
  const signed = signatureOf('PUT', `/${encodeSegment('test$file.text')}`, { headers, body: 'Welcome to Amazon S3.' });
  expect(signed).toMatch(/Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd$/);
});

test('GET with a query without a value', () => {
  const signed = signatureOf('GET', '/', { query: [['lifecycle', '']] });
  expect(signed).toMatch(/Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543$/);
});

test('a list, whose query is sorted', () => {
  const query: [string, string][] = [
    ['prefix', 'J'],
    ['max-keys', '2'],
  ];
  expect(signatureOf('GET', '/', { query })).toMatch(
    /Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7$/,
  );
  expect(empty).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});
