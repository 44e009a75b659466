/** The forward pass of attention for GPUs (attentionTiles.ts). */
import type { ForwardTraits } from './attentionForwardLanes.ts';
import {
  addWeighted,
  COLUMNS,
  declareSums,
  droppedElements,
  forEach,
  forProducts,
  forSums,
  products,
  ROWS,
  rounded,
  scoreMin,
  scoreScale,
  storeSums,
  storeWeights,
  tileFunctions,
  tileMain,
} from './attentionTiles.ts';
import { dropoutVectorFunctions } from './dropout.ts';
import { groupRange, mayBeBlind } from './keyRanges.ts';
import { lastKey, rowRanges, sawKey, seesKey, skippedKeys } from './tileRanges.ts';

/** Turns the scores of a tile into weights before they are divided by their sum. */
function softmax(traits: ForwardTraits): string {
  const { hasDropout } = traits;
  const isSeen = (j: number, h: number) => seesKey(traits, h, `vec4u(j0 + 4u * x + ${j}u)`);
  // While a query has seen no key, its maximum is that of masked scores.
  const weight = (id: string, j: number, h: number) =>
    mayBeBlind(traits) ? `select(vec4f(), exp(s${id} - most${h}), ${isSeen(j, h)})` : `exp(s${id} - most${h})`;
  return `
    ${forProducts((id, j, h) => `s${id} = select(vec4f(${scoreMin}), s${id}, ${isSeen(j, h)});`)}
    workgroupBarrier();
    ${forEach(2, (h) => `operands[x * ${ROWS / 4}u + 2u * y + ${h}u] = max(max(s0${h}, s1${h}), max(s2${h}, s3${h}));`)}
    workgroupBarrier();
    ${forEach(
      2,
      (h) => `
    var most${h} = maximum${h};
    for (var n = 0u; n < 8u; n++) { most${h} = max(most${h}, operands[n * ${ROWS / 4}u + 2u * y + ${h}u]); }
    let factor${h} = exp(maximum${h} - most${h});
    maximum${h} = most${h};`,
    )}
    ${forProducts((id, j, h) => `s${id} = ${weight(id, j, h)};`)}
    ${forEach(2, (h) => `sum${h} = fma(sum${h}, factor${h}, (s0${h} + s1${h}) + (s2${h} + s3${h}));`)}
    ${hasDropout ? forProducts((id, j, h) => `s${id} = keep4(dropped, elements${h} + vec4u(j0 + 4u * x + ${j}u), s${id});`) : ''}`;
}

/** float32 rounds the log of scores of 10^6 by hundredths. The rest is what that left out, unless it is too small to matter. */
const storeLse = `
  if (x == 0u) {
    for (var r = 0u; r < 8u; r++) {
      if (i0 + 8u * y + r >= params.time) { break; }
      let maximum = select(maximum1, maximum0, r < 4u)[r % 4u];
      let logOfSum = log(select(sum1, sum0, r < 4u)[r % 4u]);
      let logSum = rounded(maximum + logOfSum);
      let rest = rounded(maximum - logSum) + logOfSum;
      let at = params.lseFrom + (sample * groups.y + head) * params.time + i0 + 8u * y + r;
      lse[at] = logSum;
      lse[at + params.restOffset] = select(rest, 0.0, abs(rest) < 0x1p-18);
    }
  }`;

export function attentionForwardTiles(headSize: number, traits: ForwardTraits): string {
  const { hasDropout, hasLse } = traits;
  const x0 = `head * ${headSize}u`;
  const kvX0 = `head / params.headsPerKv * ${headSize}u`;
  const sampleRow = 'sample * params.time *';
  const sampleKey = 'sample * params.keyTime *';
  const queries = {
    binding: 'queries',
    start: `(params.queryFrom + ${sampleRow} params.queryStride + ${x0})`,
    stride: 'params.queryStride',
    first: 'i0',
    limit: 'params.time',
    scale: scoreScale(headSize),
  };
  const keys = {
    binding: 'keys',
    start: `(params.keyFrom + ${sampleKey} params.keyStride + ${kvX0})`,
    stride: 'params.keyStride',
    first: 'j0',
    limit: 'keysMost',
  };
  const values = {
    ...keys,
    binding: 'values',
    start: `(params.valueFrom + ${sampleKey} params.keyStride + ${kvX0})`,
  };
  const out = {
    binding: 'out',
    start: `(params.outFrom + ${sampleRow} groups.y * ${headSize}u + ${x0})`,
    stride: `(groups.y * ${headSize}u)`,
    first: 'i0',
    limit: 'params.time',
  };
  return `
${tileFunctions(headSize, ['queries', 'keys', 'values'])}
${hasDropout ? dropoutVectorFunctions : ''}
${hasLse ? rounded : ''}
${tileMain()}
  // The last queries see most keys, and begin first.
  let i0 = (groups.x - 1u - group.x) * ${ROWS}u;
  ${groupRange(traits, ROWS, `params.position + min(i0 + ${ROWS}u, params.time)`)}
  let rows0 = vec4u(params.position + i0 + 8u * y) + vec4u(0u, 1u, 2u, 3u);
  let rows1 = rows0 + 4u;
  var maximum0 = vec4f(${scoreMin});
  var maximum1 = maximum0;
  var sum0 = vec4f();
  var sum1 = vec4f();
  ${declareSums(headSize, 'o')}
  ${hasDropout ? droppedElements : ''}
  ${rowRanges(traits)}
  /** The end of the keys that some of the invocation's queries see. */
  let seen = ${lastKey(traits)};
  for (var j0 = begin; j0 < keysMost; j0 += ${COLUMNS}u) {
    ${products(headSize, 's', queries, keys, `j0 < seen${sawKey(traits)}`)}
    ${softmax(traits)}
    ${storeWeights('s')}
    ${forSums(headSize, (r, u) => `o${r}_${u} *= factor${r >> 2}.${'xyzw'[r % 4]};`)}
    ${addWeighted(headSize, 'o', values, skippedKeys(traits), 'seen - min(seen, j0)')}
  }
  workgroupBarrier();
  ${forEach(2, (h) => `operands[x * ${ROWS / 4}u + 2u * y + ${h}u] = sum${h}; sum${h} = vec4f();`)}
  workgroupBarrier();
  for (var n = 0u; n < 8u; n++) {
    ${forEach(2, (h) => `sum${h} += operands[n * ${ROWS / 4}u + 2u * y + ${h}u];`)}
  }
  ${forEach(2, (h) => `let share${h} = 1.0 / sum${h};`)}
  ${storeSums(headSize, 'o', out, (r) => `share${r >> 2}.${'xyzw'[r % 4]}`)}
  ${hasLse ? storeLse : ''}
}`;
}
