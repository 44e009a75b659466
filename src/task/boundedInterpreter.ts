/**
 * The interpreter of chat templates, with a bound on its work. Templates come with other people's models, and each request to a server
 * renders one: loops inside loops must not stop the program.
 */
import { type Environment, Interpreter } from '@huggingface/jinja';
import type { RenderBudget } from './renderBudget.ts';

/** A part of a parsed template. Those that this names have these fields. */
interface Statement {
  readonly type: string;
  readonly iterable: Statement;
  readonly lhs: Statement;
}

const textLengthMax = 2 ** 24;
/** A step handles that many characters, or values of a list that exists already. */
const [charactersPerStep, valuesPerStep] = [1024, 16];
/** A loop makes its variables for each value. */
const stepsPerIteration = 10;

/** The values of the texts in templates. Values do not change, and making them is much of the work. */
const literals = new WeakMap<Statement, { readonly value: unknown }>();

/** Counts a step for each statement and expression, and more for long texts and lists. */
export class BoundedInterpreter extends Interpreter {
  readonly #budget: RenderBudget;
  /** The expressions that loops run through. A loop with an empty body evaluates nothing else. */
  readonly #looped = new WeakSet<Statement>();

  constructor(environment: Environment, budget: RenderBudget) {
    super(environment);
    this.#budget = budget;
  }

  evaluate(statement: Statement | undefined, environment: Environment): { readonly value: unknown } {
    if (statement === undefined) return super.evaluate(statement, environment);
    this.#budget.take(1);
    const { type, iterable } = statement;
    if (type === 'StringLiteral') {
      const literal = literals.get(statement) ?? super.evaluate(statement, environment);
      literals.set(statement, literal);
      return literal;
    }
    if (type === 'For') this.#looped.add(iterable.type === 'SelectExpression' ? iterable.lhs : iterable);
    const result = super.evaluate(statement, environment);
    this.#budget.take(this.#sizeOf(statement, result.value));
    return result;
  }

  /** The steps that a value takes besides the one of its expression. */
  #sizeOf(statement: Statement, value: unknown): number {
    if (typeof value === 'string') {
      if (value.length <= textLengthMax) return Math.floor(value.length / charactersPerStep);
      throw new Error(`a text of ${value.length} characters: expected at most ${textLengthMax}`);
    }
    const length = Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0;
    if (this.#looped.has(statement)) return length * stepsPerIteration;
    const isOld = statement.type === 'Identifier' || statement.type === 'MemberExpression';
    return isOld ? Math.floor(length / valuesPerStep) : length;
  }
}
