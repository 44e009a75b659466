/** A process of an evaluation in which the first dies, and the second freezes, when they get a part to compute. */
const fate = ['SIGKILL', 'SIGSTOP'];
let signal;
/** Node keeps messages only until there is the first listener. */
const early = [];
process.on('message', (message) => {
  early.push(message);
  if ('path' in message) signal = fate[message.engine.localIndex];
  else if (signal !== undefined) process.kill(process.pid, signal);
});
await import('../../dist/run/evaluationWorkerMain.js');
for (const message of early.splice(0)) process.emit('message', message);
