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
// What the processor has and the system saves for every thread: Intel's manual, CPUID leaves 1 and 7, and XGETBV. The compiler's own
// checks need a library of its own on Windows.
struct Processor {
  bool avx2 = false;  // with FMA
  bool avx512 = false;  // F, BW, DQ and VL, with FMA
  bool dots = false;  // AVX512-BF16

  Processor() {
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return;
    const bool fma = has(ecx, 12), savesMore = has(ecx, 27);
    if (!fma || !savesMore || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return;
    constexpr unsigned vectors = 0x06, wideVectors = 0xe6;  // XMM and YMM; with masks and ZMM
    const unsigned saved = savedState();
    avx2 = (saved & vectors) == vectors && has(ebx, 5);
    avx512 = (saved & wideVectors) == wideVectors && has(ebx, 16) && has(ebx, 17) && has(ebx, 30) && has(ebx, 31);
    dots = avx512 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && has(eax, 5);
  }

 private:
  static bool has(unsigned bits, int bit) { return (bits >> bit & 1) != 0; }

  static unsigned savedState() {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
  }
};
#endif

#if defined(LOCKSTEP_BF16_TILES)
// AMX's registers are 8 KiB, so Linux gives them only to processes that request them
// (https://docs.kernel.org/arch/x86/xstate.html). It refuses if it cannot save them. Only a request shows whether it
// grants them, so the request is made for the entire process when the sets are first listed.
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
    const Processor processor;
    if (processor.avx512) {
#if defined(LOCKSTEP_BF16_TILES)
      if (takeTiles()) sets[count++] = {"amx", &avx512::kernelTable, Bf16Unit::tiles};
#endif
#if defined(LOCKSTEP_BF16_DOTS)
      if (processor.dots) sets[count++] = {"avx512bf16", &avx512::kernelTable, Bf16Unit::dots};
#endif
      sets[count++] = {"avx512", &avx512::kernelTable, Bf16Unit::widened};
    }
    if (processor.avx2) {
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
