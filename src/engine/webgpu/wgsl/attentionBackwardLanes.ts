/** The passes of the backward pass of attention for software drivers (attentionLanes.ts). */
import {
  broughtPlaces,
  forPairs,
  laneColumns,
  laneMain,
  laneProducts,
  laneRows,
  laneSums,
  OWN,
  ownPlaces,
} from './attentionLanes.ts';
import { forEach, rounded } from './attentionTiles.ts';
import { dropoutFunctions } from './dropout.ts';
import { endOf, groupRange, type RangeTraits, startOf } from './keyRanges.ts';

const rowsOf = (binding: string, from: string, time: string, stride: string, head: string) => ({
  binding,
  start: `params.${from} + sample * params.${time} * params.${stride} + ${head} * params.headSize`,
  stride: `params.${stride}`,
});
const query = { ...rowsOf('queries', 'queryFrom', 'time', 'queryStride', 'head'), scale: 'params.scale' };
const dquery = rowsOf('dqueries', 'dqueryFrom', 'time', 'queryStride', 'head');
const dout = rowsOf('dout', 'outFrom', 'time', 'outStride', 'head');
const key = rowsOf('keys', 'keyFrom', 'keyTime', 'keyStride', 'kvHead');
const value = rowsOf('keys', 'valueFrom', 'keyTime', 'keyStride', 'kvHead');
const dkey = rowsOf('dkeys', 'dkeyFrom', 'keyTime', 'keyStride', 'kvHead');
const dvalue = rowsOf('dkeys', 'dvalueFrom', 'keyTime', 'keyStride', 'kvHead');

const weightFunction = `
${rounded}
fn weightOf(score: f32, logSum: f32, rest: f32) -> f32 {
  return exp(min(rounded(score - logSum) - rest, 0.0));
}`;

export interface BackwardTraits extends RangeTraits {
  readonly hasDropout: boolean;
}

/** The pass whose lanes have queries. */
export function attentionQueryLanes(lanes: number, traits: BackwardTraits): string {
  const { hasDropout, hasStarts, hasEnds } = traits;
  const row = (r: number) => `(i0 + ${r * lanes}u + lane)`;
  return `
${hasDropout ? dropoutFunctions : ''}
${weightFunction}
${laneMain(lanes)}
  let kvHead = head / params.headsPerKv;
  let nHead = groups.y;
  // The last queries see most keys, and begin first.
  let i0 = (groups.x - 1u - group.x) * ${laneRows(lanes)}u;
  ${groupRange(traits, laneRows(lanes), `min(i0 + ${laneRows(lanes)}u, params.time)`)}
  ${ownPlaces(lanes, 'query', query, 'i0', 'params.time')}
  ${ownPlaces(lanes, 'dquery', dquery, 'i0', 'params.time')}
  ${ownPlaces(lanes, 'dout', dout, 'i0', 'params.time')}
  let numbers = (sample * nHead + head) * params.time;
  ${forEach(
    OWN,
    (r) => `
  var mean${r} = 0.0;
  for (var channel = 0u; channel < params.headSize; channel++) {
    mean${r} = fma(dout[dout${r} + channel], out[dout${r} + channel], mean${r});
  }
  let at${r} = numbers + min(${row(r)}, params.time - 1u);
  let log${r} = lse[at${r} + params.lseFrom];
  let rest${r} = lse[at${r} + params.lseFrom + params.restOffset];
  if (${row(r)} < params.time) { meanGradients[at${r}] = mean${r}; }`,
  )}
  ${hasDropout ? `let dropped = dropoutKey(sample); ${forEach(OWN, (r) => `let elements${r} = (head * params.time + ${row(r)}) * params.keyTime;`)}` : ''}
  ${hasStarts ? forEach(OWN, (r) => `let start${r} = ${startOf(row(r))};`) : ''}
  ${hasEnds ? forEach(OWN, (r) => `let end${r} = ${endOf(row(r))};`) : ''}
  for (var j0 = begin; j0 < keysMost; j0 += ${laneColumns(lanes)}u) {
    ${broughtPlaces(lanes, 'key', key, 'j0', 'keysMost')}
    ${broughtPlaces(lanes, 'value', value, 'j0', 'keysMost')}
    ${laneProducts(lanes, [
      { name: 's', own: query, ownPlace: 'query', other: key, otherPlace: 'key' },
      { name: 'w', own: dout, ownPlace: 'dout', other: value, otherPlace: 'value' },
    ])}
    ${forPairs(lanes, (id, m, r) => {
      const gradient = hasDropout ? `keep(dropped, elements${r} + j0 + ${m}u, w${id})` : `w${id}`;
      const product = `weightOf(s${id}, log${r}, rest${r}) * (${gradient} - mean${r})`;
      const inTime = hasEnds ? `j0 + ${m}u < end${r}` : `j0 + ${m}u <= ${row(r)}`;
      const begun = hasStarts ? ` && j0 + ${m}u >= start${r}` : '';
      return `s${id} = select(0.0, ${product}, ${inTime}${begun});`;
    })}
    let factor = select(1.0, params.scale, j0 + ${laneColumns(lanes)}u >= keysMost);
    ${laneSums(
      lanes,
      [{ weights: 's', columns: key, columnPlace: 'key', to: dquery, toPlace: 'dquery', after: () => 'factor' }],
      'j0 == begin',
      (r) => `${row(r)} < params.time`,
    )}
  }
}`;
}

/** The pass whose lanes have keys and values. */
export function attentionKeyLanes(lanes: number, { hasDropout, hasStarts, hasEnds }: BackwardTraits): string {
  const from = hasEnds ? '0u' : 'j0';
  const isMet = hasStarts && !hasEnds ? ` && ${startOf('i0')} < j0 + ${laneRows(lanes)}u` : '';
  const row = (r: number) => `(j0 + ${r * lanes}u + lane)`;
  const numbersOf = (name: string, value: string) => `
    ${forEach(laneColumns(lanes) / lanes, (b) => `let ${name}${b} = ${value.replace('AT', `(numbers + min(i0 + ${b * lanes}u + lane, params.time - 1u))`)};`)}
    ${forEach(laneColumns(lanes), (m) => `let ${name}m${m} = subgroupBroadcast(${name}${Math.floor(m / lanes)}, ${m % lanes}u);`)}`;
  return `
${hasDropout ? dropoutFunctions : ''}
${weightFunction}
${laneMain(lanes, 'kvHead')}
  let nHead = groups.y * params.headsPerKv;
  let j0 = group.x * ${laneRows(lanes)}u;
  ${ownPlaces(lanes, 'key', key, 'j0', 'params.keyTime')}
  ${ownPlaces(lanes, 'value', value, 'j0', 'params.keyTime')}
  ${ownPlaces(lanes, 'dkey', dkey, 'j0', 'params.keyTime')}
  ${ownPlaces(lanes, 'dvalue', dvalue, 'j0', 'params.keyTime')}
  ${hasDropout ? 'let dropped = dropoutKey(sample);' : ''}
  let headsFrom = kvHead * params.headsPerKv;
  for (var head = headsFrom; head < headsFrom + params.headsPerKv; head++) {
  let numbers = (sample * nHead + head) * params.time;
  for (var i0 = ${from}; i0 < params.time${isMet}; i0 += ${laneColumns(lanes)}u) {
    ${broughtPlaces(lanes, 'query', query, 'i0', 'params.time')}
    ${broughtPlaces(lanes, 'dout', dout, 'i0', 'params.time')}
    ${numbersOf('log', 'lse[params.lseFrom + AT]')}
    ${numbersOf('rest', 'lse[params.lseFrom + params.restOffset + AT]')}
    ${numbersOf('mean', 'meanGradients[AT]')}
    ${hasStarts ? forEach(laneColumns(lanes), (m) => `let start${m} = ${startOf(`i0 + ${m}u`)};`) : ''}
    ${hasEnds ? forEach(laneColumns(lanes), (m) => `let end${m} = ${endOf(`i0 + ${m}u`)};`) : ''}
    ${laneProducts(lanes, [
      { name: 's', own: key, ownPlace: 'key', other: query, otherPlace: 'query' },
      { name: 'w', own: value, ownPlace: 'value', other: dout, otherPlace: 'dout' },
    ])}
    ${forPairs(lanes, (id, m, r) => {
      const i = `(i0 + ${m}u)`;
      const weight = `weightOf(s${id}, logm${m}, restm${m})`;
      const element = `(head * params.time + ${i}) * params.keyTime + ${row(r)}`;
      const keeps = (x: string) => (hasDropout ? `keep(dropped, ${element}, ${x})` : x);
      const inTime = hasEnds ? `${row(r)} < end${m}` : `${row(r)} <= ${i}`;
      const begun = hasStarts ? ` && ${row(r)} >= start${m}` : '';
      return `s${id} = select(0.0, ${weight}, ${inTime} && ${i} < params.time${begun});
      w${id} = s${id} * (${keeps(`w${id}`)} - meanm${m});
      ${hasDropout ? `s${id} = ${keeps(`s${id}`)};` : ''}`;
    })}
    ${laneSums(
      lanes,
      [
        { weights: 's', columns: dout, columnPlace: 'dout', to: dvalue, toPlace: 'dvalue' },
        { weights: 'w', columns: query, columnPlace: 'query', to: dkey, toPlace: 'dkey' },
      ],
      `i0 == ${from} && head == headsFrom`,
      (r) => `${row(r)} < params.keyTime`,
    )}
  }
  }
}`;
}
