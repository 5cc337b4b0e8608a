// A block of pixels and the orientations of a slab, as the terms of crystal.h want them: orientation_sum.py says what they are.

#pragma once

#include <algorithm>

#include "blocks.h"
#include "crystal.h"

constexpr double GRID = 2048.0;  // see orientation_sum.py

static inline double to_grid(double value) {
  constexpr double shift = 6755399441055744.0 / GRID;  // its last bit is the grid's
  return (value + shift) - shift;
}

constexpr int64_t SLAB = 256 * RUN;  // orientations that a thread holds at a time: they stay in its cache, and their sums keep their order

// One thread's work: a block of pixels under a source, with a slab of a group of orientations.
struct Slabs : Placed {
  std::vector<Run> runs;
  int64_t count = 0;  // orientations of the slab
  Table table;
  Crystal crystal;
  bool inside = false;        // whether no index of the block leaves the table
  const double* a_0 = nullptr;  // the group's reference orientation
  double reach[3], turned[3];   // no index is farther from the block's own whole number; no axis from its reference, squared

  explicit Slabs(const Work& work) : Placed(work) {
    for (int a = 0; a < 3; a++) {
      crystal.N_cells[a] = (real)work.N_cells[a], crystal.skew[a] = (real)work.skew[a];
      crystal.least_cells[a] = (real)work.least_cells[a];
    }
    crystal.fudge = (real)work.fudge, crystal.count = (real)(work.N_cells[0] * work.N_cells[1] * work.N_cells[2]);
    crystal.limit = (real)work.limit;
  }

 protected:
  Points reference;  // the block's middle
  double inverse = 0, q_reference[3], d_reference[3], farthest = 0;  // 1/wavelength; of the block's middle; of q from there
  const real* amplitudes = nullptr;

  // Looks at the block from a source.
  void turn_to(int64_t source) {
    const double* incident = work.incident + 3 * source;
    inverse = 1 / work.wavelength[source];
    reference.look(work, middle[0], middle[1], 0, 0, 1, 1);
    for (int i = 0; i < 3; i++) {
      q_reference[i] = (reference.d[i][0] - incident[i]) * inverse;
      d_reference[i] = reference.d[i][0];
    }
    // unit vectors to points a radius apart differ by 2 radius/(R + R') at most
    double nearest = 2 * reference.distance[0] - radius, chord = nearest > radius ? 2 * radius / nearest : 2;
    farthest = chord * inverse;
    amplitudes = (const real*)work.table + work.table_start[source];
  }

  // Takes the orientations of a group from `first` on, SLAB of them at most.
  void take(int64_t group, int64_t first) {
    const double* cells = work.cells[group] + 9 * first;
    count = std::min(work.group_size[group] - first, SLAB);
    a_0 = work.reference + 9 * group;
    runs.resize((count + RUN - 1) / RUN);
    double whole[3];
    for (int a = 0; a < 3; a++) {
      const double* reference = a_0 + 3 * a;
      double along = 0;
      turned[a] = 0;
      whole[a] = std::rint(dot(reference, q_reference));
      for (int64_t m = 0; m < count; m++) {
        const double* vector = cells + 9 * m + 3 * a;
        Run& run = runs[m / RUN];
        double index = dot(vector, q_reference) - whole[a], turn2 = 0;
        for (int i = 0; i < 3; i++) {
          double turn = vector[i] - reference[i];
          run.turn[a][i][m % RUN] = (real)turn;
          turn2 += turn * turn;
        }
        double gridded = to_grid(index);
        run.coarse[a][m % RUN] = (real)gridded;
        run.rest[a][m % RUN] = (real)(index - gridded);
        turned[a] = std::max(turned[a], turn2);
        along = std::max(along, std::abs(index));
      }
      // no index of this block is farther from the block's own whole number than this
      reach[a] = std::ceil(along + (std::sqrt(dot(reference, reference)) + std::sqrt(turned[a])) * farthest) + 1;
    }
    inside = true;
    double largest = 0;
    int64_t here = 0;
    for (int a = 0; a < 3; a++) {
      table.low[a] = (real)(work.low[a] - whole[a]), table.high[a] = (real)(work.high[a] - whole[a]);
      table.step[a] = (int32_t)work.step[a], table.stride[a] = (real)work.step[a];
      inside = inside && -reach[a] >= table.low[a] && reach[a] <= table.high[a];
      largest += reach[a] * work.step[a];
      here += ((int64_t)whole[a] - work.low[a]) * work.step[a];
    }
    table.start = amplitudes;
    inside = inside && largest < (SINGLE ? 1 << 24 : 1 << 30);
    table.here = inside ? table.start + here : nullptr;
  }

  // The weight of a source times the factors of points that are not the same for all sources and subpixels. It is one function for all
  // who call it: a compiler that mixes it with what is around it joins other products to fused ones, and last bits differ.
  __attribute__((noinline)) void weigh(const Points& points, int64_t source, double* own) const {
    std::fill_n(own, points.n, work.weight[source]);
    multiply(work, work.factors, points, source, own);
  }

  // What the terms need of `n` points from `p` on, in the orientations of the group whose reference is `a_0`.
  template <int n = LANES>
  void prepare(PixelPart& part, const Points& points, int64_t p) const {
    double q[3][n], index[n], gridded[n];
    for (int i = 0; i < 3; i++) {
      for (int l = 0; l < n; l++) q[i][l] = (points.d[i][p + l] - d_reference[i]) * inverse;
      for (int l = 0; l < n; l++) part.q[i][l] = (real)q[i][l];
    }
    for (int a = 0; a < 3; a++) {
      const double* r = a_0 + 3 * a;
      for (int l = 0; l < n; l++) index[l] = q[0][l] * r[0] + q[1][l] * r[1] + q[2][l] * r[2];
      for (int l = 0; l < n; l++) gridded[l] = to_grid(index[l]);
      for (int l = 0; l < n; l++) part.coarse[a][l] = (real)gridded[l];
      for (int l = 0; l < n; l++) part.rest[a][l] = (real)(index[l] - gridded[l]);
    }
  }

  // What multiplies the sum over a group's orientations, but for the factors of a pixel.
  double amplitude2() const { return UNIFORM ? (double)amplitudes[0] * (double)amplitudes[0] : 1; }
};
