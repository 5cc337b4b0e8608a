// The fixed grid of blocks that a panel is worked through in, and the threads that share them.

#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "detector.h"

// The part of a block of pixels that lies inside the area.
struct Placed {
  const Work& work;
  int64_t row = 0, column = 0, height = 0, width = 0;
  double middle[2] = {0, 0}, radius = 0;  // of the whole block: slow and fast; metres

  explicit Placed(const Work& work) : work(work) {}

  void place(int64_t block_row, int64_t block_column) {
    int64_t top = block_row * work.side, left = block_column * work.side;
    int64_t bottom = std::min(top + work.side, work.rows), right = std::min(left + work.side, work.columns);
    middle[0] = 0.5 * (top + bottom), middle[1] = 0.5 * (left + right);
    radius = across(1 + 0.5 * (bottom - top), 1 + 0.5 * (right - left));
    row = std::max(top, work.first_row), column = std::max(left, work.first_column);
    height = std::min(bottom, work.last_row) - row, width = std::min(right, work.last_column) - column;
  }

  // The points of `rows` x `columns` pixels of the part, from (top, left) of it on.
  void look(Points& points, int64_t top, int64_t left, int64_t rows, int64_t columns) const {
    points.look(work, row + work.row_shift, column + work.column_shift, top, left, rows, columns);
  }

  // No pixel within so many rows and columns of another is farther from it, metres: rows and columns need not be perpendicular, and
  // two turns reach no farther than twice as far.
  double across(double A, double B) const {
    double slant = std::abs(dot(work.slow, work.fast));
    return work.pixel * std::sqrt(A * A + B * B + 2 * A * B * slant) * (work.curved ? 2 : 1);
  }

  const double* scaling(int64_t r) { return work.scale + (row - work.first_row + r) * work.scale_stride + column - work.first_column; }
  double* out(int64_t r) { return work.out + (row - work.first_row + r) * work.out_stride + column - work.first_column; }
};

template <class Block, class Task>
static int for_blocks(const Work& work, Task task) {  // 0, or 1 where there was no memory
  int64_t top = work.first_row / work.side, bottom = (work.last_row - 1) / work.side + 1;
  int64_t left = work.first_column / work.side, columns = (work.last_column - 1) / work.side + 1 - left;
  // neighbours go to one thread, which then does not share their cache lines with another
  int64_t blocks = (bottom - top) * columns, run_length = std::clamp<int64_t>(blocks / (16 * work.threads), 1, columns);
  std::atomic<int64_t> next{0};
  std::atomic<int> failed{0};
  auto run = [&] {
    try {
      Block block(work);
      for (int64_t start; (start = next.fetch_add(run_length)) < blocks;)
        for (int64_t number = start; number < std::min(start + run_length, blocks); number++) {
          block.place(top + number / columns, left + number % columns);
          task(block);
        }
    } catch (const std::exception&) {
      failed = 1;
    }
  };
  std::vector<std::thread> others;
  try {
    for (int64_t t = 1; t < std::min(work.threads, blocks); t++) others.emplace_back(run);
  } catch (const std::exception&) {  // as many as there are will do
  }
  run();
  for (auto& other : others) other.join();
  return failed;
}
