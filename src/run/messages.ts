/** What is said of a run besides what its listener is told: the command line prints it, a library's caller may ignore it. */
export interface RunMessages {
  /** A fact, in one line. */
  note(line: string): void;
  /** What a user should look at, though the run goes on. */
  warn(line: string): void;
  /** Called where work begins that may take long; what it returns is told the share that is done, from 0 to 1. */
  progress(label: string): (done: number) => void;
}
