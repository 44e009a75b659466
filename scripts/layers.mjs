/**
 * The layers: which folder of src/ may import which, for values and types. Every folder may also import its own files, and packages.
 * A folder inside another follows its own line if it has one. `npm run check:static` checks this with check-layers.mjs.
 */
export const mayImport = {
  base: '',

  architecture: 'base',
  engine: 'base engine/native engine/tfjs engine/webgpu',
  'engine/native': 'base engine',
  'engine/tfjs': 'base engine',
  'engine/webgpu': 'base engine',

  objectStore: 'base',

  checkpoint: 'base architecture objectStore',
  cluster: 'base comm',
  comm: 'base',
  config: 'base architecture engine task',
  data: 'base objectStore task',
  model: 'base architecture engine task',
  records: 'base comm',
  task: 'base',

  coordinator: 'base architecture checkpoint comm config coordinator/core data records task',
  'coordinator/core': 'base comm records',
  worker: 'base architecture checkpoint comm config engine model records task',

  report: 'base records coordinator',

  run: 'base architecture checkpoint comm config coordinator coordinator/core data engine model objectStore records task worker',
  bench:
    'base architecture checkpoint comm config coordinator coordinator/core data engine model records report task worker',
  web: 'base',
  dashboard: 'base records report web',
  serve: 'base data model run task web',

  cli: 'base architecture bench checkpoint cluster comm config coordinator coordinator/core dashboard data engine model records report run serve task web worker',
};

/** Folders without effects: they may import no module of Node, so they have no files, sockets or threads. */
export const pure = ['architecture', 'coordinator/core', 'task'];
