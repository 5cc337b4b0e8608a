// The factors of a pixel that do not depend on the crystal, on a CPU: what pixels.py and factors.py of the reference specify.

#define REAL double

#include "blocks.h"

struct Factors : Placed {
  Points points;
  std::vector<double> product;

  using Placed::Placed;

  void write() {
    look(points, 0, 0, height, width);
    product.assign(points.n, 1.0);
    multiply(work, work.factors, points, 0, product.data());
    for (int64_t r = 0; r < height; r++) std::copy_n(&product[r * width], width, out(r));
  }
};

// Writes the product of the factors asked for to `out`.
extern "C" int nbdist_factors(const Work* work) {
  return for_blocks<Factors>(*work, [](Factors& block) { block.write(); });
}
