// A worker process that says which of its machine it is, and stays.
process.on('message', ({ id, localIndex }) => process.stdout.write(`${id} ${localIndex}\n`));
