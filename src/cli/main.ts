#!/usr/bin/env node
/** The entry point of `launch`. It answers `--version` alone, with few modules loaded, and gives everything else to program.ts. */
const typed = process.argv.slice(2);
const isAnswered = typed.length === 1 && typed[0] === '--version' && (await import('./versionLine.ts')).printVersion();
if (!isAnswered) await (await import('./program.ts')).runProgram(typed);

// Makes this file a module.
export {};
