// How fast the GPU multiplies and copies through the CUDA driver alone: cc -O2 rates.c -o rates -ldl -lm
//     rates products KERNELS.ptx KERNELS90A.ptx | copies | overlap KERNELS.ptx
// One probe a process; each prints records, one JSON object a line.
#include "driver.h"

// GPT-2 124M in float32.
enum { gradientBytes = 124439808 * 4 };

static int multiprocessors;

static float toFloat(uint16_t bits) {
  const uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, 4);
  return value;
}

// Median milliseconds of ten launches.
static double timeLaunches(CUfunction function, unsigned blocks, unsigned threads, unsigned shared, void **arguments) {
  CUevent start, end;
  double times[10];
  MUST(cuEventCreate(&start, 0));
  MUST(cuEventCreate(&end, 0));
  for (int i = -2; i < 10; i++) {
    MUST(cuEventRecord(start, NULL));
    launch(function, blocks, threads, shared, NULL, arguments);
    MUST(cuEventRecord(end, NULL));
    const float ms = elapsed(start, end);
    if (i >= 0) times[i] = ms;
  }
  return median(times, 10);
}

static CUdeviceptr randomOperands(CUmodule module, size_t count, uint32_t seed) {
  CUdeviceptr memory;
  MUST(cuMemAlloc(&memory, count * 2));
  void *arguments[] = {&memory, &count, &seed};
  launch(functionOf(module, "fillRandom"), 4096, 256, 0, NULL, arguments);
  return memory;
}

// Sampled elements against sums in double: the greatest difference over the root of K, of which bf16 rounds off 1/256.
static double productError(CUdeviceptr A, CUdeviceptr B, CUdeviceptr C, int N, int K, int M) {
  uint16_t *a = malloc(K * 2), *b = malloc(K * 2), c;
  double worst = 0;
  for (int i = 0; i < 200; i++) {
    const size_t row = (size_t)i * 7919 % M, column = (size_t)i * 104729 % N;
    MUST(cuMemcpyDtoH(a, A + row * K * 2, K * 2));
    MUST(cuMemcpyDtoH(b, B + column * K * 2, K * 2));
    MUST(cuMemcpyDtoH(&c, C + (row * N + column) * 2, 2));
    double sum = 0;
    for (int k = 0; k < K; k++) sum += (double)toFloat(a[k]) * toFloat(b[k]);
    const double error = fabs(sum - toFloat(c)) / sqrt(K);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

static void timeProducts(CUmodule module, int M, int N, int K) {
  const struct {
    const char *name;
    int rows, columns, threads;
  } kernels[] = {{"product128x128", 128, 128, 256},
                 {"product128x128wide", 128, 128, 128},
                 {"product256x128", 256, 128, 256},
                 {"product128x256", 128, 256, 256}};
  CUdeviceptr A = randomOperands(module, (size_t)M * K, 1), B = randomOperands(module, (size_t)N * K, 2), C;
  MUST(cuMemAlloc(&C, (size_t)M * N * 2));
  for (unsigned i = 0; i < sizeof kernels / sizeof *kernels; i++) {
    char name[100];
    CUfunction function = functionOf(module, kernels[i].name);
    const int shared = (kernels[i].rows + kernels[i].columns) * 128 * 3;
    MUST(cuFuncSetAttribute(function, dynamicSharedBytes, shared));
    MUST(cuMemsetD32(C, 0x7fc07fc0, (size_t)M * N / 2));  // NaN: an element that is not written shows
    void *arguments[] = {&A, &B, &C, &M, &N, &K};
    const double ms =
        timeLaunches(function, M / kernels[i].rows * (N / kernels[i].columns), kernels[i].threads, shared, arguments);
    const double error = productError(A, B, C, N, K, M);
    snprintf(name, sizeof name, "own %s, mma.sync, %dx%dx%d", kernels[i].name, M, N, K);
    if (error <= 0.02) record(name, 2.0 * M * N * K / ms / 1e9, "TFLOP/s");
    else fail(name, "wrong result");
  }
  MUST(cuMemFree(A));
  MUST(cuMemFree(B));
  MUST(cuMemFree(C));
}

static void probeProducts(const char *kernels, const char *kernels90a) {
  MUST(cuDeviceGetAttribute(&multiprocessors, attributeMultiprocessors, startDevice()));
  CUmodule module = loadModule(kernels);
  CUdeviceptr operands = randomOperands(module, 8192 * 64, 3), out;
  MUST(cuMemAlloc(&out, (size_t)multiprocessors * 16 * 256 * 4));
  int rounds = 4096;
  void *arguments[] = {&out, &operands, &rounds};
  const unsigned blocks = multiprocessors * 4;
  double ms = timeLaunches(functionOf(module, "mmaRate"), blocks, 256, 0, arguments);
  record("mma.sync, operands in registers", blocks * 8.0 * rounds * 2 * 64 * 64 * 16 / ms / 1e9, "TFLOP/s");
  timeProducts(module, 8192, 8192, 8192);
  timeProducts(module, 65536, 2304, 768);
  timeProducts(module, 65536, 768, 3072);
  ms = timeLaunches(functionOf(loadModule(kernels90a), "wgmmaRate"), blocks, 256, 0, arguments);
  record("wgmma, operands in shared memory", blocks * 2.0 * rounds * 2 * 64 * 128 * 64 / ms / 1e9, "TFLOP/s");
}

static double copyRate(int toHost, void *host, CUdeviceptr device, CUstream stream) {
  double times[5];
  for (int i = -1; i < 5; i++) {
    const double start = milliseconds();
    if (toHost) MUST(cuMemcpyDtoHAsync(host, device, gradientBytes, stream));
    else MUST(cuMemcpyHtoDAsync(device, host, gradientBytes, stream));
    MUST(cuStreamSynchronize(stream));
    if (i >= 0) times[i] = milliseconds() - start;
  }
  return median(times, 5);
}

static void copyBothWays(const char *kind, void *host, CUdeviceptr device, CUstream stream) {
  char name[100];
  snprintf(name, sizeof name, "498 MB to the host, %s", kind);
  record(name, copyRate(1, host, device, stream), "ms");
  snprintf(name, sizeof name, "498 MB to the GPU, %s", kind);
  record(name, copyRate(0, host, device, stream), "ms");
}

static void probeCopies(void) {
  startDevice();
  CUdeviceptr device, second;
  CUstream stream, other;
  void *pinned, *pinnedToo;
  MUST(cuStreamCreate(&stream, streamNonBlocking));
  MUST(cuStreamCreate(&other, streamNonBlocking));
  MUST(cuMemAlloc(&device, gradientBytes));
  MUST(cuMemAlloc(&second, gradientBytes));
  MUST(cuMemsetD32(device, 0x3f800000, gradientBytes / 4));
  MUST(cuMemsetD32(second, 0x3f800000, gradientBytes / 4));
  double start = milliseconds();
  MUST(cuMemHostAlloc(&pinned, gradientBytes, 0));
  record("cuMemHostAlloc of 498 MB", milliseconds() - start, "ms");
  MUST(cuMemHostAlloc(&pinnedToo, gradientBytes, 0));
  copyBothWays("pinned", pinned, device, stream);
  double times[5];
  for (int i = 0; i < 5; i++) {
    start = milliseconds();
    MUST(cuMemcpyDtoHAsync(pinned, device, gradientBytes, stream));
    MUST(cuMemcpyHtoDAsync(second, pinnedToo, gradientBytes, other));
    MUST(cuStreamSynchronize(stream));
    MUST(cuStreamSynchronize(other));
    times[i] = milliseconds() - start;
  }
  record("498 MB each way at once, pinned", median(times, 5), "ms");
  const size_t piece = 1 << 20;
  for (int i = 0; i < 5; i++) {
    start = milliseconds();
    for (size_t at = 0; at < gradientBytes; at += piece)
      MUST(cuMemcpyDtoHAsync((char *)pinned + at, device + at, gradientBytes - at < piece ? gradientBytes - at : piece, stream));
    MUST(cuStreamSynchronize(stream));
    times[i] = milliseconds() - start;
  }
  record("498 MB to the host in pieces of 1 MiB, pinned", median(times, 5), "ms");
  void *pageable = malloc(gradientBytes);
  memset(pageable, 1, gradientBytes);
  copyBothWays("pageable", pageable, device, stream);
  start = milliseconds();
  MUST(cuMemHostRegister(pageable, gradientBytes, 0));
  record("cuMemHostRegister of 498 MB that was written to", milliseconds() - start, "ms");
  copyBothWays("registered", pageable, device, stream);
  start = milliseconds();
  MUST(cuMemHostUnregister(pageable));
  record("cuMemHostUnregister of 498 MB", milliseconds() - start, "ms");
}

struct Work {
  CUfunction function;
  unsigned blocks;
  void **arguments;
};

// Compute alone, copies alone and both at once: the wall's time, and the compute's own.
static void timeBeside(const char *what, struct Work work, int toHost, CUdeviceptr device, void *pinned, CUstream compute,
                       CUstream copies) {
  char name[200];
  double alone[5], both[5], inside[5];
  CUevent start, end;
  MUST(cuEventCreate(&start, 0));
  MUST(cuEventCreate(&end, 0));
  for (int i = -1; i < 5; i++)
    for (int withCopy = 0; withCopy < 2; withCopy++) {
      const double before = milliseconds();
      MUST(cuEventRecord(start, compute));
      launch(work.function, work.blocks, 256, 0, compute, work.arguments);
      MUST(cuEventRecord(end, compute));
      if (withCopy && toHost) MUST(cuMemcpyDtoHAsync(pinned, device, gradientBytes, copies));
      if (withCopy && !toHost) MUST(cuMemcpyHtoDAsync(device, pinned, gradientBytes, copies));
      MUST(cuCtxSynchronize());
      if (i < 0) continue;
      *(withCopy ? both + i : alone + i) = milliseconds() - before;
      if (withCopy) inside[i] = elapsed(start, end);
    }
  const char *way = toHost ? "to the host" : "to the GPU";
  snprintf(name, sizeof name, "%s alone", what);
  if (toHost) record(name, median(alone, 5), "ms");
  snprintf(name, sizeof name, "%s beside 498 MB %s, both", what, way);
  record(name, median(both, 5), "ms");
  snprintf(name, sizeof name, "%s beside 498 MB %s, the kernel", what, way);
  record(name, median(inside, 5), "ms");
}

static void probeOverlap(const char *kernels) {
  MUST(cuDeviceGetAttribute(&multiprocessors, attributeMultiprocessors, startDevice()));
  CUmodule module = loadModule(kernels);
  CUstream compute, copies;
  CUdeviceptr operands = randomOperands(module, 8192 * 64, 3), out, device, source, target;
  void *pinned;
  size_t words = 1 << 26;
  int mmaRounds = 1 << 17, copyRounds = 60;
  MUST(cuStreamCreate(&compute, streamNonBlocking));
  MUST(cuStreamCreate(&copies, streamNonBlocking));
  MUST(cuMemAlloc(&out, (size_t)multiprocessors * 256 * 4));
  MUST(cuMemAlloc(&device, gradientBytes));
  MUST(cuMemAlloc(&source, words * 16));
  MUST(cuMemAlloc(&target, words * 16));
  MUST(cuMemsetD32(source, 0x3f800000, words * 4));
  MUST(cuMemsetD32(device, 0x3f800000, gradientBytes / 4));
  MUST(cuMemHostAlloc(&pinned, gradientBytes, 0));
  MUST(cuCtxSynchronize());
  void *mmaArguments[] = {&out, &operands, &mmaRounds}, *copyArguments[] = {&target, &source, &words, &copyRounds};
  const struct Work mma = {functionOf(module, "mmaRate"), multiprocessors, mmaArguments};
  const struct Work copy = {functionOf(module, "copyWords"), multiprocessors * 8, copyArguments};
  for (int toHost = 1; toHost >= 0; toHost--) {
    timeBeside("mma.sync kernel", mma, toHost, device, pinned, compute, copies);
    timeBeside("memory-bound kernel", copy, toHost, device, pinned, compute, copies);
  }
}

int main(int count, char **words) {
  loadDriver();
  const char *probe = count > 1 ? words[1] : "";
  if (strcmp(probe, "copies") == 0) probeCopies();
  else if (strcmp(probe, "products") == 0 && count == 4) probeProducts(words[2], words[3]);
  else if (strcmp(probe, "overlap") == 0 && count == 3) probeOverlap(words[2]);
  else {
    fprintf(stderr, "rates products PTX PTX90A|copies|overlap PTX\n");
    return 2;
  }
  return 0;
}
