/**
 * jax-js on WebGPU in Node.js, which it is not made for: the package `webgpu` stands for the browser's `navigator.gpu`. A peer says
 * `missing WHAT` instead of `ready` where it cannot start.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { create, globals } from 'webgpu';

/** The library and its version. */
export async function openJax() {
  Object.assign(globalThis, globals);
  const gpu = create(['enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia']);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'Node.js' }, configurable: true });
  const jax = await import('@jax-js/jax').catch((error) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return leave('the package is not installed (npm install --no-save @jax-js/jax)');
  });
  const devices = await jax.init('webgpu');
  if (!devices.includes('webgpu')) leave('it finds no GPU');
  jax.defaultDevice('webgpu');
  const entry = createRequire(import.meta.url).resolve('@jax-js/jax');
  const { version } = JSON.parse(readFileSync(new URL('../package.json', `file://${entry}`), 'utf8'));
  return { jax, version };
}

function leave(why) {
  process.stdout.write(`missing ${why}\n`);
  process.exit(0);
}
