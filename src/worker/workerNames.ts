/** The names of the workers that a coordinator starts on its own machine. Those of `launch join` begin with `remote-`. */

const prefix = 'local-';

export function localNames(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(4, '0')}`);
}

export function isLocalName(worker: string): boolean {
  return worker.startsWith(prefix);
}
