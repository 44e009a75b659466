/** The passes of the backward pass of attention for GPUs (attentionTiles.ts). */
import type { BackwardTraits } from './attentionBackwardLanes.ts';
import {
  addWeighted,
  COLUMNS,
  declareSums,
  droppedElements,
  forEach,
  forProducts,
  products,
  ROWS,
  rounded,
  scoreScale,
  storeSums,
  storeWeights,
  sumProducts,
  tileFunctions,
  tileMain,
} from './attentionTiles.ts';
import { dropoutVectorFunctions } from './dropout.ts';
import { endOf, groupRange, startOf } from './keyRanges.ts';
import { lastKey, rowRanges, sawKey, seesKey, skippedKeys } from './tileRanges.ts';

/** The rows of the tensors in both passes; `first` and `limit` are those of the queries or keys. */
function rowsOf(headSize: number) {
  const queries = (binding: string, from: string, stride: string) => ({
    binding,
    start: `(params.${from} + sample * params.time * params.${stride} + head * ${headSize}u)`,
    stride: `params.${stride}`,
    limit: 'params.time',
    first: 'i0',
  });
  const keys = (binding: string, from: string) => ({
    binding,
    start: `(params.${from} + sample * params.keyTime * params.keyStride + kvHead * ${headSize}u)`,
    stride: 'params.keyStride',
    limit: 'params.keyTime',
    first: 'j0',
  });
  return {
    query: { ...queries('queries', 'queryFrom', 'queryStride'), scale: scoreScale(headSize) },
    dquery: queries('dqueries', 'dqueryFrom', 'queryStride'),
    dout: queries('dout', 'outFrom', 'outStride'),
    out: queries('out', 'outFrom', 'outStride'),
    key: keys('keys', 'keyFrom'),
    value: keys('keys', 'valueFrom'),
    dkey: keys('dkeys', 'dkeyFrom'),
    dvalue: keys('dkeys', 'dvalueFrom'),
  };
}

/** Weights of scores: the log and its rest are subtracted one after the other, because their sum would round the rest away. */
const weightFunction = `
${rounded}
fn weightsOf(scores: vec4f, logs: vec4f, rests: vec4f) -> vec4f {
  return exp(min(rounded4(scores - logs) - rests, vec4f()));
}`;

/** The pass whose workgroups have queries. */
export function attentionQueryTiles(headSize: number, traits: BackwardTraits): string {
  const { hasDropout } = traits;
  const isSeen = `j0 < seen${sawKey(traits)}`;
  const rows = rowsOf(headSize);
  return `
${tileFunctions(headSize, ['queries', 'keys', 'dout', 'out'])}
/** For each query the sum of the gradients of its weights times the weights. */
var<workgroup> means: array<f32, ${ROWS}>;
${hasDropout ? dropoutVectorFunctions : ''}
${weightFunction}
${tileMain()}
  let kvHead = head / params.headsPerKv;
  // The last queries see most keys, and begin first.
  let i0 = (groups.x - 1u - group.x) * ${ROWS}u;
  ${groupRange(traits, ROWS, `min(i0 + ${ROWS}u, params.time)`)}
  let rows0 = vec4u(i0 + 8u * y) + vec4u(0u, 1u, 2u, 3u);
  let rows1 = rows0 + 4u;
  let numbers = (sample * groups.y + head) * params.time;
  ${sumProducts(headSize, rows.dout, rows.out)}
  means[local] = mean;
  if (i0 + local < params.time) { meanGradients[numbers + i0 + local] = mean; }
  workgroupBarrier();
  ${forEach(
    2,
    (h) => `
  let at${h} = numbers + min(rows${h}, vec4u(params.time - 1u));
  let logs${h} = numbersAt(at${h} + params.lseFrom);
  let rests${h} = numbersAt(at${h} + params.lseFrom + params.restOffset);
  let means${h} = vec4f(${[0, 1, 2, 3].map((i) => `means[8u * y + ${4 * h + i}u]`).join(', ')});`,
  )}
  ${declareSums(headSize, 'g')}
  ${hasDropout ? droppedElements : ''}
  ${rowRanges(traits)}
  /** The end of the keys that some of the invocation's queries see. */
  let seen = ${lastKey(traits)};
  for (var j0 = begin; j0 < keysMost; j0 += ${COLUMNS}u) {
    ${products(headSize, 's', rows.query, rows.key, isSeen)}
    ${products(headSize, 'w', rows.dout, rows.value, isSeen)}
    ${forProducts((id, j, h) => {
      const key = `vec4u(j0 + 4u * x + ${j}u)`;
      const gradient = hasDropout ? `keep4(dropped, elements${h} + ${key}, w${id})` : `w${id}`;
      const product = `weightsOf(s${id}, logs${h}, rests${h}) * (${gradient} - means${h})`;
      return `s${id} = select(vec4f(), ${product}, ${seesKey(traits, h, key)});`;
    })}
    ${storeWeights('s')}
    ${addWeighted(headSize, 'g', rows.key, skippedKeys(traits), 'seen - min(seen, j0)')}
  }
  ${storeSums(headSize, 'g', rows.dquery, () => scoreScale(headSize))}
}
fn numbersAt(at: vec4u) -> vec4f { return vec4f(lse[at.x], lse[at.y], lse[at.z], lse[at.w]); }`;
}

/** The pass whose workgroups have keys and values. */
export function attentionKeyTiles(headSize: number, { hasDropout, hasStarts, hasEnds }: BackwardTraits): string {
  const from = hasEnds ? '0u' : 'j0';
  const isMet = hasStarts && !hasEnds ? ` && ${startOf('i0')} < j0 + ${ROWS}u` : '';
  const rows = rowsOf(headSize);
  return `
${tileFunctions(headSize, ['queries', 'keys', 'dout'])}
/** For each query of the tile the log of the softmax denominator, its rest, and the mean of the gradients of the weights. */
var<workgroup> logs: array<f32, ${COLUMNS}>;
var<workgroup> rests: array<f32, ${COLUMNS}>;
var<workgroup> means: array<f32, ${COLUMNS}>;
${hasStarts ? `var<workgroup> begins: array<u32, ${COLUMNS}>;` : ''}
${hasEnds ? `var<workgroup> lasts: array<u32, ${COLUMNS}>;` : ''}
${hasDropout ? dropoutVectorFunctions : ''}
${weightFunction}
${tileMain('kvHead')}
  let j0 = group.x * ${ROWS}u;
  let rows0 = vec4u(j0 + 8u * y) + vec4u(0u, 1u, 2u, 3u);
  let rows1 = rows0 + 4u;
  ${declareSums(headSize, 'dk')}
  ${declareSums(headSize, 'dv')}
  ${hasDropout ? 'let dropped = dropoutKey(sample);' : ''}
  let headsFrom = kvHead * params.headsPerKv;
  for (var head = headsFrom; head < headsFrom + params.headsPerKv; head++) {
  let numbers = (sample * groups.y * params.headsPerKv + head) * params.time;
  for (var i0 = ${from}; i0 < params.time${isMet}; i0 += ${COLUMNS}u) {
    // Number of queries of the tile that see none of the invocation's keys.
    let blind = ${hasEnds ? '0u' : 'j0 + 8u * y - min(j0 + 8u * y, i0)'};
    if (local < ${COLUMNS}u) {
      let at = numbers + min(i0 + local, params.time - 1u);
      logs[local] = lse[params.lseFrom + at];
      rests[local] = lse[params.lseFrom + params.restOffset + at];
      means[local] = meanGradients[at];
      ${hasStarts ? `begins[local] = ${startOf('(i0 + local)')};` : ''}
      ${hasEnds ? `lasts[local] = ${endOf('(i0 + local)')};` : ''}
    }
    ${products(headSize, 's', rows.key, rows.query, `blind < ${COLUMNS}u`)}
    ${products(headSize, 'w', rows.value, rows.dout, `blind < ${COLUMNS}u`)}
    ${forEach(
      4,
      (j) => `
    let m${j} = 4u * x + ${j}u;
    let query${j} = i0 + m${j};
    let last${j} = select(0u, ${hasEnds ? `lasts[m${j}]` : `query${j} + 1u`}, query${j} < params.time);`,
    )}
    ${forProducts((id, j, h) => {
      const weight = `weightsOf(s${id}, vec4f(logs[m${j}]), vec4f(rests[m${j}]))`;
      const isInDocument = hasStarts ? ` & (rows${h} >= vec4u(begins[m${j}]))` : '';
      const seen = `s${id} = select(vec4f(), ${weight}, (rows${h} < vec4u(last${j}))${isInDocument});`;
      const gradient = (value: string) => `w${id} = s${id} * (${value} - vec4f(means[m${j}]));`;
      if (!hasDropout) return `${seen} ${gradient(`w${id}`)}`;
      const elements = `(head * params.time + query${j}) * params.keyTime + rows${h}`;
      return `{
        let elements = ${elements};
        ${seen}
        ${gradient(`keep4(dropped, elements, w${id})`)}
        s${id} = keep4(dropped, elements, s${id});
      }`;
    })}
    ${storeWeights('s')}
    ${addWeighted(headSize, 'dv', rows.dout, 'blind', `${COLUMNS}u`)}
    workgroupBarrier();
    ${storeWeights('w')}
    ${addWeighted(headSize, 'dk', rows.query, 'blind', `${COLUMNS}u`)}
  }
  }
  ${storeSums(headSize, 'dk', rows.dkey, () => '1.0')}
  ${storeSums(headSize, 'dv', rows.dvalue, () => '1.0')}
}`;
}
