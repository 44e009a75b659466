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
import { startOf } from './documents.ts';
import { dropoutFunctions } from './dropout.ts';

const startOfHead = (from: string, width: string, part: string, head: string) =>
  `params.${from} + sample * params.time * params.${width}${part} + ${head} * params.headSize`;
const query = {
  binding: 'qkv',
  start: startOfHead('qkvFrom', 'width', '', 'head'),
  stride: 'params.width',
  scale: 'params.scale',
};
const dquery = { binding: 'dqkv', start: startOfHead('dqkvFrom', 'width', '', 'head'), stride: 'params.width' };
const dout = { binding: 'dout', start: startOfHead('outFrom', 'queryWidth', '', 'head'), stride: 'params.queryWidth' };
/** Rows of the head of keys and values that `head` uses. */
const [key, dkey, value, dvalue] = ['', ' + params.keyWidth'].flatMap((part) =>
  (['qkv', 'dqkv'] as const).map((binding) => ({
    binding,
    start: startOfHead(`${binding}From`, 'width', ` + params.queryWidth${part}`, 'kvHead'),
    stride: 'params.width',
  })),
) as [typeof dquery, typeof dquery, typeof dquery, typeof dquery];

const weightFunction = `
${rounded}
fn weightOf(score: f32, logSum: f32, rest: f32) -> f32 {
  return exp(min(rounded(score - logSum) - rest, 0.0));
}`;

export interface BackwardTraits {
  readonly hasDropout: boolean;
  readonly hasDocuments: boolean;
}

/** The pass whose lanes have queries. */
export function attentionQueryLanes(lanes: number, { hasDropout, hasDocuments }: BackwardTraits): string {
  const row = (r: number) => `(i0 + ${r * lanes}u + lane)`;
  const firstKey = hasDocuments ? 'first' : '0u';
  return `
${hasDropout ? dropoutFunctions : ''}
${weightFunction}
${laneMain(lanes)}
  let kvHead = head / params.headsPerKv;
  let nHead = groups.y;
  // The last queries see most keys, and begin first.
  let i0 = (groups.x - 1u - group.x) * ${laneRows(lanes)}u;
  let keysMost = min(i0 + ${laneRows(lanes)}u, params.time);
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
  ${hasDropout ? `let dropped = dropoutKey(sample); ${forEach(OWN, (r) => `let elements${r} = (head * params.time + ${row(r)}) * params.time;`)}` : ''}
  ${hasDocuments ? `let first = ${startOf('i0')}; ${forEach(OWN, (r) => `let start${r} = ${startOf(row(r))};`)}` : ''}
  for (var j0 = ${firstKey}; j0 < keysMost; j0 += ${laneColumns(lanes)}u) {
    ${broughtPlaces(lanes, 'key', key, 'j0', 'keysMost')}
    ${broughtPlaces(lanes, 'value', value, 'j0', 'keysMost')}
    ${laneProducts(lanes, [
      { name: 's', own: query, ownPlace: 'query', other: key, otherPlace: 'key' },
      { name: 'w', own: dout, ownPlace: 'dout', other: value, otherPlace: 'value' },
    ])}
    ${forPairs(lanes, (id, m, r) => {
      const gradient = hasDropout ? `keep(dropped, elements${r} + j0 + ${m}u, w${id})` : `w${id}`;
      const product = `weightOf(s${id}, log${r}, rest${r}) * (${gradient} - mean${r})`;
      const inDocument = hasDocuments ? ` && j0 + ${m}u >= start${r}` : '';
      return `s${id} = select(0.0, ${product}, j0 + ${m}u <= ${row(r)}${inDocument});`;
    })}
    let factor = select(1.0, params.scale, j0 + ${laneColumns(lanes)}u >= keysMost);
    ${laneSums(
      lanes,
      [{ weights: 's', columns: key, columnPlace: 'key', to: dquery, toPlace: 'dquery', after: () => 'factor' }],
      `j0 == ${firstKey}`,
      (r) => `${row(r)} < params.time`,
    )}
  }
}`;
}

/** The pass whose lanes have keys and values. */
export function attentionKeyLanes(lanes: number, { hasDropout, hasDocuments }: BackwardTraits): string {
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
  ${ownPlaces(lanes, 'key', key, 'j0', 'params.time')}
  ${ownPlaces(lanes, 'value', value, 'j0', 'params.time')}
  ${ownPlaces(lanes, 'dkey', dkey, 'j0', 'params.time')}
  ${ownPlaces(lanes, 'dvalue', dvalue, 'j0', 'params.time')}
  ${hasDropout ? 'let dropped = dropoutKey(sample);' : ''}
  let headsFrom = kvHead * params.headsPerKv;
  for (var head = headsFrom; head < headsFrom + params.headsPerKv; head++) {
  let numbers = (sample * nHead + head) * params.time;
  for (var i0 = j0; i0 < params.time${hasDocuments ? ` && ${startOf('i0')} < j0 + ${laneRows(lanes)}u` : ''}; i0 += ${laneColumns(lanes)}u) {
    ${broughtPlaces(lanes, 'query', query, 'i0', 'params.time')}
    ${broughtPlaces(lanes, 'dout', dout, 'i0', 'params.time')}
    ${numbersOf('log', 'lse[params.lseFrom + AT]')}
    ${numbersOf('rest', 'lse[params.lseFrom + params.restOffset + AT]')}
    ${numbersOf('mean', 'meanGradients[AT]')}
    ${hasDocuments ? forEach(laneColumns(lanes), (m) => `let start${m} = ${startOf(`i0 + ${m}u`)};`) : ''}
    ${laneProducts(lanes, [
      { name: 's', own: key, ownPlace: 'key', other: query, otherPlace: 'query' },
      { name: 'w', own: value, ownPlace: 'value', other: dout, otherPlace: 'dout' },
    ])}
    ${forPairs(lanes, (id, m, r) => {
      const i = `(i0 + ${m}u)`;
      const weight = `weightOf(s${id}, logm${m}, restm${m})`;
      const element = `(head * params.time + ${i}) * params.time + ${row(r)}`;
      const keeps = (x: string) => (hasDropout ? `keep(dropped, ${element}, ${x})` : x);
      const inDocument = hasDocuments ? ` && ${row(r)} >= start${m}` : '';
      return `s${id} = select(0.0, ${weight}, ${row(r)} <= ${i} && ${i} < params.time${inDocument});
      w${id} = s${id} * (${keeps(`w${id}`)} - meanm${m});
      ${hasDropout ? `s${id} = ${keeps(`s${id}`)};` : ''}`;
    })}
    ${laneSums(
      lanes,
      [
        { weights: 's', columns: dout, columnPlace: 'dout', to: dvalue, toPlace: 'dvalue' },
        { weights: 'w', columns: query, columnPlace: 'query', to: dkey, toPlace: 'dkey' },
      ],
      'i0 == j0 && head == headsFrom',
      (r) => `${row(r)} < params.time`,
    )}
  }
  }
}`;
}
