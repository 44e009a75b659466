// Which instruction sets this build has kernels for and this machine can run.
#pragma once

#include "kernels/kernels.h"

namespace lockstep {

// As the user names it. Those for bfloat16 products add a unit to the kernels of avx512.
struct InstructionSet {
  const char* name;
  const KernelTable* kernels;
  Bf16Unit bf16Unit;
};

// The set with this name, or the best one for "auto". Null if this build or this machine lacks it.
const InstructionSet* instructionSetFor(const char* name);

// The sets that run here, best first; ends with one without a name.
const InstructionSet* usableInstructionSets();

}  // namespace lockstep
