// A worker process that says which of its machine it is, and which secrets it can see, and stays.
const secrets = ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'LOCKSTEP_RUN_KEY'].filter(
  (name) => name in process.env,
);
process.on('message', ({ id, localIndex }) => process.stdout.write(`${[id, localIndex, ...secrets].join(' ')}\n`));
