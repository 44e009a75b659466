// Seconds of a clock that only goes forward, for the kernels that measure the machine.
#pragma once

#include <time.h>

namespace lockstep::LOCKSTEP_ISA {

static inline double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

}  // namespace lockstep::LOCKSTEP_ISA
