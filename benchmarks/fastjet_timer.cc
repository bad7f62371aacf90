// Reads events from standard input (binary: int32 n, then n x 4 float64 px py pz E, until the end) and prints for each
// the thread CPU time in microseconds of one anti-kT clustering with FastJet's default strategy: the least of the repetitions.
#include <fastjet/ClusterSequence.hh>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

static double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return 1e6 * t.tv_sec + 1e-3 * t.tv_nsec;
}

int main(int argc, char** argv) {
  const double radius = std::atof(argv[1]);
  const int repetitions = std::atoi(argv[2]);
  fastjet::ClusterSequence::set_fastjet_banner_stream(nullptr);
  const fastjet::JetDefinition definition(fastjet::antikt_algorithm, radius);
  for (int32_t n; std::fread(&n, sizeof n, 1, stdin) == 1;) {
    std::vector<double> p(4 * n);
    if (std::fread(p.data(), sizeof(double), p.size(), stdin) != p.size()) return 1;
    std::vector<fastjet::PseudoJet> particles;
    for (int i = 0; i < n; ++i) particles.emplace_back(p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]);
    double best = 1e300;
    for (int k = 0; k < repetitions; ++k) {
      const double start = now();
      const fastjet::ClusterSequence sequence(particles, definition);
      best = std::min(best, now() - start);
    }
    std::printf("%.3f\n", best);
  }
}
