// Where a spot falls on a panel, and its value at points around there: the model of a spot in the precision of the image.

#pragma once

#include <initializer_list>

#include "spot_model.h"

constexpr double NARROW = 0.5;  // see integrated.py
constexpr double BEYOND = 0.2;  // of the tolerance: what is cut off all around a spot adds up to less than that
constexpr double RULED = 0.05;      // of the exponent's curvature along a line; where what is across phi has more, it says where the line is in the spot
constexpr double BENT_MORE = 1.25;  // times what the terms of second order say, the ends of a spot may be off its line
constexpr double NODE[4] = {-0.8611363115940526, -0.3399810435848563, 0.3399810435848563, 0.8611363115940526};
constexpr double NODE_WEIGHT[4] = {0.17392742256872693, 0.32607257743127307, 0.32607257743127307, 0.17392742256872693};

// erf(x)/x in 2 x^2 / ERF_REACH^2 - 1, of least maximal error of erf; beyond it erf is 1 to 3e-8
constexpr double ERF_REACH = 3.95;
constexpr double ERF[] = {0.358000783276,  -0.178770069419,   0.133175219951,   -0.108615972206,  0.0905107694984,
                          -0.0745756711526, 0.0587706778627,  -0.0430291573251, 0.0315662496896,  -0.0242849651484,
                          0.0135140454858, -0.00341774913442, 0.00325580874258, -0.00491327158511, 0.00197787983623};

static inline vec error_function(vec x) {
  if (!SINGLE) {
    alignas(BYTES) real lanes[LANES];
    store(lanes, x);
    for (int l = 0; l < LANES; l++) lanes[l] = std::erf(lanes[l]);
    return load(lanes);
  }
  vec held = least(largest(x, (real)-ERF_REACH), (real)ERF_REACH);
  return polynomial(held * held * (real)(2 / (ERF_REACH * ERF_REACH)) - (real)1, ERF) * held;
}

static inline vec exponential(vec x) {  // of any x that is not large
  constexpr real most = 8;
  return exp_negative(least(x, most) - most) * (real)2980.9579870417282747;
}

static inline vec logarithm_of(vec x) {  // ln x; of what is less than 1e-30, of that
  alignas(BYTES) real lanes[LANES];
  store(lanes, largest(x, (real)1e-30));
  if (!SINGLE) {
    for (int l = 0; l < LANES; l++) lanes[l] = std::log(lanes[l]);
    return load(lanes);
  }
  alignas(BYTES) real whole[LANES];
  for (int l = 0; l < LANES; l++) {  // x = m 2^n, m from 2/3 to 4/3
    float value = (float)lanes[l];
    int32_t bits, n;
    memcpy(&bits, &value, 4);
    n = (bits - 0x3f2aaaab) >> 23, bits -= n * (1 << 23);
    memcpy(&value, &bits, 4);
    lanes[l] = (real)value, whole[l] = (real)n;
  }
  vec m = load(lanes), t = (m - (real)1) / (m + (real)1), t2 = t * t;
  constexpr double series[] = {2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9};
  return load(whole) * (real)0.69314718055994530942 + t * polynomial(t2, series);
}

// A panel with its pixels at a depth of the sensor.
struct Surface {
  const Work& work;
  Vector origin, fast, slow, normal, beam;
  double depth;

  Surface(const Work& work, double layer) : work(work), depth(layer * work.layer_thickness) {
    for (int i = 0; i < 3; i++) {
      fast[i] = work.fast[i], slow[i] = work.slow[i], normal[i] = work.normal[i], beam[i] = work.beam[i];
      origin[i] = work.origin[i] + depth * work.normal[i];
    }
  }

  Vector position(double s, double f) const {
    Vector at = origin + (work.pixel * s) * slow + (work.pixel * f) * fast;
    if (work.curved) Points::wrap(work, at[0], at[1], at[2]);
    return at;
  }

  // The pixel coordinates that a ray along a direction meets; false where it meets none. `PanelGeometry.coordinates` says how.
  bool meets(Vector towards, double& s, double& f) const {
    double along_slow, along_fast, slant = dot(slow, fast);
    if (work.curved) {
      Vector across = cross(beam, slow);
      double arc_fast = std::asin(std::clamp(dot(towards, across) / dot(fast, across), -1.0, 1.0));
      double lean = std::atan2(slant * std::sin(arc_fast), std::cos(arc_fast));
      double arc_slow = std::atan2(dot(towards, slow), dot(towards, beam)) - lean;
      along_slow = arc_slow * work.curvature - dot(slow, origin), along_fast = arc_fast * work.curvature - dot(fast, origin);
    } else {
      double facing = dot(towards, normal);
      if (facing <= 0) return false;
      Vector offset = ((work.close_distance + depth) / facing) * towards - origin;
      along_slow = dot(slow, offset), along_fast = dot(fast, offset);
    }
    double inverse = 1 / (work.pixel * (1 - slant * slant));
    s = (along_slow - slant * along_fast) * inverse, f = (along_fast - slant * along_slow) * inverse;
    return true;
  }
};

struct Square {  // weight (along_s s + along_f f + constant)^2
  double weight, along_s, along_f, constant;
};

// A sum of squares of two variables: a quadratic form about its least value. Of a spot that is thin and long, and whose middle is off the
// anchor, the difference of large terms would leave nothing of the determinant and of the least value: both are sums of what is not negative.
struct Form {
  double ss = 0, sf = 0, ff = 0, det = 0, middle_s = 0, middle_f = 0, least = 0;
  bool bounded = false;  // not a stripe without ends

  explicit Form(std::initializer_list<Square> squares) {
    for (const Square& one : squares) {
      ss += one.weight * one.along_s * one.along_s, sf += one.weight * one.along_s * one.along_f, ff += one.weight * one.along_f * one.along_f;
      for (const Square* other = squares.begin(); other != &one; other++)
        det += one.weight * other->weight * std::pow(one.along_s * other->along_f - one.along_f * other->along_s, 2);
    }
    bounded = det > 1e-12 * ss * ff && ff > 0;
    if (!bounded) det = 0;
    for (int turn = 0; turn < 3; turn++) {  // the middle, and what rounding left of the way there; then the value in it
      double s = 0, f = 0;
      least = 0;
      for (const Square& one : squares) {
        const double value = one.constant + one.along_s * middle_s + one.along_f * middle_f;
        s += one.weight * one.along_s * value, f += one.weight * one.along_f * value, least += one.weight * value * value;
      }
      if (turn == 2) break;
      if (bounded)
        middle_s -= (ff * s - sf * f) / det, middle_f -= (ss * f - sf * s) / det;
      else if (ss + ff > 0)
        middle_s -= s / (ss + ff), middle_f -= f / (ss + ff);
    }
  }
  Form turned() const {  // slow and fast in each other's place
    Form other = *this;
    std::swap(other.ss, other.ff), std::swap(other.middle_s, other.middle_f);
    return other;
  }
  // The f where it is least at some s.
  double ridge(double at) const { return middle_f - sf / ff * (at - middle_s); }
  // The range of s in which it is below a limit; false where it is nowhere.
  bool rows(double limit, double& first, double& last) const {
    if (!bounded) return first = -1e9, last = 1e9, true;
    if (least > limit) return false;
    const double half = std::sqrt((limit - least) * ff / det);
    return first = middle_s - half, last = middle_s + half, true;
  }
  // The range of f at some s.
  bool chord(double at, double limit, double& first, double& last) const {
    if (!(ff > 0)) return first = -1e9, last = 1e9, true;
    const double room = limit - least - det / ff * std::pow(at - middle_s, 2);
    if (room < 0) return false;
    const double half = std::sqrt(room / ff);
    return first = ridge(at) - half, last = ridge(at) + half, true;
  }
  // The range of f within a range of s; false where it is nowhere.
  bool columns(double from, double to, double limit, double& first, double& last) const {
    double top, bottom;
    if (!rows(limit, top, bottom)) return false;
    const double inside = (1 - 1e-9) * 0.5 * (bottom - top);
    if (bounded) from = std::max(from, middle_s - inside), to = std::min(to, middle_s + inside);
    if (from > to) return false;
    first = 1e18, last = -1e18;
    double a, b;
    for (double at : {from, to})
      if (chord(at, limit, a, b)) first = std::min(first, a), last = std::max(last, b);
    if (bounded) {  // its ends along f, where they are in the range
      const double half = std::sqrt((limit - least) * ss / det);
      for (double side : {-1.0, 1.0}) {
        const double at = middle_s - sf / ss * side * half;
        if (from <= at && at <= to) first = std::min(first, middle_f + side * half), last = std::max(last, middle_f + side * half);
      }
    }
    return first <= last;
  }
};

// A spot on one layer of a panel: its model about an anchor in its middle, and where it exceeds the tolerance.
struct Patch {
  const Surface& surface;
  double anchor_s = 0, anchor_f = 0;
  double gradient_s = 0, gradient_f = 0;  // of the factors that change within a pixel, relative to what they are
  bool thin = false;
  Form across{}, within{}, smooth{};  // the exponent once phi is integrated; confined by the stretch of phi; and at the middle of the stretch
  double limit = 0, margin = 0, phi_s = 0, phi_f = 0, phi_0 = 0, reach = 0, deviations = 0, extent_s[2], extent_f[2];
  int64_t first_row = 0, last_row = 0;

  // in the precision of the image
  real unit[3], step_s[3], step_f[3], start[3], inverse_wavelength, fit[4], second[3][10], slope[4], shift[3], flat[2][3], along[3], straight[3], arc;
  real low, high, width, held_low, held_high;

  explicit Patch(const Surface& surface) : surface(surface) {}

  // False where nothing of the spot is on the panel.
  bool place(const SpotModel& model, const Beam& beam, double tolerance) {
    Vector towards = beam.incident + beam.wavelength * model.G;
    towards = (1 / std::sqrt(std::max(dot(towards, towards), 1e-300))) * towards;
    if (!surface.meets(towards, anchor_s, anchor_f)) return false;
    const Work& work = surface.work;
    const double far = 4.0 * (work.rows + work.columns);
    if (!(std::abs(anchor_s) < far && std::abs(anchor_f) < far)) return false;
    Vector at = surface.position(anchor_s, anchor_f);
    double distance = std::sqrt(dot(at, at)), inverse = 1 / beam.wavelength;
    Vector direction = (1 / distance) * at, D = inverse * (direction - beam.incident) - model.G;
    Vector by_s = surface.position(anchor_s + 0.5, anchor_f) - surface.position(anchor_s - 0.5, anchor_f);
    Vector by_f = surface.position(anchor_s, anchor_f + 0.5) - surface.position(anchor_s, anchor_f - 0.5);
    for (int i = 0; i < 3; i++) {
      unit[i] = (real)direction[i], step_s[i] = (real)(by_s[i] / distance), step_f[i] = (real)(by_f[i] / distance);
      start[i] = (real)D[i];
    }
    inverse_wavelength = (real)inverse;
    Vector q_s = (inverse / distance) * (by_s - dot(by_s, direction) * direction);
    Vector q_f = (inverse / distance) * (by_f - dot(by_f, direction) * direction);

    const std::array<Vector, 2> e = roots<2>(model.flat);
    const double root = deviations = std::sqrt(model.curvature);
    for (int i = 0; i < 3; i++) {
      flat[0][i] = (real)e[0][i], flat[1][i] = (real)e[1][i], along[i] = (real)(model.along[i] / root);
      shift[i] = (real)model.shift[i], straight[i] = (real)model.straight[i];
      int n = 0;
      for (int k = 0; k < KNOWN; k++)
        for (int l = k; l < KNOWN; l++) second[i][n++] = (real)(model.second[i][k][l] * (k == l ? 1 : 2));
    }
    for (int k = 0; k < KNOWN; k++) fit[k] = (real)model.fit[k], slope[k] = (real)model.slope[k];
    arc = (real)model.arc;
    held_low = (real)model.low, held_high = (real)model.high;
    low = (real)(model.low * root), high = (real)(model.high * root), width = (real)((model.high - model.low) * root);
    thin = (model.high - model.low) * root < NARROW;

    limit = -2 * std::log(BEYOND * tolerance);
    reach = std::sqrt(limit);
    const Vector middle = D + model.shift;
    const Square both[2] = {{1, dot(e[0], q_s), dot(e[0], q_f), dot(e[0], middle)}, {1, dot(e[1], q_s), dot(e[1], q_f), dot(e[1], middle)}};
    phi_s = dot(model.along, q_s) / model.curvature, phi_f = dot(model.along, q_f) / model.curvature;
    phi_0 = dot(model.along, middle) / model.curvature;
    const double half = 0.5 * (model.high - model.low), centre = 0.5 * (model.high + model.low);
    across = Form{both[0], both[1]};
    smooth = Form{both[0], both[1], {model.curvature, phi_s, phi_f, phi_0 - centre}};
    // outside the stretch: (|x| - half)^2 >= x^2/2 - half^2, x from its middle
    within = Form{both[0], both[1], {0.5 * model.curvature, phi_s, phi_f, phi_0 - centre}};
    within.least -= model.curvature * half * half;
    reach /= root;

    if (!find_extents() || extent_s[0] < -far || extent_s[1] > far) return false;
    const double of_phi = bend(model, beam, q_s, q_f, at, distance);
    reach += of_phi, within.least -= model.curvature * (2 * half + of_phi) * of_phi;
    find_extents();
    for (double* extent : {extent_s, extent_f}) extent[0] -= margin, extent[1] += margin;
    first_row = std::max<int64_t>(0, (int64_t)std::floor(anchor_s + extent_s[0]));
    last_row = std::min<int64_t>(work.rows, (int64_t)std::floor(anchor_s + extent_s[1]) + 1);
    return first_row < last_row;
  }

  // The range along slow and along fast in which it is above the tolerance, on the line that the forms follow; false where it is nowhere.
  bool find_extents() {
    double a, b;
    extent_s[0] = extent_f[0] = -1e9, extent_s[1] = extent_f[1] = 1e9;
    for (const Form* form : {&across, &within}) {
      if (!form->rows(limit, a, b)) return false;
      extent_s[0] = std::max(extent_s[0], a), extent_s[1] = std::min(extent_s[1], b);
    }
    if (!(extent_s[0] <= extent_s[1])) return false;
    for (const Form* form : {&across, &within}) {
      if (!form->columns(extent_s[0], extent_s[1], limit, a, b)) return false;
      extent_f[0] = std::max(extent_f[0], a), extent_f[1] = std::min(extent_f[1], b);
    }
    return true;
  }

  // The pixels of a row that are above the tolerance.
  bool columns(int64_t row, int64_t& first, int64_t& last) const {
    const Work& work = surface.work;
    const double top = row - anchor_s - margin, bottom = row + 1 - anchor_s + margin;
    double left = -1e9, right = 1e9, a, b;
    for (const Form* form : {&across, &within}) {
      if (!form->columns(top, bottom, limit, a, b)) return false;
      left = std::max(left, a), right = std::min(right, b);
    }
    double below = held_low - reach - phi_0, above = held_high + reach - phi_0;  // of what phi adds from the anchor on
    below -= std::max(phi_s * top, phi_s * bottom), above -= std::min(phi_s * top, phi_s * bottom);
    if (std::abs(phi_f) > 1e-6 * std::abs(phi_s))
      left = std::max(left, std::min(below / phi_f, above / phi_f)), right = std::min(right, std::max(below / phi_f, above / phi_f));
    else if (below > 0 || above < 0)
      return false;
    if (left > right) return false;
    first = std::max<int64_t>(0, (int64_t)std::floor(std::max(anchor_f + left - margin, -1e15)));
    last = std::min<int64_t>(work.columns, (int64_t)std::floor(std::min(anchor_f + right + margin, 1e15)) + 1);
    return first < last;
  }

  // The exponent where it is a Gaussian: of a stretch of phi that is no more than a node or two all of it.
  const Form& gaussian() const { return thin ? smooth : across; }

  // Its extent along slow, or along fast, from the anchor.
  bool extent(bool slow, double& first, double& last) const {
    first = slow ? extent_s[0] : extent_f[0], last = slow ? extent_s[1] : extent_f[1];
    return first < last;
  }

  // The part of a line that is above the tolerance, along fast at some slow, or along slow.
  bool line(bool along_fast, double at, double& first, double& last) const {
    first = -1e9, last = 1e9;
    for (const Form* form : {&across, &within}) {
      double a, b;
      if (!(along_fast ? *form : form->turned()).chord(at, limit, a, b)) return false;
      first = std::max(first, a), last = std::min(last, b);
    }
    double rest = phi_0 + (along_fast ? phi_s : phi_f) * at, slope = along_fast ? phi_f : phi_s;
    double below = held_low - reach - rest, above = held_high + reach - rest;
    if (std::abs(slope) > 1e-300) first = std::max(first, std::min(below / slope, above / slope)), last = std::min(last, std::max(below / slope, above / slope));
    first -= margin, last += margin;
    return first < last;
  }

  // What is squared in the exponent at points: two deviations across the spot, and the phi that fits, in deviations; and what is linear in it.
  struct Deviations {
    vec across[2], fitting, linear;
  };

  // At points s, f from the anchor.
  Deviations deviations_at(vec s, vec f) const {
    vec move[3], squared = (real)0, along_unit = (real)0;
    for (int i = 0; i < 3; i++) {
      move[i] = s * step_s[i] + f * step_f[i];
      squared = move[i] * move[i] + squared;
      along_unit = move[i] * unit[i] + along_unit;
    }
    if (surface.work.curved) bend_moves(s, f, move, squared, along_unit);
    // unit vectors differ by move/R - unit x/(R (1 + R)), R = sqrt(1 + x)
    vec x = along_unit * (real)2 + squared, R = square_root(x + (real)1), inverse = (real)1 / R;
    vec back = x * inverse / (R + (real)1), known[4];
    for (int i = 0; i < 3; i++) known[i] = (move[i] * inverse - back * unit[i]) * inverse_wavelength + start[i];
    vec phi = known[0] * fit[0] + (known[1] * fit[1] + (known[2] * fit[2] + fit[3]));
    known[3] = least(largest(phi, held_low), held_high);
    vec product[10];
    int n = 0;
    for (int k = 0; k < KNOWN; k++)
      for (int l = k; l < KNOWN; l++) product[n++] = known[k] * known[l];
    vec bent[3], radial = known[0] * straight[0] + (known[1] * straight[1] + known[2] * straight[2]);
    vec shorter = (real)1 - (product[0] + (product[4] + product[7]) - radial * radial) * arc;  // products 0, 4 and 7 are squares of D
    for (int i = 0; i < 3; i++) {
      bent[i] = known[i] * shorter + shift[i];
      for (int m = 0; m < 10; m++) bent[i] = product[m] * second[i][m] + bent[i];
    }
    Deviations its;
    its.linear = bent[0] * slope[0] + (bent[1] * slope[1] + (bent[2] * slope[2] + known[3] * slope[3]));
    for (int e = 0; e < 2; e++) its.across[e] = bent[0] * flat[e][0] + (bent[1] * flat[e][1] + bent[2] * flat[e][2]);
    its.fitting = bent[0] * along[0] + (bent[1] * along[1] + bent[2] * along[2]);
    return its;
  }

  // The logarithm of the value but for what phi adds, and the two ends of phi in deviations, at points s, f from the anchor.
  vec logarithm(vec s, vec f, vec& lower, vec& upper) const {
    const Deviations its = deviations_at(s, f);
    lower = vec(low) - its.fitting, upper = vec(high) - its.fitting;
    return its.linear - (its.across[0] * its.across[0] + its.across[1] * its.across[1]) * (real)0.5;
  }

  // The mean of exp(-x^2/2) between two ends.
  vec of_phi(vec lower, vec upper) const {
    if (thin) {
      vec middle = (lower + upper) * (real)0.5, sum = (real)0;
      for (int n = 0; n < 4; n++) {
        vec x = middle + (real)(0.5 * NODE[n]) * width;
        sum = exp_negative(x * x * (real)-0.5) * (real)NODE_WEIGHT[n] + sum;
      }
      return sum;
    }
    constexpr real root = 0.70710678118654752440, scale = 1.25331413731550025121;  // sqrt(pi / 2)
    return largest(error_function(upper * root) - error_function(lower * root), (real)0) * (scale / width);
  }

  vec value(vec s, vec f) const {
    vec lower, upper, exponent = logarithm(s, f, lower, upper);
    return exponential(exponent) * of_phi(lower, upper);
  }

 private:
  // How far the ends of a long spot lie off the line that the forms follow: in pixels where they are, and along the one of slow and fast that
  // crosses the line at the larger angle (the margin); and in phi (returned).
  double bend(const SpotModel& model, const Beam& beam, Vector q_s, Vector q_f, Vector at, double distance) {
    const bool by_fast = smooth.ff >= smooth.ss, by_slow = extent_s[1] - extent_s[0] >= extent_f[1] - extent_f[0];
    const Vector q_across = by_fast ? q_f : q_s;
    const double stiff = by_fast ? smooth.ff : smooth.ss, stiff_across = by_fast ? across.ff : across.ss;
    const bool ruled = stiff_across > RULED * stiff;
    const Form& path = ruled ? gaussian() : within;
    double most = 0, most_phi = 0;
    if (!path.bounded) return 0;
    for (int end : {0, 1}) {
      const double end_s = by_slow ? extent_s[end] : path.turned().ridge(extent_f[end]), end_f = by_slow ? path.ridge(extent_s[end]) : extent_f[end];
      Vector there = surface.position(anchor_s + end_s, anchor_f + end_f);
      Vector q = (1 / beam.wavelength) * ((1 / std::sqrt(dot(there, there))) * there - (1 / distance) * at);
      Vector D = q + (1 / beam.wavelength) * ((1 / distance) * at - beam.incident) - model.G;
      double known[KNOWN] = {D[0], D[1], D[2], model.fit[3]};
      for (int i = 0; i < 3; i++) known[3] += model.fit[i] * D[i];
      known[3] = std::clamp(known[3], model.low, model.high);
      Vector off = q - end_s * q_s - end_f * q_f;
      for (int i = 0; i < 3; i++)
        for (int k = 0; k < KNOWN; k++)
          for (int l = 0; l < KNOWN; l++) off[i] += model.second[i][k][l] * known[k] * known[l];
      const double of_phi = dot(model.along, off) / model.curvature;
      const Vector flat_pull = model.flat * off, pull = flat_pull + of_phi * model.along;
      const double pull_s = dot(q_s, pull), pull_f = dot(q_f, pull);
      most_phi = std::max(most_phi, std::abs(of_phi));
      most = std::max(most, std::abs(by_fast ? pull_f : pull_s) / stiff);
      if (ruled) most = std::max(most, std::abs(dot(q_across, flat_pull)) / stiff_across);
      if (smooth.bounded)
        most = std::max({most, std::abs(smooth.ff * pull_s - smooth.sf * pull_f) / smooth.det, std::abs(smooth.ss * pull_f - smooth.sf * pull_s) / smooth.det});
    }
    margin = std::min(BENT_MORE * most, 100.0);
    return BENT_MORE * most_phi;
  }

  void bend_moves(vec s, vec f, vec* move, vec& squared, vec& along_unit) const {
    alignas(BYTES) real S[LANES], F[LANES], out[3][LANES];
    store(S, s), store(F, f);
    Vector middle = surface.position(anchor_s, anchor_f);
    double inverse = 1 / std::sqrt(dot(middle, middle));
    for (int l = 0; l < LANES; l++) {
      Vector moved = inverse * (surface.position(anchor_s + S[l], anchor_f + F[l]) - middle);
      for (int i = 0; i < 3; i++) out[i][l] = (real)moved[i];
    }
    squared = along_unit = (real)0;
    for (int i = 0; i < 3; i++) {
      move[i] = load(out[i]);
      squared = move[i] * move[i] + squared;
      along_unit = move[i] * unit[i] + along_unit;
    }
  }
};
