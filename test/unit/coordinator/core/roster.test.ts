import { expect, it } from 'vitest';
import {
  findById,
  type Members,
  placeFrom,
  withEach,
  withReplaced,
  withReplacedAll,
} from '../../../../src/coordinator/core/roster.ts';
import type { Member } from '../../../../src/coordinator/core/runState.ts';

const member = (i: number, step = 0) => ({ id: `w${i}`, rank: i, step }) as Member;
const list = (count: number) => Array.from({ length: count }, (_, i) => member(i));
const steps = (members: Members<Member>) => members.map(({ step }) => step);

it.each([1, 31, 32, 33, 100])('changes one of %d members, and no earlier list', (count) => {
  const array = list(count);
  let members: Members<Member> = array;
  const before: Members<Member>[] = [];
  for (let i = 0; i < count; i++) {
    before.push(members);
    members = withReplaced(members, member(i, i + 1))!;
  }
  expect(steps(members)).toEqual(array.map((_, i) => i + 1));
  for (const [i, earlier] of before.entries())
    expect(steps(earlier)).toEqual(array.map((_, at) => (at < i ? at + 1 : 0)));
});

it.each([3, 32, 100])('changes several of %d members at once, and no earlier list', (count) => {
  const array = list(count);
  const places = [0, 2, Math.min(33, count - 1), count - 1];
  const changed = places.map((place) => member(place, 7));
  for (const before of [array, withReplaced(array, member(1, 5))!]) {
    const earlier = steps(before);
    const members = withReplacedAll(before, [...changed, member(count, 9)]);
    expect(steps(members)).toEqual(earlier.map((step, at) => (places.includes(at) ? 7 : step)));
    expect(steps(before)).toEqual(earlier);
  }
  const same = withReplaced(array, member(1, 5))!;
  expect(withReplacedAll(same, [member(count)])).toBe(same);
});

it('reads as the array that it was made of', () => {
  const array = list(70);
  const members = withReplaced(array, member(3, 5))!;
  const same = array.with(3, member(3, 5));
  expect([...members]).toEqual(same);
  expect(members.length).toBe(70);
  for (const place of [0, 31, 32, 69, -1, -70]) expect(members.at(place)).toEqual(same.at(place));
  for (const place of [70, -71]) expect(members.at(place)).toBeUndefined();
  expect(members.map(({ id }, place) => `${place} ${id}`)).toEqual(same.map(({ id }, place) => `${place} ${id}`));
  const isOdd = ({ rank }: Member) => rank % 2 === 1;
  expect(members.filter(isOdd)).toEqual(same.filter(isOdd));
  expect(members.find(({ rank }) => rank > 40)).toEqual(member(41));
  expect([members.some(({ step }) => step === 5), members.every(({ step }) => step === 5)]).toEqual([true, false]);
  for (const other of [array, members]) {
    expect(findById(other, 'w69')).toEqual(member(69));
    expect(findById(other, 'w70')).toBeUndefined();
    expect(withReplaced(other, member(70))).toBeUndefined();
    expect(steps(withEach(other, (each) => ({ ...each, step: 9 })))).toEqual(array.map(() => 9));
  }
});

it('looks for the first member from a place on, and then from the start', () => {
  const members = withReplaced(list(40), member(7, 1))!;
  expect(placeFrom(members, 0, ({ step }) => step === 1)).toBe(7);
  expect(placeFrom(members, 8, ({ step }) => step === 1)).toBe(7);
  expect(placeFrom(members, 8, ({ step }) => step === 0)).toBe(8);
  // The list may have become shorter since.
  expect(placeFrom(members, 99, ({ step }) => step === 1)).toBe(7);
  expect(placeFrom(members, 0, ({ step }) => step === 2)).toBeUndefined();
  expect(placeFrom([], 3, () => true)).toBeUndefined();
});
