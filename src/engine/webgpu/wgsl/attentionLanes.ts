/**
 * The products of the attention programs for software drivers. Such a driver runs an invocation per lane of a vector register and reaches
 * memory lane by lane, so a workgroup is one subgroup: every lane has some rows of one side of a head (queries or keys), and gets
 * those of the other side from lane to lane. Sums over channels are in registers; sums for channels are in the result itself.
 */
import { forEach } from './attentionTiles.ts';

/** Rows of a lane. */
export const OWN = 2;
/** Rows of the other side that each lane brings. */
const BROUGHT = 4;

/** Rows of a subgroup. */
export function laneRows(lanes: number): number {
  return OWN * lanes;
}

/** Rows of the other side in a tile. */
export function laneColumns(lanes: number): number {
  return BROUGHT * lanes;
}

/** Rows in WGSL. */
export interface LaneRows {
  readonly binding: string;
  /** Element of row 0, as an expression. */
  readonly start: string;
  /** Elements from a row to the next. */
  readonly stride: string;
  /** Its numbers are multiplied by this. */
  readonly scale?: string;
}

/** A line for each pair of a column of the tile and a row of the lane. */
export function forPairs(lanes: number, line: (id: string, m: number, r: number) => string): string {
  return forEach(laneColumns(lanes), (m) => forEach(OWN, (r) => line(`${m}_${r}`, m, r)));
}

/** Declares the places of rows as NAME0, NAME1, ...: `row(r)` is the number of a row, and may not be below the limit. */
function places(count: number, name: string, rows: LaneRows, row: (r: number) => string, limit: string): string {
  return forEach(count, (r) => `let ${name}${r} = ${rows.start} + min(${row(r)}, ${limit} - 1u) * ${rows.stride};`);
}

/** Declares the places of the lane's rows; `first` is the subgroup's first. */
export function ownPlaces(lanes: number, name: string, rows: LaneRows, first: string, limit: string): string {
  return places(OWN, name, rows, (r) => `${first} + ${r * lanes}u + lane`, limit);
}

/** Declares the places of the rows that the lane brings to the tile from `first` on. */
export function broughtPlaces(lanes: number, name: string, rows: LaneRows, first: string, limit: string): string {
  return places(BROUGHT, name, rows, (r) => `${first} + ${r * lanes}u + lane`, limit);
}

const at = ({ binding, scale }: LaneRows, place: string) =>
  `${binding}[${place} + channel]${scale === undefined ? '' : ` * ${scale}`}`;

/** Loads a channel of the rows a lane brings, and gives line(m, value) each of the tile, which all lanes get. */
function forColumns(
  lanes: number,
  name: string,
  rows: LaneRows,
  place: string,
  line: (m: number, value: string) => string,
): string {
  return `
      ${forEach(BROUGHT, (b) => `let ${name}${b} = ${at(rows, `${place}${b}`)};`)}
      ${forEach(laneColumns(lanes), (m) => {
        const value = `${name}m${m}`;
        return `let ${value} = subgroupBroadcast(${name}${Math.floor(m / lanes)}, ${m % lanes}u); ${line(m, value)}`;
      })}`;
}

/** One product of `laneProducts`. */
export interface LaneProduct {
  /** Name of the sums: NAMEm_r. */
  readonly name: string;
  readonly own: LaneRows;
  /** Name of the places of `own`, as of `other`. */
  readonly ownPlace: string;
  readonly other: LaneRows;
  readonly otherPlace: string;
}

/** Declares the products of all pairs. Channels are added one after another, as `products` in attentionTiles.ts does. */
export function laneProducts(lanes: number, all: readonly LaneProduct[]): string {
  return `
    ${all.map(({ name }) => forPairs(lanes, (id) => `var ${name}${id} = 0.0;`)).join('\n')}
    for (var channel = 0u; channel < params.headSize; channel++) {
      ${all
        .map(
          ({ name, own, ownPlace, other, otherPlace }) => `
      ${forEach(OWN, (r) => `let ${name}Own${r} = ${at(own, `${ownPlace}${r}`)};`)}
      ${forColumns(lanes, `${name}Of`, other, otherPlace, (m, value) =>
        forEach(OWN, (r) => `${name}${m}_${r} = fma(${name}Own${r}, ${value}, ${name}${m}_${r});`),
      )}`,
        )
        .join('\n')}
    }`;
}

/** One sum of `laneSums`. */
export interface LaneSum {
  /** Name of the weights: NAMEm_r. */
  readonly weights: string;
  readonly columns: LaneRows;
  readonly columnPlace: string;
  /** Where the lane's rows of sums are. */
  readonly to: LaneRows;
  readonly toPlace: string;
  /** What the sums so far are multiplied by, and what the new ones are. */
  readonly before?: (r: number) => string;
  readonly after?: (r: number) => string;
}

/** Adds to the lane's rows their weights times the columns, one after another. `isFirst`: nothing was added yet. */
export function laneSums(
  lanes: number,
  all: readonly LaneSum[],
  isFirst: string,
  isOwn: (r: number) => string,
): string {
  return `
    for (var channel = 0u; channel < params.headSize; channel++) {
      ${all
        .map(
          ({ weights, columns, columnPlace, to, toPlace, before, after }) => `
      ${forEach(OWN, (r) => `var ${weights}Sum${r} = select(${at(to, `${toPlace}${r}`)}, 0.0, ${isFirst})${before ? ` * ${before(r)}` : ''};`)}
      ${forColumns(lanes, `${weights}By`, columns, columnPlace, (m, value) =>
        forEach(OWN, (r) => `${weights}Sum${r} = fma(${weights}${m}_${r}, ${value}, ${weights}Sum${r});`),
      )}
      ${forEach(OWN, (r) => `if (${isOwn(r)}) { ${to.binding}[${toPlace}${r} + channel] = ${weights}Sum${r}${after ? ` * ${after(r)}` : ''}; }`)}`,
        )
        .join('\n')}
    }`;
}

/** The entry point, up to where it is which lane of which workgroup; `head` is the name of the number of its head. */
export function laneMain(lanes: number, head = 'head'): string {
  return `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let ${head} = group.y;
  let sample = group.z;`;
}
