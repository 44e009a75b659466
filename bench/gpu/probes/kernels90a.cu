// What wgmma reaches, compiled to PTX for Hopper alone: nvcc -ptx -gencode=arch=compute_90a,code=compute_90a kernels90a.cu
#include <cstdint>

#define R8(i) "%" #i "0,%" #i "1,%" #i "2,%" #i "3,%" #i "4,%" #i "5,%" #i "6,%" #i "7,%" #i "8,%" #i "9,"
#define F8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])

// d [64, 128] += A [64, 16] x B [128, 16] transposed, both from shared memory.
__device__ inline void multiplyAdd(float (&d)[64], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," R8(1) R8(2) R8(3) R8(4) R8(5) "%60,%61,%62,%63}, %64, %65, 1, 1, 1, 0, 0;"
      : F8(0), F8(8), F8(16), F8(24), F8(32), F8(40), F8(48), F8(56)
      : "l"(a), "l"(b));
}

// A tile of rows of 128 bytes, swizzled by 128 bytes; eight rows are 1024 bytes.
__device__ inline uint64_t descriptor(uint32_t shared) {
  return uint64_t((shared & 0x3ffff) >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

// Two groups of four warps, each 64x128x64 a round: 2 * 64 * 128 * 64 operations. 32 KiB of random operands in shared memory:
// A of both groups, then B. Only the rate is looked at: what a product of theirs means depends on the layout.
extern "C" __global__ void __launch_bounds__(256) wgmmaRate(float* out, const uint4* operands, int rounds) {
  __shared__ __align__(1024) uint4 memory[2048];
  for (int i = threadIdx.x; i < 2048; i += 256) memory[i] = operands[i];
  asm volatile("fence.proxy.async.shared::cta;");
  __syncthreads();
  const uint32_t shared = uint32_t(__cvta_generic_to_shared(memory));
  const uint64_t a = descriptor(shared + threadIdx.x / 128 * 8192), b = descriptor(shared + 16384);
  float d[64] = {};
  for (int round = 0; round < rounds; round++) {
    asm volatile("wgmma.fence.sync.aligned;");
#pragma unroll
    for (int k = 0; k < 4; k++) multiplyAdd(d, a + k * 2, b + k * 2);
    asm volatile("wgmma.commit_group.sync.aligned;");
    asm volatile("wgmma.wait_group.sync.aligned 1;");
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;");
  float sum = 0;
  for (int i = 0; i < 64; i++) sum += d[i];
  out[blockIdx.x * size_t(256) + threadIdx.x] = sum;
}
