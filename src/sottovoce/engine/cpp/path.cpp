// Dynamic time warping: the cheapest monotonic path through costs, and where it enters each line. Knows no sound, no token.
//
// Sums are float32 and ties go the reference's way (engine/align.py, its plain twin): along the line unless another step
// is strictly cheaper.

#include <cstdint>
#include <limits>

extern "C" {

// cost: (n, m). totals: 2 (m + 1) floats and trace: (n + 1) (m + 1) bytes of room. starts: (n), the first place of each line.
void sv_path(int32_t n, int32_t m, const double* cost, float* totals, int8_t* trace, int64_t* starts) {
    const float infinite = std::numeric_limits<float>::infinity();
    float *before = totals, *now = totals + m + 1;
    before[0] = 0;
    for (int j = 1; j <= m; j++) before[j] = infinite;
    for (int i = 1; i <= n; i++) {
        now[0] = infinite;
        int8_t* steps = trace + (long)i * (m + 1);
        const double* line = cost + (long)(i - 1) * m;
        for (int j = 1; j <= m; j++) {
            float diagonal = before[j - 1], down = before[j], along = now[j - 1];
            int8_t step = diagonal < down && diagonal < along ? 0 : down < diagonal && down < along ? 1 : 2;
            float best = step == 0 ? diagonal : step == 1 ? down : along;
            now[j] = (float)(line[j - 1] + (double)best);
            steps[j] = step;
        }
        float* other = before;
        before = now;
        now = other;
    }
    for (int i = n, j = m; i > 0 || j > 0;) {
        int step = i == 0 ? 2 : j == 0 ? 1 : trace[(long)i * (m + 1) + j];
        if (i > 0) starts[i - 1] = j > 0 ? j - 1 : 0;
        if (step != 2) i--;
        if (step != 1) j--;
    }
}
}
