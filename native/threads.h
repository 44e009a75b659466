// Threads, locks and aligned memory of the system: POSIX, or Windows, of which the pool needs little more than the names.
#pragma once

#include <cstddef>
#include <cstdlib>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <malloc.h>
#include <process.h>
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#endif

namespace lockstep {

#ifdef _WIN32

class Mutex {
 public:
  void lock() { AcquireSRWLockExclusive(&lock_); }
  void unlock() { ReleaseSRWLockExclusive(&lock_); }

 private:
  friend class Condition;
  SRWLOCK lock_ = SRWLOCK_INIT;
};

class Condition {
 public:
  void signal() { WakeConditionVariable(&condition_); }
  void broadcast() { WakeAllConditionVariable(&condition_); }
  void wait(Mutex& mutex) { SleepConditionVariableSRW(&condition_, &mutex.lock_, INFINITE, 0); }

 private:
  CONDITION_VARIABLE condition_ = CONDITION_VARIABLE_INIT;
};

// Runs `main(argument)` from its start to `join`.
class Thread {
 public:
  bool start(void (*main)(void*), void* argument) {
    main_ = main;
    argument_ = argument;
    handle_ = reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, run, this, 0, nullptr));
    return handle_ != nullptr;
  }
  void join() {
    WaitForSingleObject(handle_, INFINITE);
    CloseHandle(handle_);
  }

 private:
  static unsigned __stdcall run(void* self) {
    auto* thread = static_cast<Thread*>(self);
    thread->main_(thread->argument_);
    return 0;
  }

  void (*main_)(void*) = nullptr;
  void* argument_ = nullptr;
  HANDLE handle_ = nullptr;
};

// While one lives, threads that are started take no signals; Windows has none.
class SignalsBlocked {};

inline void* allocateAligned(size_t bytes) { return _aligned_malloc(bytes, 64); }
inline void freeAligned(void* memory) { _aligned_free(memory); }

#else

class Mutex {
 public:
  void lock() { pthread_mutex_lock(&mutex_); }
  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  friend class Condition;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

class Condition {
 public:
  void signal() { pthread_cond_signal(&condition_); }
  void broadcast() { pthread_cond_broadcast(&condition_); }
  void wait(Mutex& mutex) { pthread_cond_wait(&condition_, &mutex.mutex_); }

 private:
  pthread_cond_t condition_ = PTHREAD_COND_INITIALIZER;
};

// Runs `main(argument)` from its start to `join`.
class Thread {
 public:
  bool start(void (*main)(void*), void* argument) {
    main_ = main;
    argument_ = argument;
    return pthread_create(&handle_, nullptr, run, this) == 0;
  }
  void join() { pthread_join(handle_, nullptr); }

 private:
  static void* run(void* self) {
    auto* thread = static_cast<Thread*>(self);
    thread->main_(thread->argument_);
    return nullptr;
  }

  void (*main_)(void*) = nullptr;
  void* argument_ = nullptr;
  pthread_t handle_;
};

// While one lives, threads that are started take no signals: those stay with the threads of Node.js.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// In huge pages, where the system gives them for the asking: what is packed is read again and again.
inline void* allocateAligned(size_t bytes) {
  void* memory = nullptr;
#ifdef MADV_HUGEPAGE
  constexpr size_t hugePage = 2 << 20;
  if (bytes >= hugePage / 2) {
    bytes = (bytes + hugePage - 1) / hugePage * hugePage;
    if (posix_memalign(&memory, hugePage, bytes) != 0) return nullptr;
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
  }
#endif
  return posix_memalign(&memory, 64, bytes) == 0 ? memory : nullptr;
}
inline void freeAligned(void* memory) { free(memory); }

#endif

}  // namespace lockstep
