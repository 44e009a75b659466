#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// linearForward(engine, n, ic, oc, weightTransposed, out, inp, weight, bias | null)
napi_value linearForward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "linearForward");
  Engine* engine = args.engine();
  LinearForwardArguments p = {};
  p.n = args.positive("n");
  p.ic = args.positive("ic");
  p.oc = args.positive("oc");
  p.weightTransposed = args.flag("weightTransposed");
  p.out = {args.floats("out", sizeOf(p.n, p.oc)), false};
  p.inp = args.floats("inp", sizeOf(p.n, p.ic));
  p.weight = args.floats("weight", sizeOf(p.ic, p.oc));
  p.bias = args.floatsOrNull("bias", p.oc);
  return args.finish(args.ok() && engine->kernels->linearForward(*engine->pool, p));
}

// linearBackward(engine, n, ic, oc, weightTransposed, accumulate, dinp | null, dweight, dbias | null, dout, inp, weight)
napi_value linearBackward(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "linearBackward");
  Engine* engine = args.engine();
  LinearBackwardArguments p = {};
  p.n = args.positive("n");
  p.ic = args.positive("ic");
  p.oc = args.positive("oc");
  p.weightTransposed = args.flag("weightTransposed");
  p.accumulate = args.flag("accumulate");
  p.dinp = {args.floatsOrNull("dinp", sizeOf(p.n, p.ic)), false};
  p.dweight = args.floats("dweight", sizeOf(p.ic, p.oc));
  p.dbias = args.floatsOrNull("dbias", p.oc);
  p.dout = args.floats("dout", sizeOf(p.n, p.oc));
  p.inp = args.floats("inp", sizeOf(p.n, p.ic));
  p.weight = args.floats("weight", sizeOf(p.ic, p.oc));
  return args.finish(args.ok() && engine->kernels->linearBackward(*engine->pool, p));
}

}  // namespace lockstep
