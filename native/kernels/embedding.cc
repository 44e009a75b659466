// Token and position embeddings. In the backward pass threads share the channels, so that the rows of a token are summed in
// the order of the tokens.
#include "parallel.h"
#include "simd.h"

namespace lockstep::LOCKSTEP_ISA {
namespace {

// The position of a row's token in its document, or in its sequence if documents are not given.
template <class Arguments>
Index positionOf(Index row, const Arguments& p) {
  return row % p.t - (p.starts == nullptr ? 0 : Index(p.starts[row]));
}

}  // namespace

bool embeddingForward(ThreadPool& pool, const EmbeddingForwardArguments& p) {
  parallelRanges(pool, p.b * p.t, 1 + 16384 / (p.c + 1), 1, [&](Index begin, Index end, int) {
    for (Index row = begin; row < end; row++) {
      const float* token = p.wte + Index(p.tokens[row]) * p.c;
      const float* position = p.wpe == nullptr ? nullptr : p.wpe + (p.positionOffset + positionOf(row, p)) * p.c;
      float* out = p.out + row * p.c;
      forVectors(p.c, [&](Index i, int count) {
        Vec x = loadAny(token + i, count) * splat(p.scale);
        if (position != nullptr) x += loadAny(position + i, count);
        storeAny(out + i, x, count);
      });
    }
  });
  return true;
}

bool embeddingBackward(ThreadPool& pool, const EmbeddingBackwardArguments& p) {
  parallelRanges(pool, p.c, 32, 16, [&](Index begin, Index end, int) {
    const auto addRow = [&](float* to, const float* from, float scale) {
      forVectors(end - begin, [&](Index offset, int count) {
        const Index i = begin + offset;
        storeAny(to + i, loadAny(to + i, count) + loadAny(from + i, count) * splat(scale), count);
      });
    };
    for (Index row = 0; row < p.b * p.t; row++) {
      const float* dout = p.dout + row * p.c;
      if (p.dwte != nullptr) addRow(p.dwte + Index(p.tokens[row]) * p.c, dout, p.scale);
      if (p.dwpe != nullptr) addRow(p.dwpe + positionOf(row, p) * p.c, dout, 1);
    }
  });
  return true;
}

}  // namespace lockstep::LOCKSTEP_ISA
