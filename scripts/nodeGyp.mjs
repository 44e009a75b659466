/**
 * The command that runs node-gyp. npm tells its scripts where its own is; outside of npm, `npx` finds one.
 * @returns {[command: string, args: string[]]}
 */
export function nodeGyp() {
  const own = process.env.npm_config_node_gyp;
  return own ? [process.execPath, [own]] : ['npx', ['--yes', 'node-gyp']];
}
