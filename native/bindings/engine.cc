// Engines: creation, disposal, memory, and the abilities of the machine.
#include "../engine.h"

#include <cstdint>
#include <cstring>
#include <new>

#include "../arguments.h"
#include "../instructionSet.h"
#include "bindings.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace lockstep {
namespace {

constexpr Index enginesMost = 4096;

// A handle is reused only after 500,000 engines have had its slot, because the generation is part of the number.
struct Engines {
  Engine* slots[enginesMost] = {};
  uint32_t generations[enginesMost] = {};
};

void destroy(Engine* engine) {
  if (engine == nullptr) return;
  delete engine->pool;
  delete engine;
}

void destroyAll(napi_env, void* data, void*) {
  auto* engines = static_cast<Engines*>(data);
  for (Engine* engine : engines->slots) destroy(engine);
  delete engines;
}

Engines* enginesOf(napi_env env) {
  void* data = nullptr;
  return napi_get_instance_data(env, &data) == napi_ok ? static_cast<Engines*>(data) : nullptr;
}

Index handleOf(const Engines& engines, Index slot) { return Index(engines.generations[slot] % 500000) * enginesMost + slot; }

// The slot of a live engine, or -1.
Index slotOf(const Engines& engines, Index handle) {
  const Index slot = handle % enginesMost;
  return engines.slots[slot] != nullptr && handleOf(engines, slot) == handle ? slot : -1;
}

napi_value numberValue(napi_env env, double number) {
  napi_value value;
  return napi_create_double(env, number, &value) == napi_ok ? value : nullptr;
}

double measuringTime(Arguments& args) {
  const double seconds = args.number("seconds");
  if (args.ok() && !(seconds > 0 && seconds <= 10)) args.fail("expected seconds in (0, 10] but received %g", seconds);
  return seconds;
}

}  // namespace

bool initialiseEngines(napi_env env) {
  auto* engines = new (std::nothrow) Engines();
  if (engines == nullptr) return false;
  if (napi_set_instance_data(env, engines, destroyAll, nullptr) == napi_ok) return true;
  delete engines;
  return false;
}

Engine* findEngine(napi_env env, Index handle) {
  const Engines* engines = enginesOf(env);
  if (engines == nullptr) return nullptr;
  const Index slot = slotOf(*engines, handle);
  return slot < 0 ? nullptr : engines->slots[slot];
}

// instructionSets(): string[]
napi_value instructionSets(napi_env env, napi_callback_info) {
  napi_value list;
  if (napi_create_array(env, &list) != napi_ok) return nullptr;
  uint32_t index = 0;
  for (const InstructionSet* set = usableInstructionSets(); set->name != nullptr; set++) {
    napi_value name;
    if (napi_create_string_utf8(env, set->name, NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_set_element(env, list, index++, name) != napi_ok) {
      return nullptr;
    }
  }
  return list;
}

// createEngine(threads, isa): handle
napi_value createEngine(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "createEngine");
  const Index threads = args.positive("threads");
  char isa[32];
  args.text("isa", isa, sizeof isa);
  if (args.ok() && threads > ThreadPool::maxThreads) args.fail("expected at most %d threads", ThreadPool::maxThreads);
  const InstructionSet* set = args.ok() ? instructionSetFor(isa) : nullptr;
  if (args.ok() && set == nullptr) args.fail("this machine or this build has no instruction set '%s'", isa);
  Engines* engines = enginesOf(env);
  Index slot = 0;
  while (engines != nullptr && slot < enginesMost && engines->slots[slot] != nullptr) slot++;
  if (engines == nullptr || slot == enginesMost) args.fail("too many engines: dispose those no longer used");
  if (!args.ok()) return nullptr;
  const char* error = "out of memory";
  auto* engine = new (std::nothrow) Engine{set->kernels, nullptr};
  if (engine != nullptr) engine->pool = ThreadPool::create(int(threads), set->kernels->workspaceBytes(), set->bf16Unit, &error);
  if (engine == nullptr || engine->pool == nullptr) {
    delete engine;
    args.fail("no thread pool of %d threads: %s", int(threads), error);
    return nullptr;
  }
  engines->slots[slot] = engine;
  engines->generations[slot]++;
  return numberValue(env, double(handleOf(*engines, slot)));
}

// disposeEngine(handle): does nothing if already disposed
napi_value disposeEngine(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "disposeEngine");
  const Index handle = args.count("engine");
  Engines* engines = enginesOf(env);
  if (!args.ok() || engines == nullptr) return nullptr;
  const Index slot = slotOf(*engines, handle);
  if (slot < 0) return nullptr;
  destroy(engines->slots[slot]);
  engines->slots[slot] = nullptr;
  return nullptr;
}

// misalignment(array): bytes from its start to the next multiple of 64
napi_value misalignment(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "misalignment");
  Index size;
  const float* data = args.floatsOfAnySize("array", &size);
  return args.ok() ? numberValue(env, double(-reinterpret_cast<uintptr_t>(data) & 63)) : nullptr;
}

// adviseHugePages(array): if the system supports huge pages, pages within the array become huge when first written
napi_value adviseHugePages(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "adviseHugePages");
  Index size;
  const float* data = args.floatsOfAnySize("array", &size);
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t pageBytes = uintptr_t(1) << 21;
  const uintptr_t start = (reinterpret_cast<uintptr_t>(data) + pageBytes - 1) & ~(pageBytes - 1);
  const uintptr_t end = reinterpret_cast<uintptr_t>(data + size) & ~(pageBytes - 1);
  // This is a hint: a kernel without huge pages refuses it, which costs only speed.
  if (args.ok() && start < end) madvise(reinterpret_cast<void*>(start), end - start, MADV_HUGEPAGE);
#else
  (void)data;
#endif
  return nullptr;
}

// fmaLimit(engine, seconds): floating-point operations a second
napi_value fmaLimit(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "fmaLimit");
  Engine* engine = args.engine();
  const double seconds = measuringTime(args);
  return args.ok() ? numberValue(env, engine->kernels->fmaLimit(*engine->pool, seconds)) : nullptr;
}

// bf16Limit(engine, seconds): the same of products of bfloat16 numbers
napi_value bf16Limit(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "bf16Limit");
  Engine* engine = args.engine();
  const double seconds = measuringTime(args);
  return args.ok() ? numberValue(env, engine->kernels->bf16Limit(*engine->pool, seconds)) : nullptr;
}

// readBandwidth(engine, seconds, array): bytes a second
napi_value readBandwidth(napi_env env, napi_callback_info info) {
  Arguments args(env, info, "readBandwidth");
  Engine* engine = args.engine();
  const double seconds = measuringTime(args);
  Index size;
  const float* data = args.floatsOfAnySize("array", &size);
  if (args.ok() && size == 0) args.fail("expected an array with at least one element");
  return args.ok() ? numberValue(env, engine->kernels->readBandwidth(*engine->pool, data, size, seconds)) : nullptr;
}

}  // namespace lockstep
