// The kernels of one instruction set as a table of functions, and the arguments of each: checked pointers
// and sizes. B batch, T time, C channels, NH heads, HS head size, V vocabulary, N rows, IC / OC input and output channels.
// Kernels return false if scratch memory is not available.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../activations.h"
#include "../threadPool.h"

namespace lockstep {

using Index = int64_t;

// Element i of sample b is kept iff the upper 24 bits of randomBits(keys[b], i) are at least `threshold`.
struct DropoutArguments {
  const uint32_t* keys;  // k0, k1 of each sample; null: no dropout
  uint32_t threshold;    // ceil(rate · 2^24)
  float scale;           // 1 / (1 - rate)
};

// Numbers in memory: float32, or bfloat16 (the upper half of a float32).
struct FloatArray {
  void* data;
  bool bfloat16;

  FloatArray from(Index element) const { return {static_cast<char*>(data) + element * (bfloat16 ? 2 : 4), bfloat16}; }
};

// The products use bfloat16 numbers if `inp` or `dout` do; the other operand and the weight are then rounded.
struct LinearForwardArguments {
  Index n, ic, oc;
  bool weightTransposed;
  bool rowsApart;           // each row has the same bits as alone; float32 only
  FloatArray out;           // [N, OC]
  FloatArray inp;           // [N, IC]
  const float* weight;      // [IC, OC], or [OC, IC] if transposed
  const float* bias;        // [OC] or null
  Activation activation;    // out = act(inp · weight + bias)
  FloatArray preActivation; // [N, OC], assigned: the input of the activation; or null
  FloatArray residual;      // [N, OC] or null; out = residual + dropout(inp · weight + bias); may be `out`
  DropoutArguments dropout;
  Index sampleRows;         // rows of one sample of the dropout
};

struct LinearBackwardArguments {
  Index n, ic, oc;
  bool weightTransposed, accumulate;
  FloatArray dinp;  // [N, IC] or null; assigned, or accumulated
  Activation dinpActivation;     // dinp = (dout · weightᵀ) · act'(dinpPreActivation)
  FloatArray dinpPreActivation;  // [N, IC]
  float* dweight;  // or null; accumulated
  float* dbias;    // [OC] or null; accumulated
  FloatArray dout;
  FloatArray inp;
  const float* weight;
};

// Heads of HS channels. NKV divides NH: NH / NKV heads of queries, one after another, share a head of keys and values.
struct AttentionHeads {
  Index nHead, nKvHead, hs;

  Index perKvHead() const { return nHead / nKvHead; }
  Index c() const { return nHead * hs; }
  Index kvWidth() const { return nKvHead * hs; }
  // The width of rows q|k|v.
  Index qkvWidth() const { return c() + 2 * kvWidth(); }
};

// All tensors except lse have the same type, which is that of the products.
// Rows of queries [B, Tq, C], of keys and of values [B, Tk, NKV HS] begin these numbers of elements apart: they are parts of wider rows.
struct AttentionStrides {
  Index query, key;
};

// The keys [start, end) that each query sees, [B, Tq]; both less than or equal to Tk, and none empty.
struct KeyRanges {
  // Null: from the first key on. Without `ends`, ascending and none after its query.
  const int32_t* starts;
  // Null: up to the key of the query's own position, where Tq is Tk.
  const int32_t* ends;
};

struct AttentionForwardArguments {
  Index b, tq, tk;
  AttentionHeads heads;
  AttentionStrides strides;
  FloatArray out;  // [B, Tq, C]
  float* lse;      // [2, B, NH, Tq]: the logs, then what rounding took from them
  FloatArray query, key, value;
  KeyRanges ranges;
  DropoutArguments dropout;
};

struct AttentionBackwardArguments {
  Index b, tq, tk;
  AttentionHeads heads;
  AttentionStrides strides;         // of the gradients as well
  FloatArray dquery, dkey, dvalue;  // assigned
  FloatArray dout;
  FloatArray out;
  FloatArray query, key, value;
  const float* lse;  // [2, B, NH, Tq], of the forward pass
  KeyRanges ranges;  // as in the forward pass
  DropoutArguments dropout;
};

// What one sequence has of its earlier tokens.
struct CachedKeys {
  Index position;
  float* keys;    // [>= position + T, NKV HS]; the rows from `position` on are written, those of qkv
  float* values;  // the same
};

struct AttentionDecodeArguments {
  Index b, t;
  AttentionHeads heads;
  const CachedKeys* sequences;  // [B]
  float* out;                   // [B, T, C]
  const float* qkv;             // [B, T, C + 2 NKV HS], or null
  const float* q;               // [B, T, C], or null: every query sees all rows before `position`, and none is written
};

struct LayerNormForwardArguments {
  Index n, c;
  FloatArray out;
  float* mean;
  float* rstd;
  const float* inp;
  const float* weight;
  const float* bias;  // or null
  float eps;
};

struct LayerNormBackwardArguments {
  Index n, c;
  bool accumulate;
  float* dinp;     // or null; assigned, or accumulated
  float* dweight;  // or null; accumulated
  float* dbias;    // or null; accumulated
  FloatArray dout;
  const float* inp;
  const float* weight;
  const float* mean;
  const float* rstd;
};

struct RmsNormForwardArguments {
  Index n, c;
  FloatArray out;
  float* rstd;
  const float* inp;
  const float* weight;
  float eps;
};

struct RmsNormBackwardArguments {
  Index n, c;
  bool accumulate;
  float* dinp;     // or null; assigned, or accumulated
  float* dweight;  // or null; accumulated
  FloatArray dout;
  const float* inp;
  const float* weight;
  const float* rstd;
};

struct RopeArguments {
  Index b, t, width, heads, headSize;
  bool inverse;
  FloatArray out;      // [B, T, width]; may be `inp`, whose type it has
  FloatArray inp;
  const float* table;  // [positions, 2, HS/2]: cosines, then sines
  const int32_t* positions;  // [B] or null: of the first token of each sequence
  const int32_t* starts;     // [B, T] or null: the row of a sequence that has its first position; none after the row
};

// All of one type.
struct ActivationArguments {
  Index size;
  Activation kind;
  FloatArray out;   // dinp in the backward pass
  FloatArray inp;
  FloatArray dout;  // backward only
};

// All of one type. Rows of gate|up, 2I wide, and rows of act(gate) · up, I wide.
struct GatedActivationArguments {
  Index n, inner;
  Activation kind;
  FloatArray out;   // [N, I]; dinp [N, 2I] in the backward pass, where it may be `inp`
  FloatArray inp;   // [N, 2I]
  FloatArray dout;  // [N, I], backward only
};

struct EmbeddingForwardArguments {
  Index b, t, c, positionOffset;
  float scale;  // of wte
  float* out;
  const int32_t* tokens;
  const float* wte;
  const float* wpe;  // or null
  const int32_t* starts;  // [B, T] or null: the row of a token that has position 0 in wpe; none after the token
};

struct EmbeddingBackwardArguments {
  Index b, t, c;
  float scale;  // as in the forward pass
  float* dwte;  // or null
  float* dwpe;  // or null
  const float* dout;
  const int32_t* tokens;
  const int32_t* starts;  // as in the forward pass
};

struct CrossEntropyArguments {
  Index n, v;
  float* losses;
  float* dlogits;  // or null; may be `logits`
  const float* logits;
  const int32_t* targets;
  float scale;
  const float* weights;  // [N] or null: of each row's gradient, beside `scale`
};

struct LinearCrossEntropyArguments {
  Index n, ic, v;
  Index rows;  // of logits at a time
  bool weightTransposed;
  float* losses;   // [N]
  float* logits;   // [rows, V], scratch
  FloatArray dinp;  // [N, IC] or null; assigned
  float* dweight;   // or null; accumulated
  FloatArray inp;
  const float* weight;
  const int32_t* targets;
  float scale;
  const float* weights;  // [N] or null: of each row's gradient, beside `scale`
};

// A tensor of a group: elements [start, end) of its block, and from `v` on in that of the second moments. `decay` is 1 - lr · weightDecay.
struct AdamwTensor {
  Index start, end, v;
  float decay;
};

struct AdamwArguments {
  const AdamwTensor* tensors;  // ascending, without overlap
  Index count, size;           // of tensors, and of each block but v
  float* params;
  float* grads;
  float* m;
  float* v;
  float* average;  // or null
  bool zeroGrads;
  // Everything that does not depend on the element, computed in double precision by the caller. The rests are 1 - beta: computed from
// the rounded beta, their error would be much larger than a rounding if beta is close to 1.
  float gradScale, beta1, rest1, beta2, rest2, stepSize /* lr / biasCorrection1 */, inverseSqrtBiasCorrection2, eps;
  float averageWeight, averageRest;
};

// out = scaleA · a + scaleB · b, all [rows, columns] with a distance between rows. `out` may be `a`.
struct WeightedSumArguments {
  Index rows, columns;
  float* out;
  const float* a;
  const float* b;
  Index outStride, aStride, bStride;
  float scaleA, scaleB;
};

struct DropoutForwardArguments {
  Index b, sampleSize;
  FloatArray out;
  FloatArray inp;
  DropoutArguments dropout;
};

struct KernelTable {
  size_t (*workspaceBytes)();  // per thread
  bool (*linearForward)(ThreadPool&, const LinearForwardArguments&);
  bool (*linearBackward)(ThreadPool&, const LinearBackwardArguments&);
  bool (*attentionForward)(ThreadPool&, const AttentionForwardArguments&);
  bool (*attentionBackward)(ThreadPool&, const AttentionBackwardArguments&);
  bool (*attentionDecode)(ThreadPool&, const AttentionDecodeArguments&);
  bool (*layerNormForward)(ThreadPool&, const LayerNormForwardArguments&);
  bool (*layerNormBackward)(ThreadPool&, const LayerNormBackwardArguments&);
  bool (*rmsNormForward)(ThreadPool&, const RmsNormForwardArguments&);
  bool (*rmsNormBackward)(ThreadPool&, const RmsNormBackwardArguments&);
  bool (*rope)(ThreadPool&, const RopeArguments&);
  bool (*gatedActivationForward)(ThreadPool&, const GatedActivationArguments&);
  bool (*gatedActivationBackward)(ThreadPool&, const GatedActivationArguments&);
  bool (*activationForward)(ThreadPool&, const ActivationArguments&);
  bool (*activationBackward)(ThreadPool&, const ActivationArguments&);
  bool (*embeddingForward)(ThreadPool&, const EmbeddingForwardArguments&);
  bool (*embeddingBackward)(ThreadPool&, const EmbeddingBackwardArguments&);
  bool (*crossEntropy)(ThreadPool&, const CrossEntropyArguments&);
  bool (*linearCrossEntropy)(ThreadPool&, const LinearCrossEntropyArguments&);
  bool (*adamw)(ThreadPool&, const AdamwArguments&);
  bool (*squaredNorm)(ThreadPool&, const float* data, Index size, double* result);
  bool (*weightedSum)(ThreadPool&, const WeightedSumArguments&);
  // Divides by the norm, or by eps if that is larger.
  bool (*normalise)(ThreadPool&, float* data, Index size, double eps);
  bool (*dropout)(ThreadPool&, const DropoutForwardArguments&);
  // All of one type.
  bool (*add)(ThreadPool&, FloatArray out, FloatArray a, FloatArray b, Index size);
  bool (*copy)(ThreadPool&, FloatArray out, FloatArray inp, Index size);
  bool (*zero)(ThreadPool&, float* data, Index size);
  // dst += src, on the calling thread.
  void (*addInto)(float* dst, const float* src, Index size);
  // Twice the number of fused multiply-adds per second that the pool's threads reach together in registers.
  double (*fmaLimit)(ThreadPool&, double seconds);
  // The same for bfloat16 numbers on the pool's unit.
  double (*bf16Limit)(ThreadPool&, double seconds);
  // Bytes per second at which the pool's threads together read `data`.
  double (*readBandwidth)(ThreadPool&, const float* data, Index size, double seconds);
};

namespace scalar {
extern const KernelTable kernelTable;
}
namespace avx2 {
extern const KernelTable kernelTable;
}
namespace avx512 {
extern const KernelTable kernelTable;
}
namespace neon {
extern const KernelTable kernelTable;
}

}  // namespace lockstep
