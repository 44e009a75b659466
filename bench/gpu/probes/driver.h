// The CUDA driver without its headers: the functions are declared here and found in libcuda.so.1 at run time.
#pragma once
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// A program need not use all of this file.
#define UNUSED __attribute__((unused))

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr, CUmemHandle;
typedef struct CUctxOpaque *CUcontext;
typedef struct CUmodOpaque *CUmodule;
typedef struct CUfuncOpaque *CUfunction;
typedef struct CUstreamOpaque *CUstream;
typedef struct CUeventOpaque *CUevent;
typedef struct CUgraphOpaque *CUgraph;
typedef struct CUgraphExecOpaque *CUgraphExec;
typedef struct {
  char bytes[64];
} CUipcMemHandle;
typedef struct {
  int type, id;
} CUmemLocation;
typedef struct {
  int type, requestedHandleTypes;
  CUmemLocation location;
  void *win32HandleMetaData;
  struct {
    unsigned char compressionType, gpuDirectRDMACapable;
    unsigned short usage;
    unsigned char reserved[4];
  } allocFlags;
} CUmemAllocationProp;
typedef struct {
  CUmemLocation location;
  int flags;
} CUmemAccessDesc;

#define DRIVER_FUNCTIONS(F)                                                                                                        \
  F(cuInit, "cuInit", (unsigned))                                                                                                  \
  F(cuDriverGetVersion, "cuDriverGetVersion", (int *))                                                                             \
  F(cuDeviceGet, "cuDeviceGet", (CUdevice *, int))                                                                                 \
  F(cuDeviceGetName, "cuDeviceGetName", (char *, int, CUdevice))                                                                   \
  F(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *, int, CUdevice))                                                          \
  F(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext *, CUdevice))                                                 \
  F(cuCtxSetCurrent, "cuCtxSetCurrent", (CUcontext))                                                                               \
  F(cuCtxSynchronize, "cuCtxSynchronize", (void))                                                                                  \
  F(cuGetErrorName, "cuGetErrorName", (CUresult, const char **))                                                                   \
  F(cuMemGetInfo, "cuMemGetInfo_v2", (size_t *, size_t *))                                                                         \
  F(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr *, size_t))                                                                          \
  F(cuMemFree, "cuMemFree_v2", (CUdeviceptr))                                                                                      \
  F(cuMemHostAlloc, "cuMemHostAlloc", (void **, size_t, unsigned))                                                                 \
  F(cuMemFreeHost, "cuMemFreeHost", (void *))                                                                                      \
  F(cuMemHostRegister, "cuMemHostRegister_v2", (void *, size_t, unsigned))                                                         \
  F(cuMemHostUnregister, "cuMemHostUnregister", (void *))                                                                          \
  F(cuMemHostGetDevicePointer, "cuMemHostGetDevicePointer_v2", (CUdeviceptr *, void *, unsigned))                                  \
  F(cuMemcpyDtoH, "cuMemcpyDtoH_v2", (void *, CUdeviceptr, size_t))                                                                \
  F(cuMemcpyHtoD, "cuMemcpyHtoD_v2", (CUdeviceptr, const void *, size_t))                                                          \
  F(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void *, CUdeviceptr, size_t, CUstream))                                            \
  F(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (CUdeviceptr, const void *, size_t, CUstream))                                      \
  F(cuMemsetD32, "cuMemsetD32_v2", (CUdeviceptr, unsigned, size_t))                                                                \
  F(cuModuleLoadData, "cuModuleLoadData", (CUmodule *, const void *))                                                              \
  F(cuModuleGetFunction, "cuModuleGetFunction", (CUfunction *, CUmodule, const char *))                                            \
  F(cuFuncSetAttribute, "cuFuncSetAttribute", (CUfunction, int, int))                                                              \
  F(cuLaunchKernel, "cuLaunchKernel",                                                                                              \
    (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **, void **))                \
  F(cuLaunchHostFunc, "cuLaunchHostFunc", (CUstream, void (*)(void *), void *))                                                    \
  F(cuStreamCreate, "cuStreamCreate", (CUstream *, unsigned))                                                                      \
  F(cuStreamSynchronize, "cuStreamSynchronize", (CUstream))                                                                        \
  F(cuStreamWaitEvent, "cuStreamWaitEvent", (CUstream, CUevent, unsigned))                                                         \
  F(cuStreamWriteValue32, "cuStreamWriteValue32_v2", (CUstream, CUdeviceptr, uint32_t, unsigned))                                  \
  F(cuEventCreate, "cuEventCreate", (CUevent *, unsigned))                                                                         \
  F(cuEventRecord, "cuEventRecord", (CUevent, CUstream))                                                                           \
  F(cuEventSynchronize, "cuEventSynchronize", (CUevent))                                                                           \
  F(cuEventElapsedTime, "cuEventElapsedTime", (float *, CUevent, CUevent))                                                         \
  F(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream, int))                                                               \
  F(cuStreamEndCapture, "cuStreamEndCapture", (CUstream, CUgraph *))                                                                \
  F(cuGraphInstantiate, "cuGraphInstantiateWithFlags", (CUgraphExec *, CUgraph, unsigned long long))                                \
  F(cuGraphLaunch, "cuGraphLaunch", (CUgraphExec, CUstream))                                                                        \
  F(cuIpcGetMemHandle, "cuIpcGetMemHandle", (CUipcMemHandle *, CUdeviceptr))                                                       \
  F(cuIpcOpenMemHandle, "cuIpcOpenMemHandle_v2", (CUdeviceptr *, CUipcMemHandle, unsigned))                                        \
  F(cuIpcCloseMemHandle, "cuIpcCloseMemHandle", (CUdeviceptr))                                                                     \
  F(cuMemGetAllocationGranularity, "cuMemGetAllocationGranularity", (size_t *, const CUmemAllocationProp *, int))                  \
  F(cuMemCreate, "cuMemCreate", (CUmemHandle *, size_t, const CUmemAllocationProp *, unsigned long long))                          \
  F(cuMemExportToShareableHandle, "cuMemExportToShareableHandle", (void *, CUmemHandle, int, unsigned long long))                  \
  F(cuMemImportFromShareableHandle, "cuMemImportFromShareableHandle", (CUmemHandle *, void *, int))                                \
  F(cuMemAddressReserve, "cuMemAddressReserve", (CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long))                  \
  F(cuMemMap, "cuMemMap", (CUdeviceptr, size_t, size_t, CUmemHandle, unsigned long long))                                          \
  F(cuMemUnmap, "cuMemUnmap", (CUdeviceptr, size_t))                                                                               \
  F(cuMemRelease, "cuMemRelease", (CUmemHandle))                                                                                   \
  F(cuMemSetAccess, "cuMemSetAccess", (CUdeviceptr, size_t, const CUmemAccessDesc *, size_t))

#define DECLARE(name, symbol, parameters) static CUresult(*name) parameters;
DRIVER_FUNCTIONS(DECLARE)
#undef DECLARE

static const char *part = "driver";

static void fail(const char *name, const char *reason) {
  printf("{\"part\": \"%s\", \"name\": \"%s\", \"failed\": \"%s\"}\n", part, name, reason);
  fflush(stdout);
}

UNUSED static void record(const char *name, double value, const char *unit) {
  if (!isfinite(value)) return fail(name, "not a number");
  printf("{\"part\": \"%s\", \"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", part, name, value, unit);
  fflush(stdout);
}

UNUSED static void say(const char *name, const char *text) {
  printf("{\"part\": \"%s\", \"name\": \"%s\", \"value\": \"%s\", \"unit\": \"\"}\n", part, name, text);
  fflush(stdout);
}

static const char *errorName(CUresult code) {
  const char *name = NULL;
  if (code == 0) return "success";
  cuGetErrorName(code, &name);
  return name == NULL ? "unknown error" : name;
}

// Ends the process, with a record of the call that went wrong.
static void must(CUresult code, const char *call) {
  if (code == 0) return;
  char reason[300];
  snprintf(reason, sizeof reason, "%.200s: %s", call, errorName(code));
  for (char *c = reason; *c; c++)
    if (*c == '"' || *c == '\\') *c = '\'';
  fail("driver call", reason);
  exit(1);
}
#define MUST(call) must(call, #call)

UNUSED static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

UNUSED static double median(double *values, int count) {
  qsort(values, count, sizeof *values, ascending);
  return values[count / 2];
}

static void loadDriver(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fail("libcuda.so.1", "not found");
    exit(1);
  }
#define FIND(name, symbol, parameters)                        \
  name = (CUresult(*) parameters)dlsym(library, symbol);      \
  if (name == NULL) {                                         \
    fail(symbol, "the driver does not have this function");   \
    exit(1);                                                  \
  }
  DRIVER_FUNCTIONS(FIND)
#undef FIND
}

static CUdevice startDevice(void) {
  CUdevice device;
  CUcontext context;
  MUST(cuInit(0));
  MUST(cuDeviceGet(&device, 0));
  MUST(cuDevicePrimaryCtxRetain(&context, device));
  MUST(cuCtxSetCurrent(context));
  return device;
}

static char *readText(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fail(path, "cannot be read");
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  const long size = ftell(file);
  rewind(file);
  char *text = malloc(size + 1);
  text[fread(text, 1, size, file)] = 0;
  fclose(file);
  return text;
}

static CUmodule loadModule(const char *path) {
  char *text = readText(path);
  CUmodule module;
  MUST(cuModuleLoadData(&module, text));
  free(text);
  return module;
}

static CUfunction functionOf(CUmodule module, const char *name) {
  CUfunction function;
  MUST(cuModuleGetFunction(&function, module, name));
  return function;
}

static void launch(CUfunction function, unsigned blocks, unsigned threads, unsigned shared, CUstream stream, void **arguments) {
  MUST(cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, arguments, NULL));
}

UNUSED static float elapsed(CUevent start, CUevent end) {
  float ms;
  MUST(cuEventSynchronize(end));
  MUST(cuEventElapsedTime(&ms, start, end));
  return ms;
}

enum { streamNonBlocking = 1, dynamicSharedBytes = 8, attributeMultiprocessors = 16 };
