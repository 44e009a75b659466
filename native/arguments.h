// Reads and checks the arguments of a native function one after another. The first invalid argument throws a JavaScript TypeError.
// All later reads return 0 or null, and `ok()` is false. Kernels never run on invalid arguments.
#pragma once

#include <node_api.h>

#include <memory>

#include "denormals.h"
#include "engine.h"
#include "memoryFence.h"

namespace lockstep {

// The product of sizes, or INT64_MAX if it is greater.
Index sizeOf(Index a, Index b = 1, Index c = 1);

class Arguments {
 public:
  // `function` is named in errors.
  Arguments(napi_env env, napi_callback_info info, const char* function);

  bool ok() const { return ok_; }
  napi_env env() const { return env_; }

  // The handle of a live engine.
  Engine* engine();
  // An integer in [0, 2^31).
  Index count(const char* name);
  // An integer in [1, 2^31).
  Index positive(const char* name);
  double number(const char* name);
  bool flag(const char* name);
  // A Float32Array or Int32Array of exactly `size` elements.
  float* floats(const char* name, Index size);
  int32_t* ints(const char* name, Index size);
  // The same, or null for null.
  float* floatsOrNull(const char* name, Index size);
  int32_t* intsOrNull(const char* name, Index size);
  // A Float32Array, or a Uint16Array of bfloat16 numbers, of exactly `size` elements.
  FloatArray anyFloats(const char* name, Index size);
  FloatArray anyFloatsOrNull(const char* name, Index size);
  // A Float64Array of exactly `size` elements.
  double* doubles(const char* name, Index size);
  // A Float32Array or Float64Array of any size.
  float* floatsOfAnySize(const char* name, Index* size);
  double* doublesOfAnySize(const char* name, Index* size);
  // An array of `count` Float32Arrays of any size. Null after an error.
  struct FloatsOfSize {
    float* data;
    Index size;
  };
  using FloatsList = std::unique_ptr<FloatsOfSize[]>;
  FloatsList listOfFloats(const char* name, Index count);
  // Fails if a written array shares memory with an array that is read at the same time. Null shares no memory.
  void apart(const char* name, FloatArray array, Index size, const char* otherName, FloatArray other, Index otherSize);
  // An Int32Array of [samples, time], or null: for each row of a sample a row that is not after it, ascending.
  const int32_t* startsOrNull(const char* name, Index samples, Index time);
  // starts and ends, each an Int32Array of [samples, queries] or null: the keys that each query sees (KeyRanges).
  KeyRanges keyRanges(Index samples, Index queries, Index keys);
  // rate, and a Uint32Array with the two words of each sample's key; or null twice.
  DropoutArguments dropout(Index samples);
  // The name of one of activations.h, or 'none'.
  Activation activation(const char* name);
  // A string of fewer than `capacity` bytes.
  void text(const char* name, char* into, size_t capacity);

  // Throws with a custom message.
  void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
  // The value that a function without a result returns: throws "out of memory" unless `enoughMemory`.
  napi_value finish(bool enoughMemory);

 private:
  void checkStarts(const char* name, const int32_t* starts, Index samples, Index time);
  napi_value next();
  bool isNull(napi_value value);
  // Whether the next argument is null; if so, skips it.
  bool skipNull();
  void* typedArrayOf(napi_value value, const char* name, napi_typedarray_type type, const char* typeName, Index size, Index* actualSize);
  void* typedArray(const char* name, napi_typedarray_type type, const char* typeName, Index size, Index* actualSize);

  napi_env env_;
  const char* function_;
  bool ok_;
  size_t index_ = 0;
  size_t count_;
  napi_value values_[24];
  MemoryFence fence_;
  DenormalsAsZero denormalsAsZero_;  // for the called kernel
};

}  // namespace lockstep
