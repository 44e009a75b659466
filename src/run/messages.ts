/** Messages about a run besides the events for its listener: the command line prints them, a caller of the library may ignore them. */
export interface RunMessages {
  /** A fact, in one line. */
  note(line: string): void;
  /** A problem that does not stop the run. */
  warn(line: string): void;
  /** Called before work that may take long. The returned function receives the completed share, from 0 to 1. */
  progress(label: string): (done: number) => void;
}
