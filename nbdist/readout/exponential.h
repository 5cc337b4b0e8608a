// Polynomials, and an exponential of operations that every machine rounds alike: as deviates.py has them.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

constexpr double LOG_2 = 0.6931471805599453094, LEAST_LOGARITHM = 700;
constexpr double EXP[] = {1.0,
                          -0.499999999999999925,
                          0.166666666666662448,
                          -0.0416666666665736882,
                          0.00833333333226765715,
                          -0.00138888888161262804,
                          0.000198412666482103822,
                          -0.0000248014932371481221,
                          2.75554173049552741e-6,
                          -2.75307977036055913e-7,
                          2.48003703950647542e-8,
                          -1.9309460924429583e-9,
                          1.01391096517217851e-10};

template <class scalar, class vector, int n>
static inline vector polynomial(vector x, const scalar (&coefficients)[n]) {
  vector value = x * coefficients[n - 1] + coefficients[n - 2];
#pragma GCC unroll 16
  for (int i = n - 3; i >= 0; i--) value = value * x + coefficients[i];
  return value;
}

static inline double exp_of_minus(double x) {  // not below 0
  x = x < LEAST_LOGARITHM ? x : LEAST_LOGARITHM;
  const double halvings = std::floor(x / LOG_2), rest = x - halvings * LOG_2;
  const int64_t bits = (int64_t)(1023 - (int32_t)halvings) << 52;
  double power;
  memcpy(&power, &bits, sizeof power);
  return (1.0 - rest * polynomial(rest, EXP)) * power;
}
