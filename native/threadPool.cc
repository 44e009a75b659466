#include "threadPool.h"

#include "denormals.h"
#include "threads.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>

namespace lockstep {
namespace {

constexpr int64_t helperSpinNs = 40'000;
constexpr int64_t callerSpinNs = 100'000;

int64_t nowNs() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Spins until `ready()` or the time is over; returns whether it became ready.
template <class Ready>
bool spin(int64_t limitNs, Ready ready) {
  if (ready()) return true;
  const int64_t end = nowNs() + limitNs;
  do {
    for (int i = 0; i < 16; i++) {
      pause();
      if (ready()) return true;
    }
  } while (nowNs() < end);
  return false;
}

// Ticket of the running job: number of the job, its task count, and the next unclaimed task. All are in one
// word, so a late thread claims either a task of the current job or none.
constexpr int fieldBits = 20;
constexpr uint64_t fieldMask = (uint64_t(1) << fieldBits) - 1;

constexpr uint64_t ticketOf(uint64_t job, int tasks) { return job << (2 * fieldBits) | uint64_t(tasks) << fieldBits; }
constexpr int tasksOf(uint64_t ticket) { return int(ticket >> fieldBits & fieldMask); }
constexpr int nextOf(uint64_t ticket) { return int(ticket & fieldMask); }
constexpr bool hasTask(uint64_t ticket) { return nextOf(ticket) < tasksOf(ticket); }

}  // namespace

struct ThreadPool::State {
  struct Helper {
    State* pool;
    int thread;
    Thread handle;
  };

  int threads = 1;
  Bf16Unit bf16Unit = Bf16Unit::widened;
  int helpersStarted = 0;
  Helper helpers[maxThreads];
  void* workspaces[maxThreads] = {};
  float* scratch = nullptr;
  size_t scratchFloats = 0;

  // The running job. Written before its ticket is published, stable while one of its tasks is unfinished.
  TaskFunction function = nullptr;
  void* context = nullptr;
  uint64_t job = 0;

  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<int> finished{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> callerSleeps{false};
  std::atomic<bool> stopping{false};
  Mutex mutex;
  Condition work;
  Condition allDone;

  // Runs tasks until all are claimed.
  void drain(int thread) {
    while (hasTask(ticket.load(std::memory_order_relaxed))) {
      const uint64_t claimed = ticket.fetch_add(1, std::memory_order_acq_rel);
      if (!hasTask(claimed)) return;
      function(context, nextOf(claimed), thread);
      const int total = tasksOf(claimed);
      if (finished.fetch_add(1) + 1 == total && callerSleeps.load()) {
        mutex.lock();
        allDone.signal();
        mutex.unlock();
      }
    }
  }

  bool helperWanted() const { return stopping.load() || hasTask(ticket.load()); }

  void helperLoop(int thread) {
    while (true) {
      if (!spin(helperSpinNs, [this] { return helperWanted(); })) {
        mutex.lock();
        sleepers.fetch_add(1);
        while (!helperWanted()) work.wait(mutex);
        sleepers.fetch_sub(1);
        mutex.unlock();
      }
      if (stopping.load()) return;
      drain(thread);
    }
  }

  void wakeHelpers() {
    mutex.lock();
    work.broadcast();
    mutex.unlock();
  }

  void waitForTasks(int tasks) {
    const auto done = [this, tasks] { return finished.load() == tasks; };
    if (spin(callerSpinNs, done)) return;
    mutex.lock();
    callerSleeps.store(true);
    while (!done()) allDone.wait(mutex);
    callerSleeps.store(false);
    mutex.unlock();
  }

  static void helperMain(void* argument) {
    const DenormalsAsZero denormalsAsZero;
    auto* helper = static_cast<Helper*>(argument);
    helper->pool->helperLoop(helper->thread);
  }

  bool startHelpers() {
    [[maybe_unused]] const SignalsBlocked blocked;
    bool started = true;
    for (int thread = 1; thread < threads && started; thread++) {
      Helper& helper = helpers[thread - 1];
      helper.pool = this;
      helper.thread = thread;
      started = helper.handle.start(helperMain, &helper);
      if (started) helpersStarted++;
    }
    return started;
  }
};

ThreadPool::ThreadPool() : state_(nullptr) {}

ThreadPool* ThreadPool::create(int threads, size_t workspaceBytes, Bf16Unit bf16Unit, const char** error) {
  auto* pool = new (std::nothrow) ThreadPool();
  if (pool == nullptr || (pool->state_ = new (std::nothrow) State()) == nullptr) {
    *error = "out of memory";
    delete pool;
    return nullptr;
  }
  State& state = *pool->state_;
  state.threads = threads;
  state.bf16Unit = bf16Unit;
  for (int thread = 0; thread < threads; thread++) {
    state.workspaces[thread] = allocateAligned(workspaceBytes);
    if (state.workspaces[thread] == nullptr) {
      *error = "out of memory";
      delete pool;
      return nullptr;
    }
  }
  if (!state.startHelpers()) {
    *error = "the system starts no more threads";
    delete pool;
    return nullptr;
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  if (state_ == nullptr) return;
  state_->stopping.store(true);
  state_->wakeHelpers();
  for (int i = 0; i < state_->helpersStarted; i++) state_->helpers[i].handle.join();
  for (void* workspace : state_->workspaces) freeAligned(workspace);
  freeAligned(state_->scratch);
  delete state_;
}

int ThreadPool::threads() const { return state_->threads; }

Bf16Unit ThreadPool::bf16Unit() const { return state_->bf16Unit; }

void* ThreadPool::workspace(int thread) const { return state_->workspaces[thread]; }

float* ThreadPool::scratch(size_t floats) {
  State& state = *state_;
  if (floats <= state.scratchFloats) return state.scratch;
  freeAligned(state.scratch);
  state.scratch = static_cast<float*>(allocateAligned(floats * sizeof(float)));
  state.scratchFloats = state.scratch == nullptr ? 0 : floats;
  return state.scratch;
}

void ThreadPool::run(int tasks, TaskFunction function, void* context) {
  State& state = *state_;
  if (state.threads == 1 || tasks == 1) {
    for (int task = 0; task < tasks; task++) function(context, task, 0);
    return;
  }
  state.function = function;
  state.context = context;
  state.finished.store(0);
  state.job++;
  state.ticket.store(ticketOf(state.job, tasks));
  if (state.sleepers.load() > 0) state.wakeHelpers();
  state.drain(0);
  state.waitForTasks(tasks);
}

}  // namespace lockstep
