#include "instructionSet.h"

#include <cstring>

namespace lockstep {
namespace {

struct UsableKernels {
  const KernelTable* tables[5] = {};

  UsableKernels() {
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")) {
      tables[count++] = &avx512::kernelTable;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables[count++] = &avx2::kernelTable;
#elif defined(__aarch64__)
    tables[count++] = &neon::kernelTable;
#endif
    tables[count++] = &scalar::kernelTable;
  }
};

}  // namespace

const KernelTable* const* usableKernels() {
  static const UsableKernels usable;
  return usable.tables;
}

const KernelTable* kernelsFor(const char* name) {
  if (strcmp(name, "auto") == 0) return usableKernels()[0];
  for (const KernelTable* const* table = usableKernels(); *table != nullptr; table++) {
    if (strcmp((*table)->name, name) == 0) return *table;
  }
  return nullptr;
}

}  // namespace lockstep
