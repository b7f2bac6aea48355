// Vectors of 16 floats, bfloat16, and the one product everything is made of. Knows no layer.
//
// Compiled once per instruction set (hatch_build.py): AMX, AVX512_BF16, AVX512, AVX2. What differs stands here and nowhere else.
//
// A matrix B (K x N) that is multiplied from the right is kept packed: pairs of k together, as both AMX and vdpbf16ps
// read them, and all k of 64 columns after one another, so that a product reads one stream of memory:
//
//     packed[n / 64][k / 2][n % 64][k % 2]

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace sv {

typedef uint16_t bf16;
typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef uint32_t u16 __attribute__((vector_size(64)));
typedef uint16_t h16 __attribute__((vector_size(32)));
typedef int8_t b16 __attribute__((vector_size(16)));
#if defined(__AVX2__)
typedef float v8 __attribute__((vector_size(32)));
#endif

constexpr int GROUP = 64;               // columns of one product
constexpr int PAIR_LINE = 2 * GROUP;    // elements of two k of a group
constexpr int TILE_K = 32;              // k of an AMX tile, which is 16 pairs
constexpr int TILE = 16 * PAIR_LINE;    // elements of 32 k of a group
constexpr int AHEAD = 32 * PAIR_LINE;   // elements that are asked of memory before they are needed: 8 kB

template <typename V>
static inline V load(const void* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <typename V>
static inline void store(void* p, V v) {
    std::memcpy(p, &v, sizeof v);
}

static inline v16 all(float x) { return x - v16{}; }  // NOTE: 0 + x is an addition, because of -0; x - 0 is none

// max, min: of what is no number, b, as the instructions have it
#if defined(__AVX512F__)
static inline float sum(v16 v) { return _mm512_reduce_add_ps((__m512)v); }
static inline float largest(v16 v) { return _mm512_reduce_max_ps((__m512)v); }
static inline v16 max(v16 a, v16 b) { return (v16)_mm512_max_ps((__m512)a, (__m512)b); }
static inline v16 min(v16 a, v16 b) { return (v16)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
union Halves {
    v16 whole;
    __m256 half[2];
};
static inline float sum(v16 v) {
    Halves x = {v};
    __m256 eight = _mm256_add_ps(x.half[0], x.half[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
static inline float largest(v16 v) {
    Halves x = {v};
    __m256 eight = _mm256_max_ps(x.half[0], x.half[1]);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
static inline v16 max(v16 a, v16 b) {
    Halves x = {a}, y = {b};
    for (int i = 0; i < 2; i++) x.half[i] = _mm256_max_ps(x.half[i], y.half[i]);
    return x.whole;
}
static inline v16 min(v16 a, v16 b) {
    Halves x = {a}, y = {b};
    for (int i = 0; i < 2; i++) x.half[i] = _mm256_min_ps(x.half[i], y.half[i]);
    return x.whole;
}
#else
static inline float sum(v16 v) {
    float s = 0;
    for (int i = 0; i < 16; i++) s += v[i];
    return s;
}
static inline float largest(v16 v) {
    float m = v[0];
    for (int i = 1; i < 16; i++) m = v[i] > m ? v[i] : m;
    return m;
}
static inline v16 max(v16 a, v16 b) { return a > b ? a : b; }
static inline v16 min(v16 a, v16 b) { return a < b ? a : b; }
#endif

// NOTE: gcc 12 turns the vector conversions of 8 and 16 bits into scalar code; hence these by hand.
static inline v16 widen(const bf16* p) {
#if defined(__AVX512F__)
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return (v16)_mm512_slli_epi32(wide, 16);
#elif defined(__AVX2__)
    v16 v;
    for (int i = 0; i < 2; i++) {
        __m256i half = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8 * i))), 16);
        std::memcpy((char*)&v + 32 * i, &half, 32);
    }
    return v;
#else
    return (v16)(__builtin_convertvector(load<h16>(p), u16) << 16);
#endif
}

// to nearest, ties to even; the upper half of each float
static inline u16 rounded(v16 v) {
    u16 u = (u16)v;
    return (u + 0x7fff + ((u >> 16) & 1)) >> 16;
}

#if defined(__AVX2__)
static inline void narrow(bf16* p, v8 v) {
    __m256i u = (__m256i)v, odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    u = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
    _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1)));
}
#endif

static inline void narrow(bf16* p, v16 v) {
#if defined(__AVX512BF16__)
    __m256bh h = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(p, &h, sizeof h);
#elif defined(__AVX512F__)
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16((__m512i)rounded(v)));
#elif defined(__AVX2__)
    Halves x = {v};
    for (int i = 0; i < 2; i++) narrow(p + 8 * i, (v8)x.half[i]);
#else
    store(p, __builtin_convertvector(rounded(v), h16));
#endif
}

static inline bf16 narrow1(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return (bf16)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

// acc[n] += a[0] * b[n][0] + a[1] * b[n][1]; a: two bfloat16 in one word, b: one line of a packed tile
static inline v16 dot2(v16 acc, uint32_t a, const bf16* b) {
#if defined(__AVX512BF16__)
    __m512i line = _mm512_loadu_si512(b);
    return (v16)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)line);
#else
    u16 line = load<u16>(b);
    uint32_t low = a << 16, high = a & 0xffff0000u;
    float x, y;
    std::memcpy(&x, &low, 4);
    std::memcpy(&y, &high, 4);
    return acc + (v16)(line << 16) * x + (v16)(line & 0xffff0000u) * y;
#endif
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// 16 registers: two lines, 32 columns at a time
template <int M>
static inline void product_half(const bf16* a, long lda, const bf16* b, int n_pairs, float* c, long ldc) {
    __m256 acc[M][4];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < 4; n++) acc[m][n] = _mm256_setzero_ps();
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000u);
    for (int p = 0; p < n_pairs; p++, b += PAIR_LINE) {
        for (int n = 0; n < 2; n++) __builtin_prefetch(b + AHEAD + n * 32);
        __m256 even[M], odd[M];
        for (int m = 0; m < M; m++) {
            uint32_t pair;
            std::memcpy(&pair, a + m * lda + 2 * p, 4);
            even[m] = _mm256_castsi256_ps(_mm256_set1_epi32((int)(pair << 16)));
            odd[m] = _mm256_castsi256_ps(_mm256_set1_epi32((int)(pair & 0xffff0000u)));
        }
        for (int n = 0; n < 4; n++) {
            __m256i line = _mm256_loadu_si256((const __m256i*)(b + n * 16));
            __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(line, 16));
            __m256 second = _mm256_castsi256_ps(_mm256_and_si256(line, upper));
            for (int m = 0; m < M; m++) {
                acc[m][n] = _mm256_fmadd_ps(first, even[m], acc[m][n]);
                acc[m][n] = _mm256_fmadd_ps(second, odd[m], acc[m][n]);
            }
        }
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < 4; n++) _mm256_storeu_ps(c + m * ldc + n * 8, acc[m][n]);
}

template <int M>
static inline void product_block(const bf16* a, long lda, const bf16* b, int n_pairs, float* c, long ldc) {
    for (int half = 0; half < 64; half += 32)
        for (int m = 0; m < M; m += 2)
            if (m + 2 <= M)
                product_half<2>(a + m * lda, lda, b + 2 * half, n_pairs, c + m * ldc + half, ldc);
            else
                product_half<1>(a + m * lda, lda, b + 2 * half, n_pairs, c + m * ldc + half, ldc);
}
#else
template <int M>
static inline void product_block(const bf16* a, long lda, const bf16* b, int n_pairs, float* c, long ldc) {
    v16 acc[M][4] = {};
    for (int p = 0; p < n_pairs; p++, b += PAIR_LINE) {
        for (int n = 0; n < 4; n++) __builtin_prefetch(b + AHEAD + n * 32);
        uint32_t pair[M];
        for (int m = 0; m < M; m++) std::memcpy(&pair[m], a + m * lda + 2 * p, 4);
        for (int n = 0; n < 4; n++)
            for (int m = 0; m < M; m++) acc[m][n] = dot2(acc[m][n], pair[m], b + n * 32);
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < 4; n++) store(c + m * ldc + n * 16, acc[m][n]);
}
#endif

#if defined(__AMX_BF16__)
constexpr int FEW_LINES = 4;  // up to here the vector form reads B as fast as memory gives it

// NOTE: gcc does not know that a tile is read from memory; what was written there must be there before.
#define SV_WRITTEN asm volatile("" ::: "memory")

static inline void begin_tiles() {
    alignas(64) uint8_t config[64] = {};
    config[0] = 1;
    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;  // bytes of a line
        config[48 + i] = 16;      // lines
    }
    _tile_loadconfig(config);
}

static inline void end_tiles() { _tile_release(); }

static inline void amx_1x4(const bf16* a, long lda, const bf16* b, int nk, float* c, long ldc) {
    SV_WRITTEN;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < nk; k++, b += TILE) {
        for (int i = 0; i < TILE; i += 32) __builtin_prefetch(b + AHEAD + i);
        _tile_loadd(4, a + k * TILE_K, lda * 2);
        _tile_loadd(5, b, PAIR_LINE * 2);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(6, b + 32, PAIR_LINE * 2);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(7, b + 64, PAIR_LINE * 2);
        _tile_dpbf16ps(2, 4, 7);
        _tile_loadd(5, b + 96, PAIR_LINE * 2);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, c, ldc * 4);
    _tile_stored(1, c + 16, ldc * 4);
    _tile_stored(2, c + 32, ldc * 4);
    _tile_stored(3, c + 48, ldc * 4);
}

// 32 lines, 32 of a group's columns
static inline void amx_2x2(const bf16* a, long lda, const bf16* b, int nk, float* c, long ldc) {
    SV_WRITTEN;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < nk; k++, b += TILE) {
        _tile_loadd(4, a + k * TILE_K, lda * 2);
        _tile_loadd(6, b, PAIR_LINE * 2);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, a + 16 * lda + k * TILE_K, lda * 2);
        _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, b + 32, PAIR_LINE * 2);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, ldc * 4);
    _tile_stored(1, c + 16, ldc * 4);
    _tile_stored(2, c + 16 * ldc, ldc * 4);
    _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
}
// Scores of 32 queries against all keys of a head: the queries stay in their tiles. top: the largest of each, by place
static inline void scores32(const bf16* q, long ldq, const bf16* k, int n_groups, float* c, long ldc, v16* top) {
    SV_WRITTEN;
    _tile_loadd(4, q, ldq * 2);
    _tile_loadd(5, q + 32, ldq * 2);
    _tile_loadd(6, q + 16 * ldq, ldq * 2);
    _tile_loadd(7, q + 16 * ldq + 32, ldq * 2);
    for (int g = 0; g < n_groups; g++, k += 2 * TILE, c += GROUP) {
        for (int j = 0; j < 4; j++) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_loadd(2, k + j * 32, PAIR_LINE * 2);
            _tile_dpbf16ps(0, 4, 2);
            _tile_dpbf16ps(1, 6, 2);
            _tile_loadd(3, k + TILE + j * 32, PAIR_LINE * 2);
            _tile_dpbf16ps(0, 5, 3);
            _tile_dpbf16ps(1, 7, 3);
            _tile_stored(0, c + j * 16, ldc * 4);
            _tile_stored(1, c + 16 * ldc + j * 16, ldc * 4);
        }
        for (int m = 0; m < 32; m++) {
            const float* line = c + m * ldc;
            v16 a = max(load<v16>(line), load<v16>(line + 16)), b = max(load<v16>(line + 32), load<v16>(line + 48));
            top[m] = max(top[m], max(a, b));
        }
    }
}
#else
static inline void begin_tiles() {}
static inline void end_tiles() {}
#endif

#if !defined(__AMX_BF16__)
static inline void product(const bf16* a, long lda, int n_lines, const bf16* b, int nk, float* c, long ldc);

static inline void scores32(const bf16* q, long ldq, const bf16* k, int n_groups, float* c, long ldc, v16* top) {
    for (int g = 0; g < n_groups; g++, k += 2 * TILE, c += GROUP) {
        product(q, ldq, 32, k, 2, c, ldc);
        for (int m = 0; m < 32; m++)
            for (int i = 0; i < GROUP; i += 16) top[m] = max(top[m], load<v16>(c + m * ldc + i));
    }
}
#endif

// C (n_lines x 64) = A (n_lines x 32 nk) . B, B being one packed group.
// NOTE: with AMX, A is read and C is written up to the next multiple of 16 lines.
static inline void product(const bf16* a, long lda, int n_lines, const bf16* b, int nk, float* c, long ldc) {
#if defined(__AMX_BF16__)
    if (n_lines > FEW_LINES) {
        for (int m = 0; m < n_lines; m += 32) {
            if (n_lines - m > 16) {
                amx_2x2(a + m * lda, lda, b, nk, c + m * ldc, ldc);
                amx_2x2(a + m * lda, lda, b + 64, nk, c + m * ldc + 32, ldc);
            } else {
                amx_1x4(a + m * lda, lda, b, nk, c + m * ldc, ldc);
            }
        }
        return;
    }
#endif
    int m = 0;
    for (; m + 4 <= n_lines; m += 4) product_block<4>(a + m * lda, lda, b, 16 * nk, c + m * ldc, ldc);
    a += m * lda;
    c += m * ldc;
    switch (n_lines - m) {
        case 3: product_block<3>(a, lda, b, 16 * nk, c, ldc); break;
        case 2: product_block<2>(a, lda, b, 16 * nk, c, ldc); break;
        case 1: product_block<1>(a, lda, b, 16 * nk, c, ldc); break;
    }
}

}  // namespace sv
