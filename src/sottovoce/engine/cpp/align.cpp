// When each token of a text is spoken: cross-attention -> how much more each token looks at a position than the others do ->
// the cheapest monotonic path (dynamic time warping), and where it enters each line. Twin: engine/align.py. Knows no sound.
//
// All is float32. Of steps that cost the same the reference's is taken: along the line unless another is strictly cheaper.

#include "layers.h"

#include <algorithm>
#include <limits>

namespace sv {

constexpr float LIFT = 72057594037927936.0f;  // 2 ** 56: squares of what a token looks at nowhere would vanish

static inline v16 load_some(const float* p, int n) {
    v16 v = {};
    std::memcpy(&v, p, n * sizeof(float));
    return v;
}

static inline v16 root(v16 v) {
#if defined(__AVX512F__)
    return (v16)_mm512_sqrt_ps((__m512)v);
#else
    for (int i = 0; i < 16; i++) v[i] = __builtin_sqrtf(v[i]);
    return v;
#endif
}

// Softmax of n scores times `scale`, in place.
static void soften_line(float* x, int n, float scale) {
    int whole = n & ~15;
    v16 tops = all(-__builtin_inff()), total = {};
    for (int i = 0; i < whole; i += 16) tops = max(tops, load<v16>(x + i) * scale);
    float top = largest(tops);
    for (int i = whole; i < n; i++) top = x[i] * scale > top ? x[i] * scale : top;
    for (int i = 0; i < whole; i += 16) {
        v16 e = exp_neg(load<v16>(x + i) * scale - top);
        store(x + i, e);
        total += e;
    }
    v16 rest = all(-__builtin_inff());
    for (int i = whole; i < n; i++) rest[i - whole] = x[i] * scale - top;
    rest = exp_neg(rest);
    float all_of_it = sum(total + rest);
    for (int i = 0; i < whole; i += 16) store(x + i, load<v16>(x + i) / all_of_it);
    rest = rest / all_of_it;
    std::memcpy(x + whole, &rest, (n - whole) * sizeof(float));
}

// Up to 16 positions of all tokens of one head, in place: how many standard deviations above the mean of the tokens.
static void normalise(float* x, int n_tokens, long stride, int width) {
    v16 first = load_some(x, width), total = {}, squares = {};
    auto above = [&](int t) {  // the first: a position that every token looks at alike gives nothing but zeros
        return (width == 16 ? load<v16>(x + t * stride) : load_some(x + t * stride, width)) - first;
    };
    for (int t = 0; t < n_tokens; t++) total += above(t);
    v16 mean = total / (float)n_tokens;
    for (int t = 0; t < n_tokens; t++) {
        v16 d = (above(t) - mean) * LIFT;
        squares += d * d;
    }
    v16 deviation = root(squares / (float)n_tokens) / LIFT;
    for (int t = 0; t < n_tokens; t++) {
        v16 d = (above(t) - mean) / deviation;
        d = deviation > 0 ? d : all(0);
        if (width == 16)
            store(x + t * stride, d);
        else
            std::memcpy(x + t * stride, &d, width * sizeof(float));
    }
}

// The medians of WIDTH neighbours around 16 positions: exchanges until the larger half stands in order.
template <int WIDTH>
static inline v16 median(const float* near) {
    v16 v[WIDTH];
    for (int i = 0; i < WIDTH; i++) v[i] = load<v16>(near + i);
    for (int n_done = 0; n_done <= WIDTH / 2; n_done++)
        for (int i = 0; i < WIDTH - 1 - n_done; i++) {
            v16 low = min(v[i], v[i + 1]);
            v[i + 1] = max(v[i], v[i + 1]);
            v[i] = low;
        }
    return v[WIDTH / 2];
}

static v16 median(float* near, int width, float* sorted) {
    v16 found;
    for (int i = 0; i < 16; i++) {
        std::memcpy(sorted, near + i, width * sizeof(float));
        std::nth_element(sorted, sorted + width / 2, sorted + width);
        found[i] = sorted[width / 2];
    }
    return found;
}

// Adds the filtered line to `out`. near: room for the line with width / 2 mirrored neighbours on both sides, and 16 more.
static void add_filtered(const float* x, int n, int width, float* near, float* sorted, float* out) {
    int pad = n > width / 2 ? width / 2 : 0;  // a line that is too short stays as it is
    for (int i = 1; i <= pad; i++) {
        near[pad - i] = x[i];
        near[pad + n - 1 + i] = x[n - 1 - i];
    }
    std::memcpy(near + pad, x, n * sizeof(float));
    for (int i = 0; i < 16; i++) near[n + 2 * pad + i] = 0;
    for (int i = 0; i < n; i += 16) {
        v16 found = pad == 0   ? load<v16>(near + i)
                    : pad == 1 ? median<3>(near + i)
                    : pad == 2 ? median<5>(near + i)
                    : pad == 3 ? median<7>(near + i)
                    : pad == 4 ? median<9>(near + i)
                               : median(near + i, width, sorted);
        store(out + i, load<v16>(out + i) + found);
    }
}

// matrix: (n, m), lines `stride` apart. totals: 2 (m + 1) floats and trace: (n + 1) (m + 1) bytes of room.
static void warp(int n, int m, const float* matrix, long stride, float* totals, int8_t* trace, int64_t* starts) {
    const float infinite = std::numeric_limits<float>::infinity();
    float *before = totals, *now = totals + m + 1;
    before[0] = 0;
    for (int j = 1; j <= m; j++) before[j] = infinite;
    for (int i = 1; i <= n; i++) {
        now[0] = infinite;
        int8_t* steps = trace + (long)i * (m + 1);
        const float* line = matrix + (i - 1) * stride;
        for (int j = 1; j <= m; j++) {
            float diagonal = before[j - 1], down = before[j], along = now[j - 1];
            int8_t step = diagonal < down && diagonal < along ? 0 : down < diagonal && down < along ? 1 : 2;
            float best = step == 0 ? diagonal : step == 1 ? down : along;
            now[j] = best - line[j - 1];
            steps[j] = step;
        }
        std::swap(before, now);
    }
    for (int i = n, j = m; i > 0 || j > 0;) {
        int step = i == 0 ? 2 : j == 0 ? 1 : trace[(long)i * (m + 1) + j];
        if (i > 0) starts[i - 1] = j > 0 ? j - 1 : 0;
        if (step != 2) i--;
        if (step != 1) j--;
    }
}

// What is asked about a text. Its first n_sot tokens and the last one are not: n_lines = n_tokens - n_sot - 1.
struct Spoken {
    int32_t n_heads, n_tokens, n_sot, n_audio, n_positions, width;
    float scale;
};

struct Desk {
    float* matrix;  // (n_lines, padded)
    float *near, *sorted, *totals;
    int8_t* trace;
    long padded, n_near;
};

static size_t lay_out(const Spoken& a, int n_threads, char* base, Desk* d) {
    char* at = base;
    long n_lines = a.n_tokens - a.n_sot - 1;
    d->padded = (a.n_positions + 15) & ~15;
    d->n_near = d->padded + a.width + 32;
    d->matrix = (float*)take(&at, n_lines * d->padded * 4);
    d->near = (float*)take(&at, n_threads * d->n_near * 4);
    d->sorted = (float*)take(&at, (size_t)n_threads * a.width * 4);
    d->totals = (float*)take(&at, 2 * (a.n_positions + 1) * 4);
    d->trace = (int8_t*)take(&at, (n_lines + 1) * (long)(a.n_positions + 1));
    return at - base;
}

static void compare(const Spoken& a, const Desk& d, float* scores, int thread, int n_threads, Meeting& meeting) {
    long S = a.n_audio, n = a.n_positions, n_chunks = d.padded / 16;
    Part lines = part(a.n_heads * a.n_tokens, thread, n_threads);
    for (int i = lines.begin; i < lines.end; i++) soften_line(scores + i * S, n, a.scale);
    meeting.wait(n_threads);
    Part chunks = part(a.n_heads * n_chunks, thread, n_threads);
    for (int i = chunks.begin; i < chunks.end; i++) {
        long at = i % n_chunks * 16;
        normalise(scores + i / n_chunks * a.n_tokens * S + at, a.n_tokens, S, n - at < 16 ? n - at : 16);
    }
    meeting.wait(n_threads);
    float *near = d.near + thread * d.n_near, *sorted = d.sorted + (long)thread * a.width;
    Part asked = part(a.n_tokens - a.n_sot - 1, thread, n_threads);
    for (int i = asked.begin; i < asked.end; i++) {
        float* out = d.matrix + i * d.padded;
        std::memset(out, 0, d.padded * sizeof(float));
        for (int head = 0; head < a.n_heads; head++)
            add_filtered(scores + ((long)head * a.n_tokens + a.n_sot + i) * S, n, a.width, near, sorted, out);
        for (int j = 0; j < d.padded; j += 16) store(out + j, load<v16>(out + j) / (float)a.n_heads);
    }
}

}  // namespace sv

extern "C" {

int64_t sv_jumps_scratch(const sv::Spoken* asked, int32_t n_threads) {
    sv::Desk d;
    return (int64_t)sv::lay_out(*asked, n_threads, nullptr, &d);
}

// scores: (n_heads, n_tokens, n_audio) before the softmax, which are written over. starts: (n_lines), the first position
// of each token that is asked about.
void sv_jumps(const sv::Spoken* asked, float* scores, int64_t* starts, int32_t n_threads, void* scratch) {
    sv::Desk d;
    sv::lay_out(*asked, n_threads, (char*)scratch, &d);
    sv::Meeting meeting;
#pragma omp parallel num_threads(n_threads)
    sv::compare(*asked, d, scores, sv::this_thread(), sv::team_size(), meeting);
    int n_lines = asked->n_tokens - asked->n_sot - 1;
    sv::warp(n_lines, asked->n_positions, d.matrix, d.padded, d.totals, d.trace, starts);
}

// The path alone. matrix: (n, m), high where a token is heard. starts: (n). totals, trace: see warp.
void sv_path(int32_t n, int32_t m, const float* matrix, float* totals, int8_t* trace, int64_t* starts) {
    sv::warp(n, m, matrix, m, totals, trace, starts);
}
}
