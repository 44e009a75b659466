/** Numbers of the WebGPU standard (https://www.w3.org/TR/webgpu/), which its JavaScript binding has as global variables. */

const [MAP_READ, COPY_SRC, COPY_DST, UNIFORM, STORAGE, QUERY_RESOLVE] = [0x01, 0x04, 0x08, 0x40, 0x80, 0x200] as const;

/** What buffers are for. */
export const bufferUsage = {
  tensor: STORAGE | COPY_SRC | COPY_DST,
  uniform: UNIFORM | COPY_DST,
  queryResolve: QUERY_RESOLVE | COPY_SRC,
  /** The host reads it. */
  staging: MAP_READ | COPY_DST,
} as const;

export const mapModeRead = 0x01;
export const shaderStageCompute = 0x04;
