import { expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import { decodeSpans, encodeSpans, type Span } from '../../../src/comm/spans.ts';

const span: Span = { track: 'compute', name: 'linearForward', startMs: 1.25, ms: 0.5 };

it('gives spans back', () => {
  expect(decodeSpans(encodeSpans([span, { ...span, name: '"é' }]))).toEqual([span, { ...span, name: '"é' }]);
  expect(decodeSpans(encodeSpans([]))).toEqual([]);
});

it.each([
  ['nothing', undefined],
  ['no JSON', Buffer.from('[{')],
  ['no list', Buffer.from('{}')],
  ['an unknown track', encodeSpans([{ ...span, track: 'other' as 'agent' }])],
  ['a negative duration', encodeSpans([{ ...span, ms: -1 }])],
  ['no number', Buffer.from('[{"track":"agent","name":"","startMs":null,"ms":1}]')],
  ['a long name', encodeSpans([{ ...span, name: 'x'.repeat(200) }])],
  ['too many', encodeSpans(Array.from({ length: 40_001 }, () => span))],
])('refuses %s', (_, bytes) => {
  expect(() => decodeSpans(bytes)).toThrow(PeerError);
});
