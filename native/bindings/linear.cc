#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// linearForward(engine, n, ic, oc, weightTransposed, rowsApart, samples, activation, out, preActivation | null, inp, weight, bias | null,
//               residual | null, rate, keys | null)
napi_value linearForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "linearForward");
  Engine* engine = args.engine();
  LinearForwardArguments p = {};
  p.n = args.positive("n");
  p.ic = args.positive("ic");
  p.oc = args.positive("oc");
  p.weightTransposed = args.flag("weightTransposed");
  p.rowsApart = args.flag("rowsApart");
  const Index samples = args.positive("samples");
  p.activation = args.activation("activation");
  p.out = args.anyFloats("out", sizeOf(p.n, p.oc));
  p.preActivation = args.anyFloatsOrNull("preActivation", sizeOf(p.n, p.oc));
  p.inp = args.anyFloats("inp", sizeOf(p.n, p.ic));
  p.weight = args.floats("weight", sizeOf(p.ic, p.oc));
  p.bias = args.floatsOrNull("bias", p.oc);
  p.residual = args.anyFloatsOrNull("residual", sizeOf(p.n, p.oc));
  p.dropout = args.dropout(samples);
  p.sampleRows = p.n / samples;
  if (args.ok() && p.activation != Activation::none && p.residual.data != nullptr) args.fail("activation and residual exclude each other");
  if (args.ok() && p.activation == Activation::none && p.preActivation.data != nullptr) args.fail("preActivation needs an activation");
  if (args.ok() && p.dropout.keys != nullptr && p.residual.data == nullptr) args.fail("dropout needs a residual");
  if (args.ok() && p.rowsApart && p.inp.bfloat16) args.fail("rowsApart needs a float32 inp");
  const Index inputs = p.n * p.ic, outputs = p.n * p.oc;
  args.apart("out", p.out, outputs, "inp", p.inp, inputs);
  args.apart("out", p.out, outputs, "preActivation", p.preActivation, outputs);
  args.apart("preActivation", p.preActivation, outputs, "inp", p.inp, inputs);
  // In place only if the elements of both have the same size.
  if (p.out.bfloat16 != p.residual.bfloat16 || p.residual.data != p.out.data) {
    args.apart("out", p.out, outputs, "residual", p.residual, outputs);
  }
  if (args.ok() && p.n % samples != 0) {
    args.fail("expected samples to divide n = %lld but received %lld", static_cast<long long>(p.n), static_cast<long long>(samples));
  }
  return args.finish(args.ok() && engine->kernels->linearForward(*engine->pool, p));
}

// linearBackward(engine, n, ic, oc, weightTransposed, accumulate, dinpActivation, dinp | null, dinpPreActivation | null,
//                dweight | null, dbias | null, dout, inp, weight)
napi_value linearBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "linearBackward");
  Engine* engine = args.engine();
  LinearBackwardArguments p = {};
  p.n = args.positive("n");
  p.ic = args.positive("ic");
  p.oc = args.positive("oc");
  p.weightTransposed = args.flag("weightTransposed");
  p.accumulate = args.flag("accumulate");
  p.dinpActivation = args.activation("dinpActivation");
  p.dinp = args.anyFloatsOrNull("dinp", sizeOf(p.n, p.ic));
  p.dinpPreActivation = args.anyFloatsOrNull("dinpPreActivation", sizeOf(p.n, p.ic));
  p.dweight = args.floatsOrNull("dweight", sizeOf(p.ic, p.oc));
  p.dbias = args.floatsOrNull("dbias", p.oc);
  p.dout = args.anyFloats("dout", sizeOf(p.n, p.oc));
  p.inp = args.anyFloats("inp", sizeOf(p.n, p.ic));
  p.weight = args.floats("weight", sizeOf(p.ic, p.oc));
  const bool hasSlope = p.dinpActivation != Activation::none;
  if (args.ok() && hasSlope != (p.dinpPreActivation.data != nullptr)) args.fail("expected dinpActivation and dinpPreActivation together");
  if (args.ok() && hasSlope && p.dinp.data == nullptr) args.fail("dinpActivation needs dinp");
  if (args.ok() && hasSlope && p.accumulate) args.fail("dinpActivation and accumulate exclude each other");
  // dweight is computed from inp and dout after dinp is written.
  args.apart("dinp", p.dinp, p.n * p.ic, "inp", p.inp, p.n * p.ic);
  args.apart("dinp", p.dinp, p.n * p.ic, "dout", p.dout, p.n * p.oc);
  return args.finish(args.ok() && engine->kernels->linearBackward(*engine->pool, p));
}

}  // namespace lockstep
