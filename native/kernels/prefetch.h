// Prefetches rows that are far apart into the caches, a few at a time during other work.
#pragma once

#include "kernels.h"

namespace lockstep::LOCKSTEP_ISA {

class Prefetcher {
 public:
  // `rows` rows of `bytes` that are `stride` bytes apart, to be read or, with `write`, to be written.
  void add(const void* row, Index stride, Index rows, Index bytes, bool write = false) {
    if (rows <= 0 || count_ == most) return;
    runs_[count_++] = {static_cast<const char*>(row), stride, rows, bytes, write};
    rows_ += rows;
  }

  // Divides the rows such that `steps` calls fetch all of them.
  void spread(Index steps) { rowsAStep_ = rows_ / (steps < 1 ? 1 : steps) + 1; }

  void step() {
    for (Index i = 0; i < rowsAStep_ && count_ > 0; i++) fetchRow();
  }

 private:
  static constexpr int most = 10;
  struct Run {
    const char* row;
    Index stride, rows, bytes;
    bool write;
  };
  Run runs_[most];
  int count_ = 0;
  Index rows_ = 0, rowsAStep_ = 1;

  void fetchRow() {
    Run& run = runs_[count_ - 1];
    const char* end = run.row + run.bytes;
    for (const char* line = run.row; line < end; line += 64) {
      if (run.write) __builtin_prefetch(line, 1);
      else __builtin_prefetch(line, 0, 2);
    }
    run.row += run.stride;
    if (--run.rows == 0) count_--;
  }
};

}  // namespace lockstep::LOCKSTEP_ISA
