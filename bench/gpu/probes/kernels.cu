// Kernels of the driver probes, compiled to PTX: nvcc -ptx -arch=sm_80 kernels.cu. Everything here runs from sm_80 on.
#include <cstdint>
#include <cuda_bf16.h>

extern "C" __global__ void empty() {}

extern "C" __global__ void writeAt(int* address) { *address = 1; }

// Copies `count` 16-byte words `rounds` times: bound by memory.
extern "C" __global__ void copyWords(uint4* target, const uint4* source, size_t count, int rounds) {
  for (int round = 0; round < rounds; round++)
    for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x)
      target[i] = source[i];
}

// Fills `count` bf16 numbers in [-1, 1) from a hash of their place.
extern "C" __global__ void fillRandom(__nv_bfloat16* out, size_t count, uint32_t seed) {
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
    uint32_t x = uint32_t(i) * 2654435761u ^ seed;
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
    out[i] = __float2bfloat16(float(int32_t(x)) * (1.0f / 2147483648.0f));
  }
}

__device__ inline void multiplyAdd(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// What mma.sync reaches with all operands in registers: each warp multiplies a tile of 64x64x16, 32 instructions a round.
// `operands` are random bf16 pairs, 32 a thread. 2 * 64 * 64 * 16 operations a warp and round.
extern "C" __global__ void __launch_bounds__(256) mmaRate(float* out, const uint32_t* operands, int rounds) {
  const size_t thread = blockIdx.x * size_t(blockDim.x) + threadIdx.x;
  uint32_t a[4][4], b[8][2];
  for (int i = 0; i < 16; i++) a[i / 4][i % 4] = operands[(thread % 8192) * 32 + i];
  for (int i = 0; i < 16; i++) b[i / 2][i % 2] = operands[(thread % 8192) * 32 + 16 + i];
  float d[4][8][4] = {};
  for (int round = 0; round < rounds; round++)
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
      for (int n = 0; n < 8; n++) multiplyAdd(d[m][n], a[m], b[n]);
  float sum = 0;
  for (int m = 0; m < 4; m++)
    for (int n = 0; n < 8; n++)
      for (int i = 0; i < 4; i++) sum += d[m][n][i];
  out[thread] = sum;
}

__device__ inline void copyAsync16(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global));
}

__device__ inline void loadMatrix(uint32_t (&r)[4], uint32_t shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared));
}

// C [M, N] = A [M, K] x B [N, K] transposed, bf16 in and out, float32 sums in the order of K. A plain tiled product: tiles of
// BM x BN x 64 in `STAGES` stages of cp.async, warps of 64 x WN. M, N and K are multiples of the tile.
template <int BM, int BN, int WN, int STAGES>
__device__ inline void productTile(const __nv_bfloat16* A, const __nv_bfloat16* B, __nv_bfloat16* C, int M, int N, int K) {
  constexpr int threads = (BM / 64) * (BN / WN) * 32, rowBytes = 128, stageBytes = (BM + BN) * rowBytes;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = uint32_t(__cvta_generic_to_shared(memory));
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warpRow = warp / (BN / WN) * 64, warpColumn = warp % (BN / WN) * WN;
  // Eight rows of blocks at a time, so that what is read twice is still in the cache.
  const int rowsOfBlocks = M / BM, columnsOfBlocks = N / BN, band = 8 * columnsOfBlocks;
  const int first = blockIdx.x / band * 8, high = min(8, rowsOfBlocks - first);
  const int row0 = (first + blockIdx.x % band % high) * BM, column0 = blockIdx.x % band / high * BN;
  // 16-byte chunk c of row r is stored at chunk c ^ (r % 8), so that eight rows never access a bank twice.
  auto place = [](int row, int chunk) { return uint32_t(row * rowBytes + ((chunk ^ (row & 7)) << 4)); };
  auto fetch = [&](int k, int stage) {
#pragma unroll
    for (int i = threadIdx.x; i < (BM + BN) * 8; i += threads) {
      const int row = i / 8, chunk = i % 8;
      const __nv_bfloat16* from = row < BM ? A + size_t(row0 + row) * K : B + size_t(column0 + row - BM) * K;
      copyAsync16(shared + stage * stageBytes + place(row, chunk), from + k + chunk * 8);
    }
  };
  float d[4][WN / 8][4] = {};
  const int rounds = K / 64;
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < rounds) fetch(s * 64, s);
    asm volatile("cp.async.commit_group;");
  }
  for (int round = 0; round < rounds; round++) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
    __syncthreads();
    if (round + STAGES - 1 < rounds) fetch((round + STAGES - 1) * 64, (round + STAGES - 1) % STAGES);
    asm volatile("cp.async.commit_group;");
    const uint32_t base = shared + round % STAGES * stageBytes;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      uint32_t a[4][4], b[WN / 8][2];
#pragma unroll
      for (int m = 0; m < 4; m++) loadMatrix(a[m], base + place(warpRow + m * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
      for (int n = 0; n < WN / 16; n++) {
        uint32_t r[4];
        loadMatrix(r, base + place(BM + warpColumn + n * 16 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2));
        b[2 * n][0] = r[0], b[2 * n][1] = r[1], b[2 * n + 1][0] = r[2], b[2 * n + 1][1] = r[3];
      }
#pragma unroll
      for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < WN / 8; n++) multiplyAdd(d[m][n], a[m], b[n]);
    }
  }
#pragma unroll
  for (int m = 0; m < 4; m++)
#pragma unroll
    for (int n = 0; n < WN / 8; n++) {
      const int row = row0 + warpRow + m * 16 + lane / 4, column = column0 + warpColumn + n * 8 + lane % 4 * 2;
      *reinterpret_cast<__nv_bfloat162*>(C + size_t(row) * N + column) = __floats2bfloat162_rn(d[m][n][0], d[m][n][1]);
      *reinterpret_cast<__nv_bfloat162*>(C + size_t(row + 8) * N + column) = __floats2bfloat162_rn(d[m][n][2], d[m][n][3]);
    }
}

#define PRODUCT(NAME, BM, BN, WN, STAGES)                                                                                  \
  extern "C" __global__ void __launch_bounds__((BM / 64) * (BN / WN) * 32)                                                 \
      NAME(const __nv_bfloat16* A, const __nv_bfloat16* B, __nv_bfloat16* C, int M, int N, int K) {                        \
    productTile<BM, BN, WN, STAGES>(A, B, C, M, N, K);                                                                     \
  }

PRODUCT(product128x128, 128, 128, 32, 3)
PRODUCT(product128x128wide, 128, 128, 64, 3)
PRODUCT(product256x128, 256, 128, 64, 3)
PRODUCT(product128x256, 128, 256, 64, 3)
