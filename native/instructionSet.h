// Which instruction sets this build has kernels for and this machine can run.
#pragma once

#include "kernels/kernels.h"

namespace lockstep {

// The kernels of the set with this name, or of the best one for "auto". Null if this build or this machine lacks it.
const KernelTable* kernelsFor(const char* name);

// The sets that run here, best first; ends with null.
const KernelTable* const* usableKernels();

}  // namespace lockstep
