/** Values of the environment that a launcher gave to this process. */
import { UserError } from '../base/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** @throws UserError if it is not a port */
export function portOf(env: Environment, name: string): number | undefined {
  const port = wholeNumber(env, name);
  if (port === undefined || (port >= 1 && port <= 65_535)) return port;
  throw new UserError(`${name}: expected a port from 1 to 65535, received ${port}`);
}

/** Undefined if the variable is absent or empty. @throws UserError if it is not a whole number */
export function wholeNumber(env: Environment, name: string): number | undefined {
  const value = text(env, name);
  if (value === undefined) return undefined;
  if (!/^\d{1,10}$/.test(value))
    throw new UserError(`${name}: expected a whole number, received "${value.slice(0, 40)}"`);
  return Number(value);
}

/** Undefined if the variable is absent or empty. */
export function text(env: Environment, name: string): string | undefined {
  return env[name]?.trim() || undefined;
}
