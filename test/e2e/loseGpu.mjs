/**
 * Imported before a program, in each of its threads: one GPU device of the run is lost after LOCKSTEP_TEST_LOSE_AFTER submissions, or while the
 * read of number LOCKSTEP_TEST_LOSE_AT_READ waits. `LOCKSTEP_TEST_LOSE` is a file that does not exist yet; the thread that creates it loses its device.
 */
import { closeSync, openSync } from 'node:fs';
import { globals } from 'webgpu';

const read = Number(process.env.LOCKSTEP_TEST_LOSE_AT_READ ?? 0);
const submissions = Number(process.env.LOCKSTEP_TEST_LOSE_AFTER ?? (read > 0 ? 0 : 60));
const { GPUAdapter, GPUBuffer, GPUQueue } = globals;
const { requestDevice } = GPUAdapter.prototype;
const { submit } = GPUQueue.prototype;
const { mapAsync } = GPUBuffer.prototype;
let device;
let count = 0;
let reads = 0;

GPUAdapter.prototype.requestDevice = async function (...options) {
  device = await requestDevice.apply(this, options);
  count = 0;
  return device;
};

GPUQueue.prototype.submit = function (...buffers) {
  submit.apply(this, buffers);
  if (++count === submissions && isFirst()) device.destroy();
};

GPUBuffer.prototype.mapAsync = function (...options) {
  const mapped = mapAsync.apply(this, options);
  if (++reads === read && isFirst()) device.destroy();
  return mapped;
};

function isFirst() {
  try {
    closeSync(openSync(process.env.LOCKSTEP_TEST_LOSE, 'wx'));
    return true;
  } catch {
    return false; // another thread has lost its device
  }
}
