// Numbers too small for a normalised float32 (below 1.2e-38) count as 0 while one of these lives, on its thread: processors take some
// hundred cycles for each, and the softmax of a logit 87 below the largest is not worth any.
#pragma once

#include <cstdint>

namespace lockstep {

class DenormalsAsZero {
 public:
  DenormalsAsZero() : before_(read()) { write(before_ | flushing); }
  ~DenormalsAsZero() { write(before_); }
  DenormalsAsZero(const DenormalsAsZero&) = delete;
  DenormalsAsZero& operator=(const DenormalsAsZero&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t flushing = 1 << 15 | 1 << 6;  // of results, of operands
  static uint64_t read() { return __builtin_ia32_stmxcsr(); }
  static void write(uint64_t control) { __builtin_ia32_ldmxcsr(unsigned(control)); }
#elif defined(__aarch64__)
  static constexpr uint64_t flushing = 1 << 24;
  static uint64_t read() {
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
  }
  static void write(uint64_t control) { __asm__ volatile("msr fpcr, %0" ::"r"(control)); }
#else
  static constexpr uint64_t flushing = 0;
  static uint64_t read() { return 0; }
  static void write(uint64_t) {}
#endif

  const uint64_t before_;
};

}  // namespace lockstep
