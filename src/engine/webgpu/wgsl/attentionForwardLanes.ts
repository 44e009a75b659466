/** The forward pass of attention for software drivers (attentionLanes.ts). */
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
import { forEach, rounded, scoreMin } from './attentionTiles.ts';
import { dropoutFunctions } from './dropout.ts';
import { endOf, groupRange, mayBeBlind, type RangeTraits, startOf } from './keyRanges.ts';

/** A balanced expression of `max` or + over the tile of row r. */
function overColumns(names: readonly string[], join: (a: string, b: string) => string): string {
  if (names.length === 1) return names[0]!;
  const half = names.length / 2;
  return join(overColumns(names.slice(0, half), join), overColumns(names.slice(half), join));
}

export interface ForwardTraits extends RangeTraits {
  readonly hasDropout: boolean;
  readonly hasLse: boolean;
}

export function attentionForwardLanes(lanes: number, traits: ForwardTraits): string {
  const { hasDropout, hasLse, hasStarts, hasEnds } = traits;
  const x0 = 'head * params.headSize';
  const queries = {
    binding: 'queries',
    start: `params.queryFrom + sample * params.time * params.queryStride + ${x0}`,
    stride: 'params.queryStride',
    scale: 'params.scale',
  };
  const [keys, values] = (['key', 'value'] as const).map((name) => ({
    binding: `${name}s`,
    start: `params.${name}From + sample * params.keyTime * params.keyStride + head / params.headsPerKv * params.headSize`,
    stride: 'params.keyStride',
  })) as [typeof queries, typeof queries];
  const out = {
    binding: 'out',
    start: `params.outFrom + sample * params.time * groups.y * params.headSize + ${x0}`,
    stride: 'groups.y * params.headSize',
  };
  const columns = (r: number) => Array.from({ length: laneColumns(lanes) }, (_, m) => `s${m}_${r}`);
  const row = (r: number) => `(i0 + ${r * lanes}u + lane)`;
  const isSeen = (m: number, r: number) => {
    const end = hasEnds ? `j0 + ${m}u < end${r}` : `j0 + ${m}u <= last${r}`;
    return hasStarts ? `${end} && j0 + ${m}u >= start${r}` : end;
  };
  // While a query has seen no key, its maximum is that of masked scores.
  const weight = (id: string, m: number, r: number) =>
    mayBeBlind(traits) ? `select(0.0, exp(s${id} - most${r}), ${isSeen(m, r)})` : `exp(s${id} - most${r})`;
  return `
${hasDropout ? dropoutFunctions : ''}
${hasLse ? rounded : ''}
${laneMain(lanes)}
  // The last queries see most keys, and begin first.
  let i0 = (groups.x - 1u - group.x) * ${laneRows(lanes)}u;
  ${groupRange(traits, laneRows(lanes), `params.position + min(i0 + ${laneRows(lanes)}u, params.time)`)}
  ${ownPlaces(lanes, 'query', queries, 'i0', 'params.time')}
  ${ownPlaces(lanes, 'to', out, 'i0', 'params.time')}
  ${forEach(OWN, (r) => `let last${r} = params.position + ${row(r)}; var maximum${r} = ${scoreMin}; var sum${r} = 0.0;`)}
  ${hasDropout ? `let dropped = dropoutKey(sample); ${forEach(OWN, (r) => `let elements${r} = (head * params.time + ${row(r)}) * params.keyTime;`)}` : ''}
  ${hasStarts ? forEach(OWN, (r) => `let start${r} = ${startOf(row(r))};`) : ''}
  ${hasEnds ? forEach(OWN, (r) => `let end${r} = ${endOf(row(r))};`) : ''}
  for (var j0 = begin; j0 < keysMost; j0 += ${laneColumns(lanes)}u) {
    ${broughtPlaces(lanes, 'key', keys, 'j0', 'keysMost')}
    ${broughtPlaces(lanes, 'value', values, 'j0', 'keysMost')}
    ${laneProducts(lanes, [{ name: 's', own: queries, ownPlace: 'query', other: keys, otherPlace: 'key' }])}
    ${forPairs(lanes, (id, m, r) => `s${id} = select(${scoreMin}, s${id}, ${isSeen(m, r)});`)}
    ${forEach(
      OWN,
      (r) => `
    let most${r} = max(maximum${r}, ${overColumns(columns(r), (a, b) => `max(${a}, ${b})`)});
    let factor${r} = exp(maximum${r} - most${r});
    maximum${r} = most${r};`,
    )}
    ${forPairs(lanes, (id, m, r) => `s${id} = ${weight(id, m, r)};`)}
    ${forEach(OWN, (r) => `sum${r} = fma(sum${r}, factor${r}, ${overColumns(columns(r), (a, b) => `(${a} + ${b})`)});`)}
    ${hasDropout ? forPairs(lanes, (id, m, r) => `s${id} = keep(dropped, elements${r} + j0 + ${m}u, s${id});`) : ''}
    let isLast = j0 + ${laneColumns(lanes)}u >= keysMost;
    ${forEach(OWN, (r) => `let share${r} = select(1.0, 1.0 / sum${r}, isLast);`)}
    ${laneSums(
      lanes,
      [
        {
          weights: 's',
          columns: values,
          columnPlace: 'value',
          to: out,
          toPlace: 'to',
          before: (r) => `factor${r}`,
          after: (r) => `share${r}`,
        },
      ],
      'j0 == begin',
      (r) => `${row(r)} < params.time`,
    )}
  }
  ${
    hasLse
      ? forEach(
          OWN,
          (r) => `
  if (${row(r)} < params.time) {
    let logOfSum = log(sum${r});
    let logSum = rounded(maximum${r} + logOfSum);
    let rest = rounded(maximum${r} - logSum) + logOfSum;
    let at = params.lseFrom + (sample * groups.y + head) * params.time + ${row(r)};
    lse[at] = logSum;
    lse[at + params.restOffset] = select(rest, 0.0, abs(rest) < 0x1p-18);
  }`,
        )
      : ''
  }
}`;
}
