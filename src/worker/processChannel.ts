/** The channels of hostChannel.ts between a process and the one that it forked. Both must use `serialization: 'advanced'`, which keeps bytes. */
import type { ChildProcess } from 'node:child_process';
import { type FromHost, type HostChannel, isOfHost, type ToHost } from './hostChannel.ts';

/** The agent's end. */
export function channelToWorker(child: ChildProcess): HostChannel<ToHost, FromHost> {
  return {
    send: (message) => handOver(child.connected, (done) => child.send(message, done)),
    onMessage: (listener) => {
      child.on('message', (message) => {
        if (isOfHost(message)) listener(message as ToHost);
      });
    },
    onClosed: (listener) => void child.on('disconnect', listener),
  };
}

/** The worker's end. */
export function channelToHost(): HostChannel<FromHost, ToHost> {
  return {
    send: (message) => handOver(process.connected, (done) => process.send?.(message, undefined, undefined, done)),
    onMessage: (listener) => {
      process.on('message', (message) => {
        if (isOfHost(message)) listener(message as FromHost);
      });
    },
    onClosed: (listener) => void process.on('disconnect', listener),
  };
}

/** A channel that is closed meanwhile says so by its event. */
function handOver(isConnected: boolean, send: (done: () => void) => void): Promise<void> {
  if (!isConnected) return Promise.resolve();
  return new Promise((resolve) => send(() => resolve()));
}
