// The activations, as in src/base/activations.ts: X(the name there, the type in kernels/activations.h that computes it). All other
// native code derives from this list.
#pragma once

#define LOCKSTEP_ACTIVATIONS(X) \
  X(gelu, Gelu)                 \
  X(relu, Relu)                 \
  X(silu, Silu)

namespace lockstep {

#define LOCKSTEP_ENUMERATOR(name, Type) name,
enum class Activation { none, LOCKSTEP_ACTIVATIONS(LOCKSTEP_ENUMERATOR) };
#undef LOCKSTEP_ENUMERATOR

}  // namespace lockstep
