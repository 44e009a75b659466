/**
 * Slurm's compact lists of nodes, such as `n[1-3,7],m04`. `scontrol show hostnames` expands them too, but containers seldom have it.
 * Syntax: the hostlist expressions of https://slurm.schedmd.com/scontrol.html.
 */
import { UserError } from '../base/errors.ts';

/** More nodes than any Slurm cluster has. */
const nodesMax = 65_536;

/** The names in a node list, in its order. @throws UserError if it is not one, or names more than 65,536 nodes */
export function slurmNodes(list: string): string[] {
  const names = splitOutsideBrackets(list).flatMap((part) => expand(part, list));
  if (names.length > nodesMax) throw tooMany(list);
  return names;
}

/** Splits at the commas that separate entries, not at those between ranges. */
function splitOutsideBrackets(list: string): string[] {
  const parts = list.split(/,(?![^[\]]*\])/);
  if (parts.some((part) => !/^(?:[^[\],\s]|\[[\d,-]+\])+$/.test(part))) throw invalid(list);
  return parts;
}

/** One entry: text and any number of brackets, `r[1-2]n[01-04]`; the last bracket varies fastest. */
function expand(part: string, list: string): string[] {
  let names = [''];
  for (const [, text, ranges] of part.matchAll(/([^[]+)|\[([^\]]+)\]/g)) {
    const pieces = text === undefined ? ranges!.split(',').flatMap((range) => numbersOf(range, list)) : [text];
    if (names.length * pieces.length > nodesMax) throw tooMany(list);
    names = names.flatMap((name) => pieces.map((piece) => name + piece));
  }
  return names;
}

/** `7` or `08-11`, with the zeros in front of the first number. */
function numbersOf(range: string, list: string): string[] {
  const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range);
  const [, first = '', last = first] = match ?? [];
  const count = Number(last) - Number(first) + 1;
  if (match === null || count < 1) throw invalid(list);
  if (count > nodesMax) throw tooMany(list);
  return Array.from({ length: count }, (_, i) => String(Number(first) + i).padStart(first.length, '0'));
}

function invalid(list: string): UserError {
  return new UserError(`expected a node list of Slurm like n[1-3,7],m04, received "${shown(list)}"`);
}

function tooMany(list: string): UserError {
  return new UserError(`the node list "${shown(list)}" has more than ${nodesMax} nodes`);
}

function shown(list: string): string {
  return list.length > 80 ? `${list.slice(0, 80)}…` : list;
}
