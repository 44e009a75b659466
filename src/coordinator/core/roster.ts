/**
 * Lists of workers that never change: a change gives another list. Decisions change one member for every message, so a list that has been
 * changed once is a {@link Roster}, where finding a worker and changing it take the same time however many there are. Pure.
 */

/** A worker, of which only the id of its connection is known here. */
interface Identified {
  readonly id: string;
}

/** What decisions read of a list of workers. Arrays have it, too. */
export interface Members<M> extends Iterable<M> {
  readonly length: number;
  at(place: number): M | undefined;
  find(test: (member: M) => boolean): M | undefined;
  some(test: (member: M) => boolean): boolean;
  every(test: (member: M) => boolean): boolean;
  filter(test: (member: M) => boolean): M[];
  map<T>(to: (member: M, place: number) => T): T[];
}

/** Members in one piece of a list. A change copies one piece and the list of pieces: least when both are about as long. */
const pieceLength = 32;

class Roster<M extends Identified> implements Members<M> {
  readonly length: number;
  readonly #pieces: readonly (readonly M[])[];
  readonly #places: ReadonlyMap<string, number>;

  constructor(pieces: readonly (readonly M[])[], places: ReadonlyMap<string, number>) {
    this.#pieces = pieces;
    this.#places = places;
    this.length = places.size;
  }

  static of<M extends Identified>(members: Members<M>): Roster<M> {
    const all = [...members];
    return new Roster(piecesOf(all), new Map(all.map(({ id }, place) => [id, place])));
  }

  [Symbol.iterator](): Iterator<M> {
    return this.list()[Symbol.iterator]();
  }

  /** An array of its own. */
  list(): M[] {
    return this.#pieces.flat();
  }

  at(place: number): M | undefined {
    const from = place < 0 ? place + this.length : place;
    return this.#pieces[Math.floor(from / pieceLength)]?.[from % pieceLength];
  }

  placeOf(id: string): number | undefined {
    return this.#places.get(id);
  }

  /** With another member of the same id in this place. */
  with(place: number, member: M): Roster<M> {
    const index = Math.floor(place / pieceLength);
    const piece = this.#pieces[index]!.slice();
    piece[place % pieceLength] = member;
    const pieces = this.#pieces.slice();
    pieces[index] = piece;
    return new Roster(pieces, this.#places);
  }

  /** With several members changed, of which the list has some. */
  withAll(changed: readonly M[]): Roster<M> {
    const pieces = this.#pieces.slice();
    const copied = new Map<number, M[]>();
    for (const member of changed) {
      const place = this.#places.get(member.id);
      if (place === undefined) continue;
      const index = Math.floor(place / pieceLength);
      let piece = copied.get(index);
      if (piece === undefined) {
        piece = pieces[index]!.slice();
        copied.set(index, piece);
        pieces[index] = piece;
      }
      piece[place % pieceLength] = member;
    }
    return copied.size === 0 ? this : new Roster(pieces, this.#places);
  }

  /** With every member changed, in its place. */
  changed(to: (member: M) => M): Roster<M> {
    return new Roster(
      this.#pieces.map((piece) => piece.map((member) => to(member))),
      this.#places,
    );
  }

  find(test: (member: M) => boolean): M | undefined {
    for (const piece of this.#pieces) {
      const found = piece.find((member) => test(member));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  some(test: (member: M) => boolean): boolean {
    return this.#pieces.some((piece) => piece.some((member) => test(member)));
  }

  every(test: (member: M) => boolean): boolean {
    return this.#pieces.every((piece) => piece.every((member) => test(member)));
  }

  filter(test: (member: M) => boolean): M[] {
    return this.#pieces.flatMap((piece) => piece.filter((member) => test(member)));
  }

  map<T>(to: (member: M, place: number) => T): T[] {
    const list: T[] = [];
    for (const piece of this.#pieces) for (let i = 0; i < piece.length; i++) list.push(to(piece[i]!, list.length));
    return list;
  }
}

function piecesOf<M>(members: readonly M[]): M[][] {
  const pieces = Math.ceil(members.length / pieceLength);
  return Array.from({ length: pieces }, (_, i) => members.slice(i * pieceLength, (i + 1) * pieceLength));
}

/** The members in an array, which the caller may not change. */
export function listOf<M extends Identified>(members: Members<M>): readonly M[] {
  if (members instanceof Roster) return members.list();
  return Array.isArray(members) ? members : [...members];
}

/** The member with this id. */
export function findById<M extends Identified>(members: Members<M>, id: string): M | undefined {
  if (!(members instanceof Roster)) return members.find((member) => member.id === id);
  const place = members.placeOf(id);
  return place === undefined ? undefined : members.at(place);
}

/** The list with this member in place of the one with its id; undefined if there is none. */
export function withReplaced<M extends Identified>(members: Members<M>, member: M): Members<M> | undefined {
  if (findById(members, member.id) === undefined) return undefined;
  const roster = members instanceof Roster ? members : Roster.of(members);
  return roster.with(roster.placeOf(member.id)!, member);
}

/** The list with these members in place of those with their ids; those that the list has not are left out. */
export function withReplacedAll<M extends Identified>(members: Members<M>, changed: readonly M[]): Members<M> {
  return (members instanceof Roster ? members : Roster.of(members)).withAll(changed);
}

/** The list with every member changed, each of which keeps its id. */
export function withEach<M extends Identified>(members: Members<M>, to: (member: M) => M): Members<M> {
  return members instanceof Roster ? members.changed(to) : members.map(to);
}

/** The first place, from `start` on and then from 0, whose member fits; undefined if there is none. */
export function placeFrom<M extends Identified>(
  members: Members<M>,
  start: number,
  test: (member: M) => boolean,
): number | undefined {
  for (let i = 0; i < members.length; i++) {
    const place = (start + i) % members.length;
    if (test(members.at(place)!)) return place;
  }
  return undefined;
}
