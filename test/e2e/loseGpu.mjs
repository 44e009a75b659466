/**
 * Imported before a program, in each of its threads: one GPU device of the run is lost after LOCKSTEP_TEST_LOSE_AFTER submissions. `LOCKSTEP_TEST_LOSE` is a
 * file that does not exist yet; the thread that creates it loses its device.
 */
import { closeSync, openSync } from 'node:fs';
import { globals } from 'webgpu';

const submissions = Number(process.env.LOCKSTEP_TEST_LOSE_AFTER ?? 60);
const { GPUAdapter, GPUQueue } = globals;
const { requestDevice } = GPUAdapter.prototype;
const { submit } = GPUQueue.prototype;
let device;
let count = 0;

GPUAdapter.prototype.requestDevice = async function (...options) {
  device = await requestDevice.apply(this, options);
  count = 0;
  return device;
};

GPUQueue.prototype.submit = function (...buffers) {
  submit.apply(this, buffers);
  if (++count === submissions && isFirst()) device.destroy();
};

function isFirst() {
  try {
    closeSync(openSync(process.env.LOCKSTEP_TEST_LOSE, 'wx'));
    return true;
  } catch {
    return false; // another thread has lost its device
  }
}
