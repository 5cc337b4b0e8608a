// The sum over orientations for shapes with terms everywhere: every pixel in every orientation.

#pragma once

#include "slabs.h"

struct Strips : Slabs {
  Points points;
  std::vector<double> total, own, sums;

  using Slabs::Slabs;

  void partial() {
    look(points, 0, 0, height, width);
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
    turn_to(source);
    own.resize(points.n);
    weigh(points, source, own.data());
    for (int64_t group = 0; group < work.groups; group++) {
      sums.assign(points.n, 0.0);
      for (int64_t first = 0; first < work.group_size[group]; first += SLAB) {
        take(group, first);
        add_slab();
      }
      const double F2 = amplitude2();
      for (int64_t p = 0; p < points.n; p++) total[p] += own[p] * F2 * sums[p];
    }
  }

  void add_slab() {
    for (int64_t start = 0; start < points.n; start += STRIP * LANES) {
      int vectors = std::min<int64_t>(STRIP, (points.n - start) / LANES);
      PixelPart parts[STRIP];
      for (int v = 0; v < vectors; v++) prepare(parts[v], points, start + v * LANES);
      if (inside)
        add_orientations<true>(parts, vectors, &sums[start]);
      else
        add_orientations<false>(parts, vectors, &sums[start]);
    }
  }

  template <bool inside>
  void add_orientations(const PixelPart* parts, int vectors, double* to) const {
    for (int64_t start = 0; start < count; start += RUN) {
      const Run& run = runs[start / RUN];
      const int most = std::min<int64_t>(RUN, count - start);
      vec sum[STRIP];
      for (int v = 0; v < vectors; v++) sum[v] = (real)0;
      for (int m = 0; m < most; m++)
        for (int v = 0; v < vectors; v++) add_term<inside>(sum[v], parts[v], run, m, table, crystal);
      for (int v = 0; v < vectors; v++) {
        alignas(BYTES) real added[LANES];
        store(added, sum[v]);
        for (int l = 0; l < LANES; l++) to[v * LANES + l] += added[l];
      }
    }
  }
};
