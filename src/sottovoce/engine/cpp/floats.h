// Products on CPUs with 16 registers and no instruction for bfloat16 (AVX2): numbers become floats once for many lines,
// and are multiplied as such. Knows no layer.
//
// A piece of a packed group (simd.h) becomes panels as wide as two registers, so that the panel at work stays in the
// nearest cache:
//
//     panels[n / PANEL][k][n % PANEL]
//
// Sums are made in the order of k, as product() makes them: how many lines there are changes no bit of a result.

#pragma once

#include "bytes.h"

namespace sv {

#if defined(__AVX512F__)
constexpr bool FLOATS = false;  // among 32 registers of sums, making floats again and again is hidden: no gain
#else
constexpr bool FLOATS = true;
#endif

constexpr int PANEL = 2 * WIDE;
constexpr int PIECE = 256;  // k that are made floats at a time: a panel of them is 16 kB
constexpr int TALL = 6;     // lines of sums that fit into registers, beside a panel

// k numbers of each of 64 columns; k is even
static inline void widen_group(const bf16* packed, int k, float* panels) {
    for (int i = 0; i < k; i += 2, packed += PAIR_LINE, panels += 2 * PANEL) {
        for (int j = 0; j < PAIR_LINE; j += 32) __builtin_prefetch(packed + AHEAD + j);
        for (int n = 0; n < GROUP; n += WIDE) {
            float* to = panels + (long)(n / PANEL) * k * PANEL + n % PANEL;
            vi pair = load<vi>(packed + 2 * n);
            store(to, pair << 16);
            store(to + PANEL, pair & (int32_t)0xffff0000);
        }
    }
}

// n_lines of k numbers; k is a multiple of 16
static inline void widen_lines(const bf16* from, long stride, int n_lines, int k, float* to) {
    for (int m = 0; m < n_lines; m++)
        for (int i = 0; i < k; i += WIDE) store(to + (long)m * k + i, load_floats(from + m * stride + i));
}

template <int M>
static inline void float_block(const float* a, long lda, const float* panel, int k, float* c, long ldc, bool more) {
    vf acc[M][2] = {};
    if (more)
        for (int m = 0; m < M; m++)
            for (int j = 0; j < 2; j++) acc[m][j] = load<vf>(c + m * ldc + j * WIDE);
    for (int i = 0; i < k; i++, panel += PANEL) {
        vf left = load<vf>(panel), right = load<vf>(panel + WIDE);
        for (int m = 0; m < M; m++) {
            acc[m][0] += left * a[m * lda + i];
            acc[m][1] += right * a[m * lda + i];
        }
    }
    for (int m = 0; m < M; m++)
        for (int j = 0; j < 2; j++) store(c + m * ldc + j * WIDE, acc[m][j]);
}

template <int M>
static inline void float_rest(const float* a, long lda, int n_lines, const float* panel, int k, float* c, long ldc,
                              bool more) {
    if constexpr (M > 0) {
        if (n_lines == M) return float_block<M>(a, lda, panel, k, c, ldc, more);
        float_rest<M - 1>(a, lda, n_lines, panel, k, c, ldc, more);
    }
}

// C (n_lines x 64) = A (n_lines x k) . panels; where there is more, C is added to.
static inline void product_floats(const float* a, long lda, int n_lines, const float* panels, int k, float* c, long ldc,
                                  bool more) {
    for (int n = 0; n < GROUP; n += PANEL, panels += (long)k * PANEL)
        for (int m = 0; m < n_lines;) {
            int left = n_lines - m;
            // what is left behind TALL lines would be too few to keep the CPU busy: two equal parts instead
            int now = left <= TALL ? left : left >= TALL + TALL / 2 ? TALL : (left + 1) / 2;
            float_rest<TALL>(a + m * lda, lda, now, panels, k, c + m * ldc + n, ldc, more);
            m += now;
        }
}

}  // namespace sv
