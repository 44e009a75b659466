#include "../arguments.h"
#include "bindings.h"

namespace lockstep {
namespace {

// N targets, each a class of V or -1.
const int32_t* targetsOf(Arguments& args, Index n, Index v) {
  const int32_t* targets = args.ints("targets", n);
  for (Index i = 0; args.ok() && i < n; i++) {
    if (targets[i] < -1 || targets[i] >= v) {
      args.fail("expected targets in [-1, %lld) but target %lld is %d", static_cast<long long>(v),
                static_cast<long long>(i), targets[i]);
    }
  }
  return targets;
}

}  // namespace

// crossEntropy(engine, n, v, scale, losses, logits, targets, dlogits | null, weights | null)
napi_value crossEntropy(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "crossEntropy");
  Engine* engine = args.engine();
  CrossEntropyArguments p = {};
  p.n = args.positive("n");
  p.v = args.positive("v");
  p.scale = float(args.number("scale"));
  p.losses = args.floats("losses", p.n);
  p.logits = args.floats("logits", sizeOf(p.n, p.v));
  p.targets = targetsOf(args, p.n, p.v);
  p.dlogits = args.floatsOrNull("dlogits", sizeOf(p.n, p.v));
  p.weights = args.floatsOrNull("weights", p.n);
  return args.finish(args.ok() && engine->kernels->crossEntropy(*engine->pool, p));
}

// linearCrossEntropy(engine, n, ic, v, rows, weightTransposed, scale, losses, logits, dinp | null, dweight | null, inp, weight,
// targets, weights | null): `logits` is scratch, of `rows` rows
napi_value linearCrossEntropy(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "linearCrossEntropy");
  Engine* engine = args.engine();
  LinearCrossEntropyArguments p = {};
  p.n = args.positive("n");
  p.ic = args.positive("ic");
  p.v = args.positive("v");
  p.rows = args.positive("rows");
  p.weightTransposed = args.flag("weightTransposed");
  p.scale = float(args.number("scale"));
  p.losses = args.floats("losses", p.n);
  p.logits = args.floats("logits", sizeOf(p.rows, p.v));
  p.dinp = args.anyFloatsOrNull("dinp", sizeOf(p.n, p.ic));
  p.dweight = args.floatsOrNull("dweight", sizeOf(p.ic, p.v));
  p.inp = args.anyFloats("inp", sizeOf(p.n, p.ic));
  p.weight = args.floats("weight", sizeOf(p.ic, p.v));
  p.targets = targetsOf(args, p.n, p.v);
  p.weights = args.floatsOrNull("weights", p.n);
  args.apart("dinp", p.dinp, p.n * p.ic, "inp", p.inp, p.n * p.ic);
  return args.finish(args.ok() && engine->kernels->linearCrossEntropy(*engine->pool, p));
}

}  // namespace lockstep
