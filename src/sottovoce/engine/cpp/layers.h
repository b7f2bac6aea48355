// What the encoder and the decoder have in common: norms, linear layers with what follows them, who does which part.

#pragma once

#include "curves.h"
#include "floats.h"
#include "whole.h"

#include <sched.h>

#include <atomic>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace sv {

constexpr int HEAD = 64;  // width of an attention head, in every checkpoint

#if defined(_OPENMP)
static inline int this_thread() { return omp_get_thread_num(); }
static inline int team_size() { return omp_get_num_threads(); }
#else
static inline int this_thread() { return 0; }
static inline int team_size() { return 1; }
#endif

// Where the threads of a team wait for one another. They spin for about 20 us and then let others have the CPU: a team
// that only spins stands still for whole time slices where CPUs are shared.
struct Meeting {
    std::atomic<int> n_here{0}, round{0};

    void wait(int n_threads) {
        if (n_threads == 1) return;
        int now = round.load(std::memory_order_relaxed);
        if (n_here.fetch_add(1, std::memory_order_acq_rel) == n_threads - 1) {
            n_here.store(0, std::memory_order_relaxed);
            round.store(now + 1, std::memory_order_release);
            return;
        }
        for (int i = 0; round.load(std::memory_order_acquire) == now; i++) {
            if (i < 500)
                __builtin_ia32_pause();
            else
                sched_yield();
        }
    }
};

struct Part {
    int begin, end;
};

// The part of n pieces of work that thread i of n_threads does
static inline Part part(int n, int i, int n_threads) {
    return {(int)((long)n * i / n_threads), (int)((long)n * (i + 1) / n_threads)};
}

// The next part of one piece of memory; with a null base only the size is found.
static inline char* take(char** at, size_t bytes) {
    char* p = *at;
    *at += (bytes + 63) & ~(size_t)63;
    return p;
}

// y = norm(x) * weight + bias, of one line of `width` floats
static inline void norm_line(const float* x, int width, const float* weight, const float* bias, bf16* y) {
    v16 total = {}, squares = {};
    for (int c = 0; c < width; c += 16) total += load<v16>(x + c);
    float mean = sum(total) / width;
    for (int c = 0; c < width; c += 16) {
        v16 d = load<v16>(x + c) - mean;
        squares += d * d;
    }
    float scale = 1.0f / __builtin_sqrtf(sum(squares) / width + 1e-5f);
    for (int c = 0; c < width; c += 16)
        narrow(y + c, (load<v16>(x + c) - mean) * scale * load<v16>(weight + c) + load<v16>(bias + c));
}

constexpr int BLOCK = 32;  // lines of one product

constexpr int RUN = FLOATS ? 12 * BLOCK : BLOCK;  // lines whose sums are kept while a piece of weights is floats
constexpr int MANY = FLOATS ? 24 : 1 << 30;       // lines from which on floats pay; at 16 they do not
constexpr int ROOM = RUN * GROUP + (FLOATS ? PIECE * (GROUP + BLOCK) : 0);  // floats that a linear layer works in

// Each piece of weights becomes floats once for a run of lines, each piece of lines once for 64 columns.
template <typename Use>
static inline void linear_floats(const bf16* a, long lda, int n_lines, const bf16* weight, int n_in, Part groups,
                                 float* c, Use use) {
    float *panels = c + RUN * GROUP, *wide = panels + PIECE * GROUP;
    for (int g = groups.begin; g < groups.end; g++)
        for (int first = 0; first < n_lines; first += RUN) {
            int n_run = n_lines - first < RUN ? n_lines - first : RUN;
            auto each_block = [&](auto act) {
                for (int m = 0; m < n_run; m += BLOCK) act(m, n_run - m < BLOCK ? n_run - m : BLOCK);
            };
            for (int k = 0; k < n_in; k += PIECE) {
                int width = n_in - k < PIECE ? n_in - k : PIECE;
                widen_group(weight + ((long)g * n_in + k) * GROUP, width, panels);
                each_block([&](int m, int n) {
                    widen_lines(a + (first + m) * lda + k, lda, n, width, wide);
                    product_floats(wide, width, n, panels, width, c + m * GROUP, GROUP, k > 0);
                });
            }
            each_block([&](int m, int n) { use(g * GROUP, first + m, n, c + m * GROUP); });
        }
}

// Some groups of 64 columns of a linear layer, for all lines: use(column, line, n, c) is given each block of products,
// c: (n lines x 64), at the beginning ROOM. NOTE: with AMX, lines are read up to the next multiple of 16.
template <typename Use>
static inline void linear(const bf16* a, long lda, int n_lines, const bf16* weight, int n_in, Part groups, float* c,
                          Use use) {
    if (n_lines >= MANY) return linear_floats(a, lda, n_lines, weight, n_in, groups, c, use);
    for (int g = groups.begin; g < groups.end; g++) {
        for (int m = 0; m < n_lines; m += BLOCK) {
            int n = n_lines - m < BLOCK ? n_lines - m : BLOCK;
            product(a + m * lda, lda, n, weight + (long)g * n_in * GROUP, n_in / TILE_K, c, GROUP);
            use(g * GROUP, m, n, c);
        }
    }
}

// The same, of lines that are bytes; scaled back on the way
template <typename Use>
static inline void linear(const ByteLines& a, int n_lines, const Weight& weight, Part groups, float* c, Use use) {
    for (int g = groups.begin; g < groups.end; g++)
        for (int m = 0; m < n_lines; m += BLOCK) {
            int n = n_lines - m < BLOCK ? n_lines - m : BLOCK;
            product_bytes(a, m, n, weight, g * GROUP, c);
            use(g * GROUP, m, n, c);
        }
}

// The same of lines that become bytes on the way where the weight is of bytes. bytes: room for them, of this thread.
template <typename Use>
static inline void linear(const bf16* from, int n_in, int n_lines, const Weight& weight, Part groups, float* c,
                          ByteLines bytes, Use use) {
    if (!weight.scale) return linear(from, n_in, n_lines, (const bf16*)weight.packed, n_in, groups, c, use);
    if (groups.begin == groups.end) return;
    bytes.width = n_in;
    for (int m = 0; m < n_lines; m++) to_bytes(from + (long)m * n_in, bytes, m);
    linear(bytes, n_lines, weight, groups, c, use);
}

// Scores -> probabilities of one line, in place as bfloat16; returns their sum. Lines are padded to multiples of 32.
static inline float soften(const float* scores, int n, bf16* probs) {
    v16 top = all(-__builtin_inff());
    int whole = n & ~15;
    for (int s = 0; s < whole; s += 16) top = max(top, load<v16>(scores + s));
    float m = largest(top);
    for (int s = whole; s < n; s++) m = scores[s] > m ? scores[s] : m;
    v16 total = {};
    for (int s = 0; s < whole; s += 16) {
        v16 e = exp_neg(load<v16>(scores + s) - m);
        total += e;
        narrow(probs + s, e);
    }
    int end = (n + 31) & ~31;
    for (int s = whole; s < end; s += 16) {
        v16 x;
        for (int i = 0; i < 16; i++) x[i] = s + i < n ? scores[s + i] - m : -100.0f;
        v16 e = exp_neg(x);
        total += e;
        narrow(probs + s, e);
    }
    return sum(total);
}

}  // namespace sv
