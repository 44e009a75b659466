import { expect, it } from 'vitest';
import { calledAs, calledDirectly, type ProcessStart, programName } from '../../../src/cli/calledAs.ts';

const start = (script: string, env: ProcessStart['env'] = {}, nodeOptions: readonly string[] = []): ProcessStart => ({
  script,
  nodeOptions,
  cwd: '/home/me/project',
  env: { PATH: '/usr/bin:/usr/local/bin', ...env },
});
const npx = (command: string) => ({ npm_command: 'exec', npm_lifecycle_script: command });
const linked = '/home/me/project/node_modules/.bin';

it.each([
  ['npx launch', start(`${linked}/launch`, npx('launch --workers 2'))],
  ['npx lockstep', start(`${linked}/lockstep`, npx('lockstep'))],
  ['npx launch', start('/home/me/.npm/_npx/b388654678d519d9/node_modules/.bin/launch', npx("'launch'"))],
  // On Windows npx starts the file.
  ['npx lockstep', start('/home/me/project/node_modules/lockstep/dist/cli/main.js', npx('lockstep doctor'))],
  // A script of package.json has the folder in its PATH; the reader of the message does not.
  ['npx launch', start(`${linked}/launch`, { PATH: `${linked}:/usr/bin`, npm_command: 'run-script' })],
  ['launch', start('/usr/local/bin/launch')],
  ['lockstep', start('/usr/local/bin/lockstep')],
  ['node /opt/bin/launch', start('/opt/bin/launch')],
  ['node dist/cli/main.js', start('/home/me/project/dist/cli/main.js')],
  ["node '/opt/my clone/main.js'", start('/opt/my clone/main.js')],
  ['node --max-old-space-size=9000 main.js', start('/home/me/project/main.js', {}, ['--max-old-space-size=9000'])],
  // A program that npx runs may start this one in its own way.
  ['node main.js', start('/home/me/project/main.js', npx('launcher'))],
])('%s', (expected, given) => {
  expect(calledAs(given)).toBe(expected);
});

it('a scheduler starts the program itself, not npx', () => {
  expect(calledDirectly(start(`${linked}/launch`, npx('launch --workers 2')))).toBe('node_modules/.bin/launch');
  const cached = start('/home/ana/.npm/_npx/4f/node_modules/.bin/launch', npx('launch cluster'));
  expect(calledDirectly(cached)).toMatch(/^node (\S*\/)?dist\/cli\/main\.js$/);
  expect(calledDirectly(start('/usr/local/bin/launch'))).toBe('launch');
});

it('errors begin with the name of the command', () => {
  expect(programName(start(`${linked}/lockstep`))).toBe('lockstep');
  expect(programName(start('/home/me/project/dist/cli/main.js'))).toBe('launch');
});
