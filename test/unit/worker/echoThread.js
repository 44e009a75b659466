/** A compute thread that computes nothing: it answers each message on the gradients' port with the same message. */
const done = { ok: true };

export function build({ gradientPort }) {
  gradientPort.on('message', (message) => gradientPort.postMessage(message));
  return { ok: true, value: { isInPlace: false } };
}
export const step = () => done;
export const dispose = () => done;
