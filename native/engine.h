// The engines of one JavaScript environment (the main thread or a worker thread), each with its thread pool. JavaScript
// holds a number, which is looked up at every call, so an invalid handle is an error, not a crash.
#pragma once

#include <node_api.h>

#include "kernels/kernels.h"

namespace lockstep {

struct Engine {
  const KernelTable* kernels;
  ThreadPool* pool;
};

// Null if there is no such engine.
Engine* findEngine(napi_env env, Index handle);

// Prepares the table of engines; the environment frees it, and the engines in it, when it ends. False if that fails.
bool initialiseEngines(napi_env env);

}  // namespace lockstep
