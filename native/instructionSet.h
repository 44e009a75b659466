// The instruction sets for which this build has kernels and that this machine supports.
#pragma once

#include "kernels/kernels.h"

namespace lockstep {

// The name for users. The sets for bfloat16 products add a unit to the kernels of avx512.
struct InstructionSet {
  const char* name;
  const KernelTable* kernels;
  Bf16Unit bf16Unit;
};

// The set with this name, or the best one for "auto". Null if this build or this machine lacks it.
const InstructionSet* instructionSetFor(const char* name);

// The sets that this machine supports, best first; ends with one without a name.
const InstructionSet* usableInstructionSets();

}  // namespace lockstep
