// Partial intensities on a CPU: what orientation_sum.py, shapes.py, amplitudes.py, pixels.py and factors.py of the reference specify,
// in the same symbols, as one pass over the detector that stores nothing per orientation and pixel.
//
// Compiled for the machine it runs on, once for each variant:
//   REAL           float or double, of the sum over orientations (geometry is double)
//   SHAPE          0 square, 1 round, 2 gauss, 3 tophat
//   INTERPOLATE    1: tricubic interpolation of the amplitudes, 0: nearest reflection
//   SHARP          1: so many cells that the rounding of a distance would show in its sine
//   UNIFORM        1: one amplitude for all reflections

#include <algorithm>

#include "blocks.h"
#include "crystal.h"

constexpr double GRID = 2048.0;  // see orientation_sum.py

static inline double to_grid(double value) {
  constexpr double shift = 6755399441055744.0 / GRID;  // its last bit is the grid's
  return (value + shift) - shift;
}

constexpr int64_t SLAB = 256 * RUN;  // orientations that a thread holds at a time: they stay in its cache, and their sums keep their order

// One thread's work: a block of pixels with what it needs of every source and orientation.
struct Block : Placed {
  std::vector<double> total, own, sums;
  std::vector<Orientation> orientations;

  using Placed::Placed;

  void partial() {
    for (int64_t r = 0; r < height; r++)  // needed last: they come from memory while the sum is made
      for (int64_t c = 0; c < width; c += 8) __builtin_prefetch(scaling(r) + c);
    total.assign(points.n, 0.0);
    for (int64_t source = 0; source < work.sources; source++)
      if (work.weight[source] != 0) add_source(source);
    for (int64_t r = 0; r < height; r++) {
      const double *scale = scaling(r), *from = &total[r * width];
      double* to = out(r);
      if (work.add)
        for (int64_t c = 0; c < width; c++) to[c] += scale[c] * from[c];
      else
        for (int64_t c = 0; c < width; c++) to[c] = scale[c] * from[c];
    }
  }

 private:
  void add_source(int64_t source) {
    const double* incident = work.incident + 3 * source;
    double inverse = 1 / work.wavelength[source], q_reference[3], d_reference[3];
    Points reference;
    reference.look(work, middle[0], middle[1], 1, 1);
    for (int i = 0; i < 3; i++) {
      q_reference[i] = (reference.d[i][0] - incident[i]) * inverse;
      d_reference[i] = reference.d[i][0];
    }
    own.assign(points.n, work.weight[source]);
    multiply(work, work.factors, points, source, own.data());
    // unit vectors to points a radius apart differ by 2 radius/(R + R') at most
    double nearest = 2 * reference.distance[0] - radius, chord = nearest > radius ? 2 * radius / nearest : 2;
    const real* table = (const real*)work.table + work.table_start[source];
    for (int64_t group = 0; group < work.groups; group++) add_group(group, table, q_reference, inverse, d_reference, chord * inverse);
  }

  void add_group(
      int64_t group, const real* table, const double* q_reference, double inverse, const double* d_reference, double farthest) {
    sums.assign(points.n, 0.0);
    for (int64_t first = 0; first < work.group_size[group]; first += SLAB)
      add_slab(group, first, std::min(work.group_size[group] - first, SLAB), table, q_reference, inverse, d_reference, farthest);
    const double F2 = UNIFORM ? (double)table[0] * (double)table[0] : 1;
    for (int64_t p = 0; p < points.n; p++) total[p] += own[p] * F2 * sums[p];
  }

  // Adds `count` orientations of a group, from `first` on, to `sums`.
  void add_slab(
      int64_t group,
      int64_t first,
      int64_t count,
      const real* amplitudes,
      const double* q_reference,
      double inverse,
      const double* d_reference,
      double farthest) {
    const double *real_reference = work.reference + 9 * group, *cells = work.cells[group] + 9 * first;
    double whole[3], reach[3], turned[3] = {0, 0, 0}, along[3] = {0, 0, 0};
    orientations.resize(count);
    for (int a = 0; a < 3; a++) {
      const double* reference = real_reference + 3 * a;
      whole[a] = std::rint(dot(reference, q_reference));
      for (int64_t m = 0; m < count; m++) {
        const double* vector = cells + 9 * m + 3 * a;
        double index = dot(vector, q_reference) - whole[a], turn2 = 0;
        for (int i = 0; i < 3; i++) {
          double turn = vector[i] - reference[i];
          orientations[m].turn[a][i] = (real)turn;
          turn2 += turn * turn;
        }
        double gridded = to_grid(index);
        orientations[m].coarse[a] = (real)gridded;
        orientations[m].rest[a] = (real)(index - gridded);
        turned[a] = std::max(turned[a], turn2);
        along[a] = std::max(along[a], std::abs(index));
      }
      // no index of this block is farther from the block's own whole number than this
      reach[a] = std::ceil(along[a] + (std::sqrt(dot(reference, reference)) + std::sqrt(turned[a])) * farthest) + 1;
    }
    Table table;
    bool inside = true;
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
    Crystal crystal;
    for (int a = 0; a < 3; a++) crystal.N_cells[a] = (real)work.N_cells[a];
    crystal.fudge = (real)work.fudge, crystal.count = (real)(work.N_cells[0] * work.N_cells[1] * work.N_cells[2]);

    for (int64_t start = 0; start < points.n; start += STRIP * LANES) {
      int vectors = std::min<int64_t>(STRIP, (points.n - start) / LANES);
      PixelPart parts[STRIP];
      for (int v = 0; v < vectors; v++) prepare(parts[v], start + v * LANES, inverse, d_reference, real_reference);
      if (inside)
        orientation_sum<true>(parts, vectors, orientations.data(), count, table, crystal, &sums[start]);
      else
        orientation_sum<false>(parts, vectors, orientations.data(), count, table, crystal, &sums[start]);
    }
  }

  void prepare(PixelPart& part, int64_t p, double inverse, const double* d_reference, const double* reference) {
    double q[3][LANES], index[LANES], gridded[LANES];
    for (int i = 0; i < 3; i++) {
      for (int l = 0; l < LANES; l++) q[i][l] = (points.d[i][p + l] - d_reference[i]) * inverse;
      for (int l = 0; l < LANES; l++) part.q[i][l] = (real)q[i][l];
    }
    for (int a = 0; a < 3; a++) {
      const double* r = reference + 3 * a;
      for (int l = 0; l < LANES; l++) index[l] = q[0][l] * r[0] + q[1][l] * r[1] + q[2][l] * r[2];
      for (int l = 0; l < LANES; l++) gridded[l] = to_grid(index[l]);
      for (int l = 0; l < LANES; l++) part.coarse[a][l] = (real)gridded[l];
      for (int l = 0; l < LANES; l++) part.rest[a][l] = (real)(index[l] - gridded[l]);
    }
  }
};

// Writes or adds to `out` the un-normalised partial intensity of an area, one subpixel and layer, all sources and orientations, times
// `scale`.
extern "C" int nbdist_partial(const Work* work) {
  return for_blocks<Block>(*work, [](Block& block) { block.partial(); });
}
