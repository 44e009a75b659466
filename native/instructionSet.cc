#include "instructionSet.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(LOCKSTEP_BF16_TILES)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lockstep {
namespace {

#if defined(__x86_64__)
bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}

// Not in the list of the compiler's own check everywhere: Intel's manual, CPUID leaf 7.
bool hasDots() {
  unsigned eax = 0, ebx, ecx, edx;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 5 & 1) != 0;
}
#endif

#if defined(LOCKSTEP_BF16_TILES)
// AMX's registers are 8 KiB, so that Linux gives them to those processes only which ask
// (https://docs.kernel.org/arch/x86/xstate.html). It refuses where it does not save them. Asking is the only way to learn whether it
// would give them, so it is done for the whole process when the sets are first listed.
bool takeTiles() {
  constexpr long requestPermission = 0x1023, tileData = 18;
  constexpr unsigned tiles = 1u << 24, bfloat16 = 1u << 22;
  unsigned eax, ebx, ecx, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & tiles) != 0 && (edx & bfloat16) != 0 &&
         syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}
#endif

struct UsableSets {
  InstructionSet sets[6] = {};

  UsableSets() {
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (hasAvx512()) {
#if defined(LOCKSTEP_BF16_TILES)
      if (takeTiles()) sets[count++] = {"amx", &avx512::kernelTable, Bf16Unit::tiles};
#endif
#if defined(LOCKSTEP_BF16_DOTS)
      if (hasDots()) sets[count++] = {"avx512bf16", &avx512::kernelTable, Bf16Unit::dots};
#endif
      sets[count++] = {"avx512", &avx512::kernelTable, Bf16Unit::widened};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      sets[count++] = {"avx2", &avx2::kernelTable, Bf16Unit::widened};
    }
#elif defined(__aarch64__)
    sets[count++] = {"neon", &neon::kernelTable, Bf16Unit::widened};
#endif
    sets[count++] = {"scalar", &scalar::kernelTable, Bf16Unit::widened};
  }
};

}  // namespace

const InstructionSet* usableInstructionSets() {
  static const UsableSets usable;
  return usable.sets;
}

const InstructionSet* instructionSetFor(const char* name) {
  const InstructionSet* set = usableInstructionSets();
  if (strcmp(name, "auto") == 0) return set;
  for (; set->name != nullptr; set++) {
    if (strcmp(set->name, name) == 0) return set;
  }
  return nullptr;
}

}  // namespace lockstep
