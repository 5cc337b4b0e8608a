// Spots of the integrated method on a CPU: what integrated.py of the reference specifies, a reflection at a time.
//
//   REAL   float or double, of the values (the coefficients of a spot are double)
//
// Every spot is worked out whole, whatever area is asked for, and added to a pixel in the order of the spots: neither the area nor the
// number of threads changes a bit.

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "spot_patch.h"

struct Request {  // mirrored by integrated.Request; every member takes eight bytes
  int64_t spots;
  const int64_t* first_entry;  // (spots + 1)
  const int64_t *lattice, *source;
  const double *vector, *phi, *low, *high, *strength;  // (entries): at phi 0 (entries, 3), 1/Angstrom; radians
  int64_t lattices;
  const double *shape, *mosaic;  // (lattices, 3, 3)
  double spindle[3], divergence_axis[2][3];
  double band_variance, divergence_variance[2], tolerance;
  int64_t subpixels;            // along a side of a pixel; 0: as many as a spot needs
  int64_t layers;
  int64_t varying;              // bits of Factor: those that change within a pixel, which `factor` holds at its middle
  const real* const* factor;  // (sources, layers), of the area: what multiplies a pixel
  void* image;                  // (rows, columns) of REAL, written
  // labels, or null
  double photons;               // of one unit of the image
  const float* background;      // (rows, columns), photons
  double share;                 // of a pixel's photons, more than which are Bragg photons where it is a spot's
  int32_t* spot;                // (rows, columns), written: 0, or 1 + which of the spots that give photons here gives most
  double* moments;              // (spots, 6): photons, slow, fast, their second moments about the mean ss, ff, sf
  int64_t* boxes;               // (spots, 6): first and last row, first and last column (last exclusive), row and column of the peak
  double* beside;               // (spots, 2): photons of the background under it, largest share of others in its pixels
};

// Gauss-Legendre nodes on a pixel, by their number: offsets from its middle, and weights
struct Nodes {
  int count;
  double at[16], weight[16];
};

static Nodes legendre(int count) {
  Nodes nodes{count, {}, {}};
  for (int i = 0; i < count; i++) {
    double x = std::cos(PI * (i + 0.75) / (count + 0.5)), slope = 1;
    for (int turn = 0; turn < 60; turn++) {  // Newton's iteration on the Legendre polynomial
      double before = 1, value = x;
      for (int n = 2; n <= count; n++) {
        double next = ((2 * n - 1) * x * value - (n - 1) * before) / n;
        before = value, value = next;
      }
      slope = count * (x * value - before) / (x * x - 1);
      double step = value / slope;
      x -= step;
      if (std::abs(step) < 1e-16) break;
    }
    nodes.at[i] = 0.5 * x, nodes.weight[i] = 1 / ((1 - x * x) * slope * slope);
  }
  return nodes;
}

constexpr int MOST_NODES = 8, LINES = 16;  // nodes along a side of a pixel; lines across a thin spot at a time
// Smallest deviation of a spot in pixels for which n nodes are good to 1e-4 of its peak, by the error of the quadrature of a Gaussian;
// it changes as the 2n-th root of the tolerance.
constexpr double ENOUGH[MOST_NODES + 1] = {0, 20.4, 1.63, 0.65, 0.395, 0.285, 0.225, 0.185, 0.157};
constexpr double COVERED = 13;        // deviations of a Gaussian that LINES nodes integrate to 1e-6
constexpr double SMOOTH = 0.3;        // change of phi, in deviations, across a thin spot up to which it is a Gaussian all the same
constexpr double FLAT = 0.2;          // where a line falls by less from its middle to a deviation, squared, it is not in the spot
constexpr double NEAR = 2;            // deviations of a thin spot within which the line through it is straight enough
constexpr int TURNS_TO_ARC = 3;       // steps from that line to the arc of a spot that is bent
constexpr double MET = 8;             // deviations from the last guess beyond which a Gaussian through three points is not believed
constexpr int64_t MOST_PIECES = 400;  // of a pixel's side

struct Box {
  int64_t first_row = INT64_MAX, last_row = INT64_MIN, first_column = INT64_MAX, last_column = INT64_MIN;

  bool empty() const { return first_row >= last_row || first_column >= last_column; }
  bool has(int64_t row, int64_t column) const {
    return row >= first_row && row < last_row && column >= first_column && column < last_column;
  }
  void add(int64_t row, int64_t first, int64_t last) {
    first_row = std::min(first_row, row), last_row = std::max(last_row, row + 1);
    first_column = std::min(first_column, first), last_column = std::max(last_column, last);
  }
};

struct Spot : Box {  // the part of its box that is in the area, and its values there
  real* values = nullptr;
  Box whole;
  int64_t peak_row = 0, peak_column = 0;
  real peak = 0;
  int32_t number = 0;  // 1 + how many before it give anything
};

struct Arena {  // memory that a thread gives out and keeps until the end of a call
  static constexpr int64_t CHUNK = 1 << 18;
  std::vector<std::unique_ptr<real[]>> chunks;
  int64_t left = 0;
  real* at = nullptr;

  real* take(int64_t count) {
    if (count > left) {
      int64_t size = std::max(count, CHUNK);
      chunks.emplace_back(new real[size]);
      at = chunks.back().get(), left = size;
    }
    real* taken = at;
    at += count, left -= count;
    std::fill_n(taken, count, (real)0);
    return taken;
  }
};

struct Lattice {  // as its crystals are at phi 0
  Matrix shape;
  std::array<Vector, 3> turns;  // roots of the covariance of their rotations
};

struct Run {
  int64_t row, first, last;
};

class Renderer {
 public:
  Renderer(const Work& work, const Request& request) : work(work), request(request) {
    for (int64_t layer = 0; layer < request.layers; layer++) surfaces.emplace_back(work, layer);
    for (int64_t s = 0; s < work.sources; s++) {
      Beam beam;
      for (int i = 0; i < 3; i++) beam.incident[i] = work.incident[3 * s + i];
      beam.wavelength = work.wavelength[s], beam.band = request.band_variance;
      for (int t = 0; t < 2; t++) {
        const double* axis = request.divergence_axis[t];
        beam.tilt[t] = (1 / beam.wavelength) * cross(Vector{axis[0], axis[1], axis[2]}, beam.incident);
        beam.tilt_variance[t] = request.divergence_variance[t];
      }
      beams.push_back(beam);
    }
    for (int64_t l = 0; l < request.lattices; l++) {
      auto matrix = [&](const double* from) {
        from += 9 * l;
        return Matrix{{{from[0], from[1], from[2]}, {from[3], from[4], from[5]}, {from[6], from[7], from[8]}}};
      };
      lattices.push_back({matrix(request.shape), roots<3>(matrix(request.mosaic))});
    }
    for (int n = 1; n <= MOST_NODES; n++) nodes[n] = legendre(n);
    line_nodes = legendre(LINES);
    spots.resize(request.spots);
  }

  void spot(int64_t number, Arena& arena, std::vector<std::pair<Patch, const real*>>& patches, std::vector<Run>& runs) {
    int64_t first = request.first_entry[number], last = request.first_entry[number + 1];
    patches.clear();
    std::vector<double> strengths;
    Spot& its = spots[number];
    for (int64_t entry = first; entry < last; entry++) {
      const Beam& beam = beams[request.source[entry]];
      SpotModel model = modelled(entry, beam);
      for (int64_t layer = 0; layer < request.layers; layer++) {
        Patch patch(surfaces[layer]);
        if (!patch.place(model, beam, request.tolerance)) continue;
        if (request.varying) find_gradient(patch, request.source[entry], layer);
        int64_t from, to;
        bool any = false;
        for (int64_t row = patch.first_row; row < patch.last_row; row++)
          if (patch.columns(row, from, to)) its.whole.add(row, from, to), any = true;
        const real* factor = request.factor[request.source[entry] * request.layers + layer];
        if (any) patches.emplace_back(patch, factor), strengths.push_back(request.strength[entry] * model.peak);
      }
    }
    its.first_row = std::max(its.whole.first_row, work.first_row), its.last_row = std::min(its.whole.last_row, work.last_row);
    its.first_column = std::max(its.whole.first_column, work.first_column);
    its.last_column = std::min(its.whole.last_column, work.last_column);
    if (its.empty()) {
      static_cast<Box&>(its) = {0, 0, 0, 0};
      return;
    }
    its.values = arena.take((its.last_row - its.first_row) * (its.last_column - its.first_column));
    for (size_t p = 0; p < patches.size(); p++) evaluate(patches[p].first, strengths[p], patches[p].second, its, runs);
    if (!request.moments) return;
    const int64_t width = its.last_column - its.first_column, count = (its.last_row - its.first_row) * width;
    its.peak = greatest(its.values, count);
    const int64_t place = std::find(its.values, its.values + count, its.peak) - its.values;
    its.peak_row = its.first_row + place / width, its.peak_column = its.first_column + place % width;
  }

  // Cuts the image into bands of rows, and finds the spots of each.
  void cut(int64_t bands) {
    const int64_t rows = work.last_row - work.first_row;
    spots_of_band.resize(bands);
    auto band_of = [&](int64_t row) { return ((row - work.first_row + 1) * bands - 1) / rows; };
    int32_t count = 0;
    for (Spot& its : spots) {
      if (its.peak > 0) its.number = ++count;
      if (its.empty()) continue;
      for (int64_t band = band_of(its.first_row); band <= band_of(its.last_row - 1); band++) spots_of_band[band].push_back(&its);
    }
  }

  void band(int64_t number, std::vector<real>& most) {  // of the image, and of the numbers of its spots
    const int64_t bands = spots_of_band.size(), rows = work.last_row - work.first_row;
    const int64_t first_row = work.first_row + rows * number / bands, last_row = work.first_row + rows * (number + 1) / bands;
    const std::vector<const Spot*>& here = spots_of_band[number];
    const int64_t columns = work.last_column - work.first_column, pixels = (last_row - first_row) * columns;
    const int64_t begin = (first_row - work.first_row) * columns;
    real* image = (real*)request.image + begin;
    std::fill_n(image, pixels, (real)0);
    if (!request.spot)
      return each_row(here, first_row, last_row, [&](const Spot&, const real* from, int64_t start, int64_t width) {
        add(image + start, from, width);
      });
    int32_t* spot = request.spot + begin;
    const float* background = request.background ? request.background + begin : nullptr;
    std::fill_n(spot, pixels, 0);
    most.resize(pixels);  // known where there is a spot
    each_row(here, first_row, last_row, [&](const Spot&, const real* from, int64_t start, int64_t width) {
      add(image + start, from, width);
      if (background) fetch(background + start, width);
    });
    const real scale = (real)request.photons, share = (real)request.share;
    each_row(here, first_row, last_row, [&](const Spot& its, const real* from, int64_t start, int64_t width) {
      real* __restrict most_of = most.data() + start;
      int32_t* __restrict spot_of = spot + start;
      const float* under = background ? background + start : nullptr;
      const int32_t own = its.number;
      for (int64_t c = 0; c < width; c++) {
        const real photons = image[start + c] * scale, all = photons + (under ? (real)under[c] : (real)0);
        const bool more = (photons > share * all) & (from[c] > (spot_of[c] ? most_of[c] : (real)0));
        most_of[c] = more ? from[c] : most_of[c];
        spot_of[c] = more ? own : spot_of[c];
      }
    });
  }

  void measure(int64_t number) const {  // the labels of a spot, once the image is whole
    const Spot& its = spots[number];
    double* moments = request.moments + 6 * number;
    int64_t* box = request.boxes + 6 * number;
    double* beside = request.beside + 2 * number;
    const int64_t width = its.last_column - its.first_column, columns = work.last_column - work.first_column;
    if (!(its.peak > 0)) return;
    const real *image = (const real*)request.image, least = its.peak * (real)request.tolerance;
    const real counted = its.peak * (real)OVERLAP_PEAK;
    auto place = [&](int64_t row) { return (row - work.first_row) * columns + its.first_column - work.first_column; };
    for (int64_t row = its.first_row; row < its.last_row; row++) {
      fetch(image + place(row), width);
      if (request.background) fetch(request.background + place(row), width);
    }
    Box inside;
    double sum = 0, s1 = 0, f1 = 0, s2 = 0, f2 = 0, sf = 0, under = 0, own = 1;
    for (int64_t row = its.first_row; row < its.last_row; row++) {
      const real *values = its.values + (row - its.first_row) * width, *all = image + place(row);
      const double s = (double)(row - its.peak_row), left = (double)(its.first_column - its.peak_column);
      for (int64_t c = 0; c < width; c++) {  // without a branch: one in the middle of every row would be guessed wrong
        const double value = std::max(values[c], (real)0), f = left + (double)c;
        sum += value, s1 += value * s, f1 += value * f, s2 += value * s * s, f2 += value * f * f, sf += value * s * f;
      }
      int64_t first = 0, last = width;
      while (first < last && values[first] < least) first++;
      while (first < last && values[last - 1] < least) last--;
      if (first == last) continue;
      inside.add(row, its.first_column + first, its.first_column + last);
      if (request.background)
        for (int64_t c = first; c < last; c++) under += values[c] >= least ? request.background[place(row) + c] : 0.0f;
      for (int64_t c = first; c < last; c++)
        if (values[c] >= counted) own = std::min(own, (double)values[c] / (double)all[c]);
    }
    box[0] = inside.first_row, box[1] = inside.last_row, box[2] = inside.first_column, box[3] = inside.last_column;
    box[4] = its.peak_row, box[5] = its.peak_column;
    beside[0] = under, beside[1] = 1 - own;
    moments[0] = sum * request.photons;
    moments[1] = its.peak_row + 0.5 + s1 / sum, moments[2] = its.peak_column + 0.5 + f1 / sum;
    moments[3] = s2 / sum - s1 * s1 / (sum * sum), moments[4] = f2 / sum - f1 * f1 / (sum * sum);
    moments[5] = sf / sum - s1 * f1 / (sum * sum);
  }

 private:
  static constexpr double OVERLAP_PEAK = 0.1;  // of the peak: fainter pixels of a spot do not count as overlapped

  const Work& work;
  const Request& request;
  std::vector<Surface> surfaces;
  std::vector<Beam> beams;
  std::vector<Lattice> lattices;
  std::vector<Spot> spots;
  std::vector<std::vector<const Spot*>> spots_of_band;
  Nodes nodes[MOST_NODES + 1], line_nodes;

  static real greatest(const real* values, int64_t count) {  // of them and 0
    alignas(BYTES) real lanes[LANES];
    vec most = (real)0;
    int64_t n = 0;
    for (; n + LANES <= count; n += LANES) most = largest(load(values + n), most);
    store(lanes, most);
    return std::max(*std::max_element(lanes, lanes + LANES), n < count ? *std::max_element(values + n, values + count) : (real)0);
  }

  // A function of its own, whose arguments the compiler takes for apart: rows are too short to look each time.
  static void add(real* __restrict to, const real* __restrict from, int64_t count) {
    for (int64_t n = 0; n < count; n++) to[n] += from[n];
  }

  // Has the memory begin to bring values that are needed soon.
  template <class Value>
  static void fetch(const Value* values, int64_t count) {
    __builtin_prefetch(values), __builtin_prefetch(values + count - 1);
  }

  // Calls `visit` with each of some spots and the values in each of its rows between two rows: their first pixel from there on, and how many.
  template <class Visit>
  void each_row(const std::vector<const Spot*>& some, int64_t first_row, int64_t last_row, Visit visit) const {
    const int64_t columns = work.last_column - work.first_column;
    for (const Spot* one : some) {
      const Spot& its = *one;
      const int64_t width = its.last_column - its.first_column, left = its.first_column - work.first_column;
      for (int64_t row = std::max(first_row, its.first_row); row < std::min(last_row, its.last_row); row++)
        visit(its, its.values + (row - its.first_row) * width, (row - first_row) * columns + left, width);
    }
  }

  SpotModel modelled(int64_t entry, const Beam& beam) const {
    const Vector u = {request.spindle[0], request.spindle[1], request.spindle[2]};
    const Matrix R = rotation_about(u, request.phi[entry]);
    const double* vector = request.vector + 3 * entry;
    const Lattice& its = lattices[request.lattice[entry]];
    std::array<Vector, 3> turns;
    for (int i = 0; i < 3; i++) turns[i] = R * its.turns[i];
    return SpotModel(
        R * Vector{vector[0], vector[1], vector[2]}, turned(R, its.shape), turns, u, beam, request.low[entry], request.high[entry]);
  }

  // How the varying factors change from pixel to pixel about a spot, relative to what they are there.
  void find_gradient(Patch& patch, int64_t source, int64_t layer) const {
    Work local = work;
    local.layer = (double)layer;
    Points points;
    auto at = [&](double ds, double df) {
      std::vector<double> value;
      points.look(local, patch.anchor_s + ds, patch.anchor_f + df, 0, 0, 1, 1);
      value.assign(points.n, 1.0);
      multiply(local, request.varying, points, source, value.data());
      return value[0];
    };
    double here = at(0, 0);
    if (!(here > 0)) return;
    patch.gradient_s = (at(0.5, 0) - at(-0.5, 0)) / here, patch.gradient_f = (at(0, 0.5) - at(0, -0.5)) / here;
  }

  int enough(double deviation) const {  // nodes for a spot of such a deviation, 0 if there are not so many
    for (int n = 1; n <= MOST_NODES; n++)
      if (deviation >= ENOUGH[n] * std::pow(1e-4 / request.tolerance, 0.5 / n)) return n;
    return 0;
  }

  void evaluate(const Patch& patch, double strength, const real* factor, const Spot& its, std::vector<Run>& runs) const {
    runs.clear();
    int64_t from, to;
    for (int64_t row = patch.first_row; row < patch.last_row; row++)
      if (patch.columns(row, from, to)) runs.push_back({row, from, to});
    if (request.subpixels) {
      const int64_t n = request.subpixels;
      points(patch, strength, its, runs, factor, n * n, [&](int64_t pass, double& s, double& f, double& weight) {
        s = (pass / n + 0.5) / n - 0.5, f = (pass % n + 0.5) / n - 0.5, weight = 1.0 / (n * n);
      });
      return;
    }
    const Form& form = patch.smooth;
    const int by_s = enough(1 / std::sqrt(std::max(form.ss, 1e-300))), by_f = enough(1 / std::sqrt(std::max(form.ff, 1e-300)));
    if (by_s && by_f) {
      const Nodes &S = nodes[by_s], &F = nodes[by_f];
      points(patch, strength, its, runs, factor, (int64_t)by_s * by_f, [&](int64_t pass, double& s, double& f, double& weight) {
        s = S.at[pass / by_f], f = F.at[pass % by_f], weight = S.weight[pass / by_f] * F.weight[pass % by_f];
      });
    } else {
      lines(patch, strength, factor, its);
    }
  }

  // The sum over points in each pixel, LANES pixels at a time.
  template <class Points>
  void points(
      const Patch& patch, double strength, const Spot& its, const std::vector<Run>& runs, const real* factor, int64_t passes, Points at) const {
    const int64_t width = its.last_column - its.first_column, columns = work.last_column - work.first_column;
    alignas(BYTES) real s[LANES] = {}, f[LANES] = {}, value[LANES];
    int64_t rows[LANES], cols[LANES];
    int filled = 0;
    auto flush = [&] {
      for (int l = filled; l < LANES; l++) s[l] = s[filled - 1], f[l] = f[filled - 1];
      vec S = load(s), F = load(f), sum = (real)0;
      for (int64_t pass = 0; pass < passes; pass++) {
        double ds, df, weight;
        at(pass, ds, df, weight);
        weight *= 1 + patch.gradient_s * ds + patch.gradient_f * df;
        sum = patch.value(S + (real)ds, F + (real)df) * (real)weight + sum;
      }
      store(value, sum);
      for (int l = 0; l < filled; l++)
        its.values[(rows[l] - its.first_row) * width + cols[l] - its.first_column] +=
            (real)(value[l] * strength * factor[(rows[l] - work.first_row) * columns + cols[l] - work.first_column]);
      filled = 0;
    };
    for (const Run& run : runs)
      for (int64_t c = run.first; c < run.last; c++) {
        if (!its.has(run.row, c)) continue;
        s[filled] = (real)(run.row + 0.5 - patch.anchor_s), f[filled] = (real)(c + 0.5 - patch.anchor_f);
        rows[filled] = run.row, cols[filled] = c;
        if (++filled == LANES) flush();
      }
    if (filled) flush();
  }

  // A spot thinner than a pixel: lines across it, LINES at a time, and the integral along each of them.
  void lines(const Patch& patch, double strength, const real* factor, const Spot& its) const {
    Lines work_on(*this, patch, strength, factor, its);
    work_on.add();
  }

  struct Lines {
    const Renderer& renderer;
    const Patch& patch;
    const double strength;
    const real* factor;
    const Spot& its;
    const bool fast;  // integrated along fast, where it is thinner; lines along slow
    const int64_t width, columns;
    const Form line;  // the exponent along them, f
    double thin, other, ends;
    bool closed, bent;
    int64_t first, last;  // pixels along the lines

    Lines(const Renderer& renderer, const Patch& patch, double strength, const real* factor, const Spot& its)
        : renderer(renderer),
          patch(patch),
          strength(strength),
          factor(factor),
          its(its),
          fast(patch.smooth.ff >= patch.smooth.ss),
          width(its.last_column - its.first_column),
          columns(renderer.work.last_column - renderer.work.first_column),
          line(fast ? patch.gaussian() : patch.gaussian().turned()) {
      const Form& form = patch.smooth;
      thin = 1 / std::sqrt(fast ? form.ff : form.ss), other = 1 / std::sqrt(std::max(fast ? form.ss : form.ff, 1e-300));
      double change = std::abs(fast ? patch.phi_f : patch.phi_s) * patch.deviations / std::sqrt(std::max(line.ff, 1e-300));
      bent = patch.margin >= NEAR * thin;
      closed = line.ff > 0 && (patch.thin || change < SMOOTH * std::cbrt(renderer.request.tolerance / 1e-4));
      first = fast ? its.whole.first_column : its.whole.first_row, last = fast ? its.whole.last_column : its.whole.last_row;
      ends = fast ? patch.anchor_f : patch.anchor_s;
    }

    void add() {
      const double anchor = fast ? patch.anchor_s : patch.anchor_f;
      const int64_t low = fast ? its.whole.first_row : its.whole.first_column, high = fast ? its.whole.last_row : its.whole.last_column;
      double top, bottom;
      if (!patch.extent(fast, top, bottom)) return;
      for (int64_t pixel = low; pixel < high; pixel++) {
        double from = std::max(pixel - anchor, top), to = std::min(pixel + 1 - anchor, bottom);
        if (from >= to) continue;
        int64_t pieces = std::clamp<int64_t>((int64_t)std::ceil((to - from) / (COVERED * other)), 1, MOST_PIECES);
        for (int64_t piece = 0; piece < pieces; piece++)
          for (int start = 0; start < LINES; start += LANES) {
            alignas(BYTES) real at[LANES], weight[LANES];
            const int used = std::min(LANES, LINES - start);
            const double length = (to - from) / pieces;
            for (int l = 0; l < LANES; l++) {
              int n = start + std::min(l, used - 1);
              at[l] = (real)(from + length * (piece + 0.5 + renderer.line_nodes.at[n]));
              weight[l] = l < used ? (real)(length * renderer.line_nodes.weight[n]) : 0;
            }
            if (closed)
              closed_form(pixel, at, weight);
            else
              summed(pixel, at, weight);
          }
      }
    }

    // Factors at places along lines, relative to those in the middle of a pixel.
    vec factors(int64_t line_pixel, int64_t pixel, vec at, vec along) const {
      const double across = fast ? patch.gradient_s : patch.gradient_f, down = fast ? patch.gradient_f : patch.gradient_s;
      const double anchor = fast ? patch.anchor_s : patch.anchor_f;
      vec there = least(largest(along - (real)(pixel + 0.5 - ends), vec((real)-0.5)), vec((real)0.5));
      return (at - (real)(line_pixel + 0.5 - anchor)) * (real)across + there * (real)down + (real)1;
    }

    void give(int64_t line_pixel, int64_t pixel, vec value, const real* weight) {
      alignas(BYTES) real part[LANES];
      store(part, value);
      double sum = 0;
      for (int l = 0; l < LANES; l++) sum += (double)part[l] * weight[l];
      int64_t row = fast ? line_pixel : pixel, column = fast ? pixel : line_pixel;
      if (!its.has(row, column)) return;
      its.values[(row - its.first_row) * width + column - its.first_column] += (real)(
          sum * strength *
          factor[(row - renderer.work.first_row) * columns + column - renderer.work.first_column]);
    }

    // Pixels that lines reach, of which `left` and `right` are the least and the most.
    bool reached(double left, double right, int64_t& from, int64_t& to) const {
      from = std::max<int64_t>(first, (int64_t)std::floor(std::max(left + ends, -1e15)));
      to = std::min<int64_t>(last, (int64_t)std::floor(std::min(right + ends, 1e15)) + 1);
      return from < to;
    }

    // A Gaussian along each line, found from the logarithms at three points.
    void closed_form(int64_t line_pixel, const real* at, const real* weight) {
      alignas(BYTES) real middle[LANES], sigma[LANES], height[LANES];
      for (int l = 0; l < LANES; l++) middle[l] = (real)line.ridge(at[l]);
      vec there = load(at), guess = load(middle), log[3], phi[3], rise, fall;
      const real step = (real)thin;
      for (int turn = 0; bent && turn < TURNS_TO_ARC; turn++) guess = guess + towards_arc(there, guess, step);
      const int turns = bent ? 2 : 1;  // once more from where it turns out to be
      for (int turn = 0; turn < turns; turn++) {
        for (int n = 0; n < 3; n++) {
          vec along = guess + (real)(n - 1) * step, lower, upper;
          log[n] = patch.logarithm(fast ? there : along, fast ? along : there, lower, upper);
          phi[n] = patch.of_phi(lower, upper);
        }
        const vec least_phi = largest(phi[1] * (real)0.01, vec((real)1e-30));
        for (int n = 0; n < 3; n++) log[n] = log[n] + logarithm_of(largest(phi[n], least_phi));
        rise = (log[2] - log[0]) * (real)0.5, fall = least(log[0] + log[2] - log[1] * (real)2, vec((real)-FLAT));
        guess = guess + least(largest(vec((real)0) - rise / fall, vec((real)-50)), vec((real)50)) * step;
      }
      vec wide = step / square_root(vec((real)0) - fall);
      vec tall = exponential(log[1] - rise * rise / fall * (real)0.5) * wide * (real)1.2533141373155002512;
      tall = select(fall < (real)-FLAT, tall, vec((real)0));  // far from the spot
      const vec off = rise / fall;
      tall = select(off * off < (real)(MET * MET), tall, vec((real)0));  // what is told from so far is lost in rounding
      tall = select(phi[1] > (real)(BEYOND * renderer.request.tolerance * std::min(1.0, 2.5 / patch.width)), tall, vec((real)0));
      store(height, tall), store(middle, guess), store(sigma, wide);
      double left = 1e18, right = -1e18;
      for (int l = 0; l < LANES; l++)
        if (height[l] > 0) left = std::min(left, middle[l] - 5.0 * sigma[l]), right = std::max(right, middle[l] + 5.0 * sigma[l]);
      int64_t from, to;
      if (!(left <= right) || !reached(left, right, from, to)) return;
      vec scale = (real)0.70710678118654752440 / wide, before = error_function((vec((real)(from - ends)) - guess) * scale);
      for (int64_t pixel = from; pixel < to; pixel++) {
        vec after = error_function((vec((real)(pixel + 1 - ends)) - guess) * scale);
        give(line_pixel, pixel, tall * (after - before) * factors(line_pixel, pixel, there, guess), weight);
        before = after;
      }
    }

    // How far it is along lines to where the sum of the squares in the exponent is least, by their slopes (Gauss and Newton's step): unlike
    // the exponent itself they are nearly linear, and keep their digits however far the arc is.
    vec towards_arc(vec there, vec along, real step) const {
      const vec before = along - step, after = along + step;
      const Patch::Deviations one = patch.deviations_at(fast ? there : before, fast ? before : there),
                              two = patch.deviations_at(fast ? there : after, fast ? after : there);
      vec product = (real)0, square = (real)1e-12;
      auto add = [&](vec a, vec b) {
        const vec slope = b - a;
        product = (a + b) * slope + product, square = slope * slope + square;
      };
      for (int e = 0; e < 2; e++) add(one.across[e], two.across[e]);
      if (patch.thin) {
        const vec middle = vec((patch.low + patch.high) * (real)0.5);
        add(one.fitting - middle, two.fitting - middle);
      }
      return vec((real)0) - product / square * step;
    }

    // Nodes along each line, where it is in the spot.
    void summed(int64_t line_pixel, const real* at, const real* weight) {
      double low[LANES], high[LANES], left = 1e18, right = -1e18;
      alignas(BYTES) real middle[LANES];
      for (int l = 0; l < LANES; l++) middle[l] = (real)line.ridge(at[l]);
      const bool narrow = bent && line.ff > RULED * (fast ? patch.smooth.ff : patch.smooth.ss);
      if (narrow) {
        vec there = load(at), guess = load(middle);
        for (int turn = 0; turn < TURNS_TO_ARC; turn++) guess = guess + towards_arc(there, guess, (real)thin);
        store(middle, guess);
      }
      const double half = (NEAR + std::sqrt(patch.limit)) / std::sqrt(line.ff);
      for (int l = 0; l < LANES; l++) {
        if (!patch.line(fast, at[l], low[l], high[l])) low[l] = high[l] = 0;
        if (narrow) low[l] = std::max(low[l], middle[l] - half), high[l] = std::min(high[l], middle[l] + half);
        if (low[l] < high[l]) left = std::min(left, low[l]), right = std::max(right, high[l]);
      }
      int64_t from, to;
      if (left > right || !reached(left, right, from, to)) return;
      const vec there = load(at);
      for (int64_t pixel = from; pixel < to; pixel++) {
        alignas(BYTES) real start[LANES], length[LANES];
        double longest = 0;
        for (int l = 0; l < LANES; l++) {
          double begin = std::max(low[l], pixel - ends), end = std::max(begin, std::min(high[l], pixel + 1 - ends));
          start[l] = (real)begin, length[l] = (real)(end - begin), longest = std::max(longest, end - begin);
        }
        if (!(longest > 0)) continue;
        const int64_t pieces = std::clamp<int64_t>((int64_t)std::ceil(longest / (COVERED * thin)), 1, MOST_PIECES);
        const vec piece_length = load(length) * (real)(1.0 / pieces);
        vec sum = (real)0;
        for (int64_t piece = 0; piece < pieces; piece++)
          for (int n = 0; n < LINES; n++) {
            vec along = load(start) + piece_length * (real)(piece + 0.5 + renderer.line_nodes.at[n]);
            vec value = patch.value(fast ? there : along, fast ? along : there) * factors(line_pixel, pixel, there, along);
            sum = value * (real)renderer.line_nodes.weight[n] + sum;
          }
        give(line_pixel, pixel, sum * piece_length, weight);
      }
    }
  };
};

template <class Task>
static void shared_among(int64_t threads, int64_t pieces, Task task) {
  std::atomic<int64_t> next{0};
  std::atomic<int> failed{0};
  auto run = [&](int64_t thread) {
    try {
      task(thread, next);
    } catch (const std::exception&) {
      failed = 1;
    }
  };
  std::vector<std::thread> others;
  try {
    for (int64_t t = 1; t < std::min(threads, pieces); t++) others.emplace_back(run, t);
  } catch (const std::exception&) {  // as many as there are will do
  }
  run(0);
  for (auto& other : others) other.join();
  if (failed) throw std::bad_alloc();
}

// Writes the un-normalised partial intensity of an area, and what the request asks of its spots; 0, or 1 where there was no memory.
extern "C" int nbdist_integrated(const Work* work, const Request* request) {
  try {
    Renderer renderer(*work, *request);
    constexpr int64_t AT_ONCE = 32;
    const int64_t threads = std::max<int64_t>(1, work->threads);
    std::vector<Arena> arenas(threads);
    shared_among(threads, (request->spots + AT_ONCE - 1) / AT_ONCE, [&](int64_t thread, std::atomic<int64_t>& next) {
      std::vector<std::pair<Patch, const real*>> patches;
      std::vector<Run> runs;
      for (int64_t start; (start = next.fetch_add(AT_ONCE)) < request->spots;)
        for (int64_t number = start; number < std::min(start + AT_ONCE, request->spots); number++)
          renderer.spot(number, arenas[thread], patches, runs);
    });
    constexpr int64_t BAND_PIXELS = 1 << 16;  // stay in a core's own cache from the first spot to the last
    const int64_t rows = work->last_row - work->first_row, pixels = rows * (work->last_column - work->first_column);
    const int64_t bands = std::min(rows, std::max(4 * threads, pixels / BAND_PIXELS));
    renderer.cut(bands);
    shared_among(threads, bands, [&](int64_t, std::atomic<int64_t>& next) {
      std::vector<real> most;
      for (int64_t band; (band = next.fetch_add(1)) < bands;)
        renderer.band(band, most);
    });
    if (request->moments)
      shared_among(threads, (request->spots + AT_ONCE - 1) / AT_ONCE, [&](int64_t, std::atomic<int64_t>& next) {
        for (int64_t start; (start = next.fetch_add(AT_ONCE)) < request->spots;)
          for (int64_t number = start; number < std::min(start + AT_ONCE, request->spots); number++) renderer.measure(number);
      });
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}
