// Keys and values as products want them, and attention of one head in whole numbers of 8 bits. Knows no window.
//
//     score of query m and key n:  q_scale[m] * k_scale[n] * (sum of (q + HALF) * k  -  HALF * sum of k)
//     heard by query m:            sum over spans of keys of  step * sum of p * v,  p ~ probability * v_scale / step
//
// A step belongs to a query and a span: what many keys of little weight say together is not lost beside one of much.

#pragma once

#include "layers.h"

namespace sv {

constexpr int QUERIES = 32;                // of one head that attend together
constexpr int SPAN = 2 * GROUP;            // keys whose probabilities share a step
constexpr int HALF = (MOST_BYTE + 1) / 2;  // makes whole numbers unsigned
constexpr float LOG2E = 1.44269504088896f;

// The bias is added to c, and lines beyond the window are made zero.
static inline void finish_block(float* c, const float* bias, int n_lines, int n_real) {
    for (int m = 0; m < n_lines; m++)
        for (int i = 0; i < GROUP; i += 16)
            store(c + m * GROUP + i, m < n_real ? load<v16>(c + m * GROUP + i) + load<v16>(bias + i) : all(0));
}

// 32 lines of keys of one head, as columns. c: (32, 64) with its bias; to: the head's packed keys, line: a multiple
// of 32
static inline void pack_keys(const float* c, bf16* to, int line) {
    uint32_t* at = (uint32_t*)(to + (long)(line / GROUP) * GROUP * HEAD) + line % GROUP;
    for (int m = 0; m < BLOCK; m++) {
        alignas(64) bf16 row[HEAD];
        for (int i = 0; i < HEAD; i += 16) narrow(row + i, load<v16>(c + m * GROUP + i));
        for (int p = 0; p < HEAD / 2; p++) std::memcpy(at + (long)p * GROUP + m, row + 2 * p, 4);
    }
}

// 32 lines of values of one head: two lines together
static inline void pack_values(const float* c, bf16* to, int line) {
    for (int m = 0; m < BLOCK; m += 2)
        for (int i = 0; i < HEAD; i += 16) {
            u16 even = rounded(load<v16>(c + m * GROUP + i)), odd = rounded(load<v16>(c + (m + 1) * GROUP + i));
            store(to + (long)(line + m) * HEAD + 2 * i, even | (odd << 16));
        }
}

struct Head8 {
    uint8_t* q;  // (lines, 64), a line every `stride`
    float* q_scale;
    int8_t *k, *v;  // fours of channels of 64 keys, fours of keys of 64 channels
    float *k_scale, *v_scale;
    int32_t* k_shift;
    long stride;
};

// Which of the next keys are among n
static inline vi are_real(int n) {
    vi place;
    for (int i = 0; i < WIDE; i++) place[i] = i;
    return place < n;
}

static inline float largest_of(const float* line) {
    vf top = {};
    for (int i = 0; i < HEAD; i += WIDE) top = greater(top, greater(load<vf>(line + i), -load<vf>(line + i)));
    return greatest(top);
}

// exp2_rough, of a register
static inline vf power(vf x) {
#if defined(__AVX512F__)
    return exp2_rough(x);
#else
    vf n = (x + 12582912.f) - 12582912.f, f = x - n;
    vf p = ((5.5717960e-2f * f + 2.4260854e-1f) * f + 6.9315061e-1f) * f + 9.9992520e-1f;
    vf r = (vf)((vi)p + (to_whole(n) << 23));
    return x < -125.0f ? floats(0.0f) : r;
#endif
}

// What 32 queries hear, where keys and values become floats: n_keys keys in room for `keys`. q, out: a line every
// `stride`.
// scores: (32, keys); c: ROOM
static inline void attend_floats(const bf16* q, const bf16* k, const bf16* v, long stride, int n_keys, int keys,
                                 float* scores, float* c, bf16* out) {
    float *wide = c + QUERIES * HEAD, *panels = c + RUN * GROUP;
    const vf nothing = floats(-1e30f);  // NOTE: of infinity, power would be no number
    vf tops[QUERIES];
    for (vf& t : tops) t = nothing;
    widen_lines(q, stride, QUERIES, HEAD, wide);
    for (int n = 0; n < keys; n += GROUP) {
        float* some = scores + n;
        widen_group(k + (long)n * HEAD, HEAD, panels);
        product_floats(wide, HEAD, QUERIES, panels, HEAD, some, keys, false);
        for (int m = 0; m < QUERIES; m++, some += keys)
            for (int i = 0; i < GROUP; i += WIDE) {
                vf s = load<vf>(some + i);
                if (n + GROUP > n_keys) {  // beyond the window lies whatever was there
                    s = are_real(n_keys - n - i) ? s : nothing;
                    store(some + i, s);
                }
                tops[m] = greater(tops[m], s);
            }
    }
    float total[QUERIES];
    for (int m = 0; m < QUERIES; m++) {
        float* line = scores + (long)m * keys;
        vf sums = {}, shift = floats(greatest(tops[m]) * LOG2E);
        for (int i = 0; i < keys; i += WIDE) {
            vf p = power(load<vf>(line + i) * LOG2E - shift);
            sums += p;
            store(line + i, p);
        }
        total[m] = 0;
        for (int i = 0; i < WIDE; i++) total[m] += sums[i];
    }
    int lines = (n_keys + BLOCK - 1) & ~(BLOCK - 1);
    for (int n = 0; n < lines; n += PIECE) {
        int width = lines - n < PIECE ? lines - n : PIECE;
        widen_group(v + (long)n * HEAD, width, panels);
        product_floats(scores + n, keys, QUERIES, panels, width, c, GROUP, n > 0);
    }
    for (int m = 0; m < QUERIES; m++)
        for (int i = 0; i < HEAD; i += 16)
            narrow(out + m * stride + i, load<v16>(c + m * GROUP + i) * (1.0f / total[m]));
}

// 32 lines from `line` on: c (32, 64)
static inline void pack_queries8(const float* c, const Head8& h, int line) {
    for (int m = 0; m < BLOCK; m++) {
        float most = largest_of(c + m * GROUP), each = most > 0 ? (HALF - 1) / most : 0.0f;
        h.q_scale[line + m] = most / (HALF - 1) * 0.125f * LOG2E;  // scores are exponents of 2
        for (int i = 0; i < HEAD; i += WIDE)
            narrow_byte(h.q + (line + m) * h.stride + i, load<vf>(c + m * GROUP + i) * each + (float)HALF);
    }
}

static inline void pack_keys8(const float* c, const Head8& h, int line) {
    char* at = (char*)h.k + (long)(line / GROUP) * GROUP * HEAD + line % GROUP * 4;
    for (int m = 0; m < BLOCK; m++) {
        float most = largest_of(c + m * GROUP), each = most > 0 ? 127 / most : 0.0f;
        alignas(64) uint8_t row[HEAD];
        vi total = {};
        for (int i = 0; i < HEAD; i += WIDE) {
            vf x = load<vf>(c + m * GROUP + i) * each + 128.0f;
            total += to_whole(x);
            narrow_byte(row + i, x);
        }
        int32_t sum = -128 * HEAD;
        for (int i = 0; i < WIDE; i++) sum += total[i];
        h.k_scale[line + m] = most / 127;
        h.k_shift[line + m] = -HALF * sum;
        for (int p = 0; p < HEAD / 4; p++)  // u - 128, of four at once
            store(at + p * QUAD_LINE + 4 * m, load<uint32_t>(row + 4 * p) ^ 0x80808080u);
    }
}

static inline void pack_values8(const float* c, const Head8& h, int line) {
    for (int m = 0; m < BLOCK; m += 4) {
        float each[4];
        for (int j = 0; j < 4; j++) {
            float most = largest_of(c + (m + j) * GROUP);
            each[j] = most > 0 ? 127 / most : 0.0f;
            h.v_scale[line + m + j] = most / 127;
        }
        for (int i = 0; i < HEAD; i += WIDE) {
            vi four = {};
            for (int j = 0; j < 4; j++)
                four |= (to_whole(load<vf>(c + (m + j) * GROUP + i) * each[j]) & 255) << 8 * j;
            store(h.v + (long)(line + m) * HEAD + 4 * i, four);
        }
    }
}

// Scores of 32 queries and all keys, and the largest of each query. sums: room for (32, 64)
static inline void score8(const Head8& h, int line, int n_keys, int keys, float* scores, int32_t* sums, float* top) {
    constexpr int N = GROUP / WIDE;
    const vf nothing = floats(-__builtin_inff());
    vf tops[QUERIES];
    for (vf& t : tops) t = nothing;
    for (int n = 0; n < n_keys; n += GROUP) {
        sum_products(h.q + line * h.stride, h.stride, QUERIES, h.k + (long)n * HEAD, HEAD, sums);
        vi shift[N], real[N];
        vf each[N];
        for (int i = 0; i < N; i++) {
            shift[i] = load<vi>(h.k_shift + n + WIDE * i);
            each[i] = load<vf>(h.k_scale + n + WIDE * i);
            real[i] = are_real(n_keys - n - WIDE * i);
        }
        for (int m = 0; m < QUERIES; m++)
            for (int i = 0; i < N; i++) {
                vf s = floats(load<vi>(sums + m * GROUP + WIDE * i) + shift[i]) * each[i];
                s = real[i] ? s : nothing;  // beyond the window lies whatever was there
                tops[m] = greater(tops[m], s);
                store(scores + (long)m * keys + n + WIDE * i, s);
            }
    }
    for (int m = 0; m < QUERIES; m++) top[m] = greatest(tops[m]);
}

// Scores of one query -> its bytes p, a span's step; returns the sum of probabilities
static inline float soften8(const float* scores, float scale, float top, const float* v_scale, int n_keys, int keys,
                            uint8_t* p, float* step) {
    vf total = {}, shift = floats(top * scale);
    for (int n = 0; n < keys; n += SPAN) {
        vf parts[SPAN / WIDE], most = {};
        for (int i = 0; i < SPAN; i += WIDE) {
            vf x = power(load<vf>(scores + n + i) * scale - shift), part = x * load<vf>(v_scale + n + i);
            if (n + i + WIDE > n_keys) {
                vi real = are_real(n_keys - n - i);
                x = real ? x : floats(0.0f);
                part = real ? part : floats(0.0f);
            }
            total += x;
            parts[i / WIDE] = part;
            most = greater(most, parts[i / WIDE]);
        }
        float span = greatest(most), each = span > 0 ? MOST_BYTE / span : 0.0f;
        step[n / SPAN] = span / MOST_BYTE;
        for (int i = 0; i < SPAN; i += WIDE)
            narrow_byte(p + n + i, lesser(parts[i / WIDE] * each, floats((float)MOST_BYTE)));
    }
    float sum = 0;
    for (int i = 0; i < WIDE; i++) sum += total[i];
    return sum;
}

// What 32 queries from `line` on hear, n_keys keys in room for `keys`, a multiple of SPAN. out: (32, 64) bfloat16.
// scores: (32, keys); p: the same as bytes; step: (32, keys / SPAN); c: two times (32, 64)
static inline void attend8(const Head8& h, int line, int n_keys, int keys, float* scores, uint8_t* p, float* step,
                           float* c, bf16* out, long stride) {
    int32_t* sums = (int32_t*)c + QUERIES * GROUP;
    float top[QUERIES], total[QUERIES];
    int spans = keys / SPAN;
    score8(h, line, n_keys, keys, scores, sums, top);
    for (int m = 0; m < QUERIES; m++)
        total[m] = soften8(scores + (long)m * keys, h.q_scale[line + m], top[m], h.v_scale, n_keys, keys,
                           p + (long)m * keys, step + m * spans);
    std::memset(c, 0, sizeof(float) * QUERIES * GROUP);
    for (int n = 0; n < keys; n += SPAN) {
        sum_products(p + n, keys, QUERIES, h.v + (long)n * HEAD, SPAN, sums);
        for (int m = 0; m < QUERIES; m++)
            for (int i = 0; i < HEAD; i += WIDE) {
                vf part = floats(load<vi>(sums + m * GROUP + i));
                store(c + m * GROUP + i, load<vf>(c + m * GROUP + i) + part * step[m * spans + n / SPAN]);
            }
    }
    for (int m = 0; m < QUERIES; m++)
        for (int i = 0; i < HEAD; i += 16)
            narrow(out + m * stride + i, load<v16>(c + m * GROUP + i) * (1.0f / total[m]));
}

}  // namespace sv
