// Shared by attentionDecode and the forward pass.
#pragma once

#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

// Processes the many tokens of one sequence's prompt in the tiles of attentionForward; their keys and values are already in the cache.
// False if memory is not available.
bool attendInTiles(ThreadPool& pool, const AttentionDecodeArguments& p, Index sequence);

}  // namespace lockstep::LOCKSTEP_ISA
