/** A file for Docker Compose: the nodes of a job as containers of one machine, to try what will run on several. */
import { defaultPort } from '../placement.ts';
import { literal, manifestText } from './manifestText.ts';
import { attempts, clusterWords, graceSeconds, imageFolder, type ScriptOptions } from './scriptOptions.ts';

/** Text of `compose.yaml`. */
export function composeFile(options: ScriptOptions): string {
  const { name, nodes, image, cpus, memory, program } = options;
  const key = (variable: string) => ({ [variable]: `\${${variable}:?make it with ${program} keys}` });
  const node = (rank: number) => ({
    image,
    command: clusterWords(options).map(literal),
    environment: {
      LOCKSTEP_NODE_RANK: String(rank),
      LOCKSTEP_NODES: String(nodes),
      LOCKSTEP_COORDINATOR: `node-0:${defaultPort}`,
      ...key(rank === 0 ? 'LOCKSTEP_RUN_KEY' : 'LOCKSTEP_JOIN_KEY'),
    },
    init: true,
    // 85 and failures are started again, as often as pods are; a run that is done ends with 0.
    restart: `on-failure:${attempts}`,
    stop_grace_period: `${graceSeconds}s`,
    ...(cpus === undefined ? {} : { cpus }),
    ...(memory === undefined ? {} : { mem_limit: memory.replace(/i$/, '').toLowerCase() }),
    ...(rank === 0 ? { volumes: [`.:${imageFolder}`] } : {}),
  });
  const services = Object.fromEntries(Array.from({ length: nodes }, (_, rank) => [`node-${rank}`, node(rank)]));
  const comment = [
    'The containers of one machine as the nodes of a job. Make the keys once, then start:',
    `  ${program} keys --out keys`,
    '  LOCKSTEP_RUN_KEY=$(cat keys/run.key) LOCKSTEP_JOIN_KEY=$(cat keys/join.key) docker compose up',
  ];
  return manifestText(comment, [{ name, services }]);
}
