// The operations on the sums of a product, c = epilogue(a · b). They are applied to a tile of sums while it is in L1, for float32 and
// bfloat16 products.
#pragma once

#include "activations.h"
#include "dropout.h"

namespace lockstep::LOCKSTEP_ISA {

// y = sum + bias, and then one of
//   activation: c = act(y), y kept in preActivation unless that is null;
//   slope:      c = y · act'(preActivation);
//   residual:   c = residual + dropout(y);
//   accumulate: c += y;
// or none: c = y.
struct Epilogue {
  FloatArray c;
  Index ldc;                  // of c, preActivation and residual
  const float* bias = {};     // [columns] or null
  Activation activation = {};
  FloatArray preActivation = {};
  bool slope = {};
  FloatArray residual = {};       // or null; may be c
  DropoutArguments dropout = {};  // no keys: none
  Index sampleRows = {};          // rows of one sample of the dropout
  bool accumulate = {};

  // c = y or c += y, in float32: a product may do this itself, and add its parts in c.
  bool plain() const { return !c.bfloat16 && activation == Activation::none && residual.data == nullptr; }
};

// A tile of sums, [rows, columns] with rows of `stride` floats, in complete vectors, and its position in c.
struct SumTile {
  const float* sums;
  Index stride;
  int rows, columns;
  Index row, column;
};

// store(pointer to c, y, index, count) for every vector of the tile, `index` being that of its first element.
// Row by row, so that memory is read and written from one end to the other.
template <class C, class Store>
static inline void forTile(const Epilogue& e, const SumTile& tile, Store store) {
  for (int i = 0; i < tile.rows; i++) {
    const Index first = (tile.row + i) * e.ldc + tile.column;
    C* c = static_cast<C*>(e.c.data) + first;
    const float* sums = tile.sums + i * tile.stride;
    forVectors(tile.columns, [&](Index j, int count) {
      const Vec bias = e.bias != nullptr ? loadAny(e.bias + tile.column + j, count) : Vec{};
      store(c + j, load(sums + j) + bias, first + j, count);
    });
  }
}

template <class C, class P, class Act>
static inline void applyActivation(const Epilogue& e, const SumTile& tile) {
  P* preActivation = static_cast<P*>(e.preActivation.data);
  if (e.slope) {
    forTile<C>(e, tile, [&](C* c, Vec y, Index index, int count) {
      storeAny(c, Act::timesSlope(y, loadAny(preActivation + index, count)), count);
    });
  } else if (preActivation != nullptr) {
    forTile<C>(e, tile, [&](C* c, Vec y, Index index, int count) {
      storeAny(preActivation + index, y, count);
      storeAny(c, Act::forward(y), count);
    });
  } else {
    forTile<C>(e, tile, [&](C* c, Vec y, Index, int count) { storeAny(c, Act::forward(y), count); });
  }
}

template <class C, class P>
static inline void applyActivation(const Epilogue& e, const SumTile& tile) {
  withActivation(e.activation, [&]<class Act>(Act) { applyActivation<C, P, Act>(e, tile); });
}

template <class C, class R>
static inline void applyResidual(const Epilogue& e, const SumTile& tile) {
  const R* residual = static_cast<const R*>(e.residual.data);
  if (e.dropout.keys == nullptr) {
    forTile<C>(e, tile, [&](C* c, Vec y, Index index, int count) { storeAny(c, loadAny(residual + index, count) + y, count); });
    return;
  }
  const Index sampleSize = e.sampleRows * e.ldc;
  forTile<C>(e, tile, [&](C* c, Vec y, Index index, int count) {
    const Vec kept = y * dropoutFactors(e.dropout, index / sampleSize, index % sampleSize);
    storeAny(c, loadAny(residual + index, count) + kept, count);
  });
}

template <class C>
static inline void applyEpilogueTo(const Epilogue& e, const SumTile& tile) {
  if (e.activation != Activation::none) {
    if (e.preActivation.bfloat16) applyActivation<C, uint16_t>(e, tile);
    else applyActivation<C, float>(e, tile);
  } else if (e.residual.data != nullptr) {
    if (e.residual.bfloat16) applyResidual<C, uint16_t>(e, tile);
    else applyResidual<C, float>(e, tile);
  } else if (e.accumulate) {
    forTile<C>(e, tile, [](C* c, Vec y, Index, int count) { storeAny(c, loadAny(c, count) + y, count); });
  } else {
    forTile<C>(e, tile, [](C* c, Vec y, Index, int count) { storeAny(c, y, count); });
  }
}

static inline void applyEpilogue(const Epilogue& e, const SumTile& tile) {
  if (e.c.bfloat16) applyEpilogueTo<uint16_t>(e, tile);
  else applyEpilogueTo<float>(e, tile);
}

}  // namespace lockstep::LOCKSTEP_ISA
