#include "../arguments.h"
#include "bindings.h"

namespace lockstep {

// rope(engine, b, t, width, heads, headSize, rows, inverse, out, inp, table, positions | null, starts | null)
napi_value rope(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "rope");
  Engine* engine = args.engine();
  RopeArguments p = {};
  p.b = args.positive("b");
  p.t = args.positive("t");
  p.width = args.positive("width");
  p.heads = args.positive("heads");
  p.headSize = args.positive("headSize");
  const Index rows = args.positive("rows");
  p.inverse = args.flag("inverse");
  if (args.ok() && (p.headSize % 2 != 0 || p.heads * p.headSize > p.width)) {
    args.fail("expected heads of an even size that fit in the width");
  }
  p.out = args.anyFloats("out", sizeOf(p.b, p.t, p.width));
  p.inp = args.anyFloats("inp", sizeOf(p.b, p.t, p.width));
  if (args.ok() && p.out.bfloat16 != p.inp.bfloat16) args.fail("expected out and inp of one type");
  p.table = args.floats("table", sizeOf(rows, p.headSize));
  p.positions = args.intsOrNull("positions", p.b);
  p.starts = args.startsOrNull("starts", p.b, p.t);
  for (Index i = 0; args.ok() && i < p.b; i++) {
    const Index first = p.positions == nullptr ? 0 : Index(p.positions[i]);
    if (first < 0 || first + p.t > rows) args.fail("expected positions that have a row in the table");
  }
  return args.finish(args.ok() && engine->kernels->rope(*engine->pool, p));
}

}  // namespace lockstep
