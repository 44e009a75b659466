// What the CUDA driver takes and what it costs: cc -O2 costs.c -o costs -ldl -lm; costs PROBE [LABEL] [FILE.ptx]
// One probe a process; each prints records, one JSON object a line. No CUDA headers or libraries are needed, the driver alone.
#define _GNU_SOURCE
#include "driver.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static void probeDevice(void) {
  const double start = milliseconds();
  CUdevice device = startDevice();
  record("from cuInit to a context", milliseconds() - start, "ms");
  char name[100];
  int version, major, minor;
  size_t free, total;
  MUST(cuDeviceGetName(name, sizeof name, device));
  MUST(cuDriverGetVersion(&version));
  MUST(cuDeviceGetAttribute(&major, 75, device));
  MUST(cuDeviceGetAttribute(&minor, 76, device));
  MUST(cuMemGetInfo(&free, &total));
  say("device", name);
  record("driver's CUDA version", version / 1000 + version % 1000 / 10 / 10.0, "");
  record("compute capability", major + minor / 10.0, "");
  record("memory", total / 1e9, "GB");
  const struct {
    int attribute;
    const char *name;
  } yesNo[] = {{41, "unified addressing"},
               {91, "host memory usable at its own address when registered"},
               {88, "pageable memory access"},
               {40, "async copy engines"},
               {103, "POSIX file descriptor handles"}};
  for (unsigned i = 0; i < sizeof yesNo / sizeof *yesNo; i++) {
    int value;
    MUST(cuDeviceGetAttribute(&value, yesNo[i].attribute, device));
    record(yesNo[i].name, value, "");
  }
}

// How long PTX takes to load. Whether the driver keeps the result shows in a second process.
static void probeJit(const char *label, const char *path) {
  startDevice();
  char *text = readText(path), name[200];
  CUmodule module;
  const double start = milliseconds();
  const CUresult code = cuModuleLoadData(&module, text);
  const double end = milliseconds();
  snprintf(name, sizeof name, "load PTX, %s", label);
  if (code != 0) return fail(name, errorName(code));
  record(name, end - start, "ms");
}

static void registers(const char *name, void *memory, size_t bytes, CUdeviceptr device) {
  const CUresult code = cuMemHostRegister(memory, bytes, 0);
  if (code != 0) return fail(name, errorName(code));
  memset(memory, 0, bytes);
  MUST(cuMemcpyDtoHAsync(memory, device, bytes, NULL));
  MUST(cuStreamSynchronize(NULL));
  const int arrived = ((int *)memory)[bytes / 4 - 1] == 0x3f800000;
  MUST(cuMemHostUnregister(memory));
  if (arrived) say(name, "yes");
  else fail(name, "the bytes did not arrive");
}

// Which memory of a process can be pinned where it lies.
static void probeRegister(void) {
  startDevice();
  const size_t bytes = 16 << 20;
  CUdeviceptr device;
  MUST(cuMemAlloc(&device, bytes));
  MUST(cuMemsetD32(device, 0x3f800000, bytes / 4));
  registers("pins private anonymous memory", mmap(NULL, bytes, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), bytes, device);
  registers("pins shared anonymous memory", mmap(NULL, bytes, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0), bytes, device);
  const int file = memfd_create("probe", 0);
  if (file < 0 || ftruncate(file, bytes) != 0) return fail("memfd_create", strerror(errno));
  char *mapping = mmap(NULL, bytes, 3, MAP_SHARED, file, 0), *second = mmap(NULL, bytes, 3, MAP_SHARED, file, 0);
  registers("pins shared memory of a file descriptor", mapping, bytes, device);
  if (memcmp(mapping, second, bytes) == 0) say("what the GPU wrote there is seen through another mapping", "yes");
  else fail("what the GPU wrote there is seen through another mapping", "no");
  registers("pins calloc's memory at an odd multiple of 16 bytes", (char *)calloc(bytes + 4096, 1) + 16, bytes, device);
  char *twice = mmap(NULL, bytes, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(cuMemHostRegister(twice, bytes / 2, 0));
  say("registering memory again", errorName(cuMemHostRegister(twice, bytes / 2, 0)));
  say("registering memory beside it", errorName(cuMemHostRegister(twice + bytes / 2, bytes / 2, 0)));
  char *pages = mmap(NULL, bytes, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(cuMemHostRegister(pages, 6000, 0));
  say("registering memory that shares a page with registered memory", errorName(cuMemHostRegister(pages + 6000, 6000, 0)));
}

static volatile double calledAt;

static void noteTime(void *data) {
  (void)data;
  calledAt = milliseconds();
}

static void probeLaunches(const char *kernels) {
  startDevice();
  CUfunction empty = functionOf(loadModule(kernels), "empty");
  CUstream stream;
  CUevent start, end;
  const int count = 2000;
  double times[500];
  MUST(cuStreamCreate(&stream, streamNonBlocking));
  MUST(cuEventCreate(&start, 0));
  MUST(cuEventCreate(&end, 0));
  for (int i = 0; i < 100; i++) launch(empty, 1, 32, 0, stream, NULL);
  MUST(cuStreamSynchronize(stream));
  MUST(cuEventRecord(start, stream));
  double before = milliseconds();
  for (int i = 0; i < count; i++) launch(empty, 1, 32, 0, stream, NULL);
  record("launch, the host's time", (milliseconds() - before) / count * 1e3, "us");
  MUST(cuEventRecord(end, stream));
  record("launch, empty kernels in a row", elapsed(start, end) / count * 1e3, "us");
  for (int i = 0; i < 500; i++) {
    before = milliseconds();
    launch(empty, 1, 32, 0, stream, NULL);
    MUST(cuStreamSynchronize(stream));
    times[i] = milliseconds() - before;
  }
  record("empty kernel and cuStreamSynchronize", median(times, 500) * 1e3, "us");
  for (int i = 0; i < 500; i++) {
    before = milliseconds();
    calledAt = 0;
    launch(empty, 1, 32, 0, stream, NULL);
    MUST(cuLaunchHostFunc(stream, noteTime, NULL));
    while (calledAt == 0) continue;
    times[i] = calledAt - before;
  }
  record("empty kernel until cuLaunchHostFunc's call", median(times, 500) * 1e3, "us");
  before = milliseconds();
  for (int i = 0; i < 500; i++) MUST(cuLaunchHostFunc(stream, noteTime, NULL));
  record("cuLaunchHostFunc, the host's time", (milliseconds() - before) / 500 * 1e3, "us");
  MUST(cuStreamSynchronize(stream));
  MUST(cuEventRecord(start, stream));
  for (int i = 0; i < 500; i++) {
    launch(empty, 1, 32, 0, stream, NULL);
    MUST(cuLaunchHostFunc(stream, noteTime, NULL));
  }
  MUST(cuEventRecord(end, stream));
  record("empty kernel and cuLaunchHostFunc in a row", elapsed(start, end) / 500 * 1e3, "us");
  CUgraph graph;
  CUgraphExec executable;
  MUST(cuStreamBeginCapture(stream, 0));
  for (int i = 0; i < 300; i++) launch(empty, 1, 32, 0, stream, NULL);
  MUST(cuStreamEndCapture(stream, &graph));
  MUST(cuGraphInstantiate(&executable, graph, 0));
  MUST(cuGraphLaunch(executable, stream));
  MUST(cuEventRecord(start, stream));
  before = milliseconds();
  for (int i = 0; i < 20; i++) MUST(cuGraphLaunch(executable, stream));
  record("graph of 300 empty kernels, the host's time", (milliseconds() - before) / 20 * 1e3, "us");
  MUST(cuEventRecord(end, stream));
  record("graph of 300 empty kernels, each", elapsed(start, end) / (20 * 300) * 1e3, "us");
  volatile uint32_t *flag;
  CUdeviceptr flagOnDevice;
  MUST(cuMemHostAlloc((void **)&flag, 4096, 2));
  MUST(cuMemHostGetDevicePointer(&flagOnDevice, (void *)flag, 0));
  for (uint32_t i = 0; i < 500; i++) {
    before = milliseconds();
    launch(empty, 1, 32, 0, stream, NULL);
    MUST(cuStreamWriteValue32(stream, flagOnDevice, i + 1, 0));
    while (*flag != i + 1) continue;
    times[i] = milliseconds() - before;
  }
  record("empty kernel until a word in host memory is written", median(times, 500) * 1e3, "us");
}

int main(int count, char **words) {
  loadDriver();
  const char *probe = count > 1 ? words[1] : "";
  if (strcmp(probe, "device") == 0) probeDevice();
  else if (strcmp(probe, "register") == 0) probeRegister();
  else if (strcmp(probe, "jit") == 0 && count == 4) probeJit(words[2], words[3]);
  else if (strcmp(probe, "launches") == 0 && count == 3) probeLaunches(words[2]);
  else {
    fprintf(stderr, "costs device|register|jit LABEL PTX|launches PTX\n");
    return 2;
  }
  return 0;
}
