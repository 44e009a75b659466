// Seconds of a monotonic clock, for kernels that measure the machine.
#pragma once

#include <chrono>

namespace lockstep::LOCKSTEP_ISA {

static inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace lockstep::LOCKSTEP_ISA
