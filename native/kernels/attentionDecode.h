// What attentionDecode shares with the forward pass.
#pragma once

#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

// The tokens of a prompt, which are many, in the tiles of attentionForward: their keys and values are in the cache already. False if
// there was no memory.
bool attendInTiles(ThreadPool& pool, const AttentionDecodeArguments& p);

}  // namespace lockstep::LOCKSTEP_ISA
