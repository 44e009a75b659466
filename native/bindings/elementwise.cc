#include "../arguments.h"
#include "../instructionSet.h"
#include "bindings.h"

namespace lockstep {

// zero(engine, array)
napi_value zero(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "zero");
  Engine* engine = args.engine();
  Index size;
  float* data = args.floatsOfAnySize("array", &size);
  return args.finish(args.ok() && engine->kernels->zero(*engine->pool, data, size));
}

// add(engine, size, out, a, b)
napi_value add(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "add");
  Engine* engine = args.engine();
  const Index size = args.positive("size");
  const FloatArray out = args.anyFloats("out", size);
  const FloatArray a = args.anyFloats("a", size);
  const FloatArray b = args.anyFloats("b", size);
  if (args.ok() && (a.bfloat16 != out.bfloat16 || b.bfloat16 != out.bfloat16)) args.fail("expected out, a and b of one type");
  return args.finish(args.ok() && engine->kernels->add(*engine->pool, out, a, b, size));
}

// copy(engine, size, out, inp)
napi_value copy(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "copy");
  Engine* engine = args.engine();
  const Index size = args.positive("size");
  const FloatArray out = args.anyFloats("out", size);
  const FloatArray inp = args.anyFloats("inp", size);
  if (args.ok() && inp.bfloat16 != out.bfloat16) args.fail("expected out and inp of one type");
  args.apart("out", out, size, "inp", inp, size);
  return args.finish(args.ok() && engine->kernels->copy(*engine->pool, out, inp, size));
}

// addInto(dst, src): on the calling thread, without an engine
napi_value addInto(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "addInto");
  Index size;
  float* dst = args.floatsOfAnySize("dst", &size);
  const float* src = args.floats("src", size);
  if (args.ok()) usableInstructionSets()->kernels->addInto(dst, src, size);
  return nullptr;
}

// dropout(engine, b, sampleSize, out, inp, rate, keys)
napi_value dropout(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "dropout");
  Engine* engine = args.engine();
  DropoutForwardArguments p = {};
  p.b = args.positive("b");
  p.sampleSize = args.positive("sampleSize");
  p.out = args.anyFloats("out", sizeOf(p.b, p.sampleSize));
  p.inp = args.anyFloats("inp", sizeOf(p.b, p.sampleSize));
  if (p.out.bfloat16 != p.inp.bfloat16) args.apart("out", p.out, p.b * p.sampleSize, "inp", p.inp, p.b * p.sampleSize);
  p.dropout = args.dropout(p.b);
  if (args.ok() && p.dropout.keys == nullptr) args.fail("expected a Uint32Array for dropout keys");
  return args.finish(args.ok() && engine->kernels->dropout(*engine->pool, p));
}

}  // namespace lockstep
