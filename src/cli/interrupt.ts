/** What the commands that run for long make of Ctrl-C. */

/** The exit code of a command that the user interrupted, as shells have it: 128 + SIGINT. */
export const interruptedExitCode = 130;
