// Whole numbers of 8 and 16 bits: what floats become, and the product of one with the other. Knows no layer.

#pragma once

#include "simd.h"

namespace sv {

constexpr int AHEAD8 = 4096;  // numbers that are asked of memory before they are needed; docs/log.md

// to the nearest whole number; |v| <= 127
static inline void narrow8(int8_t* p, v16 v) {
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32((__m512)v)));
#else
    store(p, __builtin_convertvector((v + 12582912.f) - 12582912.f, b16));
#endif
}

// to the nearest whole number; |v| <= 32767
static inline void narrow16(int16_t* p, v16 v) {
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32((__m512)v)));
#else
    typedef int16_t s16 __attribute__((vector_size(32)));
    store(p, __builtin_convertvector((v + 12582912.f) - 12582912.f, s16));
#endif
}

// C (n_lines x 64) += A (n_lines x 2 n_pairs) . B, A whole numbers of 16 bits, B of 8, packed in pairs as above; every
// line of C is multiplied by its factor on the way. Sums are exact while n_pairs is below 256 (2**31).

#if defined(__AVX512F__)
constexpr int LINES8 = 6;  // of C that fit into registers

static inline __m512i dot2(__m512i acc, __m512i a, __m512i b) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(acc, a, b);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}

template <int M>
static inline void product8_block(const int16_t* a, long lda, const int8_t* b, int n_pairs, const float* factor,
                                  float* c, long ldc) {
    __m512i acc[M][4];
    for (int m = 0; m < M; m++)
        for (int i = 0; i < 4; i++) acc[m][i] = _mm512_setzero_si512();
    for (int p = 0; p < n_pairs; p++, b += PAIR_LINE) {
        __builtin_prefetch(b + AHEAD8);
        __builtin_prefetch(b + AHEAD8 + 64);
        __m512i line[4];
        for (int i = 0; i < 4; i++) line[i] = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)(b + 32 * i)));
        for (int m = 0; m < M; m++) {
            int32_t pair;
            std::memcpy(&pair, a + m * lda + 2 * p, 4);
            for (int i = 0; i < 4; i++) acc[m][i] = dot2(acc[m][i], _mm512_set1_epi32(pair), line[i]);
        }
    }
    for (int m = 0; m < M; m++)
        for (int i = 0; i < 4; i++) {
            float* to = c + m * ldc + 16 * i;
            store(to, load<v16>(to) + (v16)_mm512_cvtepi32_ps(acc[m][i]) * factor[m]);
        }
}
#elif defined(__AVX2__)
constexpr int LINES8 = 2;

template <int M>
static inline void product8_block(const int16_t* a, long lda, const int8_t* b, int n_pairs, const float* factor,
                                  float* c, long ldc) {
    for (int half = 0; half < GROUP; half += 32) {
        __m256i acc[M][4];
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++) acc[m][i] = _mm256_setzero_si256();
        const int8_t* at = b + 2 * half;
        for (int p = 0; p < n_pairs; p++, at += PAIR_LINE) {
            __builtin_prefetch(at + AHEAD8);
            __m256i line[4];
            for (int i = 0; i < 4; i++) line[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(at + 16 * i)));
            for (int m = 0; m < M; m++) {
                int32_t pair;
                std::memcpy(&pair, a + m * lda + 2 * p, 4);
                __m256i x = _mm256_set1_epi32(pair);
                for (int i = 0; i < 4; i++) acc[m][i] = _mm256_add_epi32(acc[m][i], _mm256_madd_epi16(x, line[i]));
            }
        }
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++) {
                float* to = c + m * ldc + half + 8 * i;
                __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[m][i]), _mm256_set1_ps(factor[m]));
                _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), scaled));
            }
    }
}
#else
constexpr int LINES8 = 1;

template <int M>
static inline void product8_block(const int16_t* a, long, const int8_t* b, int n_pairs, const float* factor, float* c,
                                  long) {
    for (int n = 0; n < GROUP; n++) {
        int32_t acc = 0;
        for (int p = 0; p < n_pairs; p++)
            acc += a[2 * p] * b[p * PAIR_LINE + 2 * n] + a[2 * p + 1] * b[p * PAIR_LINE + 2 * n + 1];
        c[n] += factor[0] * acc;
    }
}
#endif

static inline void product8(const int16_t* a, long lda, int n_lines, const int8_t* b, int n_pairs, const float* factor,
                            float* c, long ldc) {
    int m = 0;
    for (; m + LINES8 <= n_lines; m += LINES8)
        product8_block<LINES8>(a + m * lda, lda, b, n_pairs, factor + m, c + m * ldc, ldc);
    a += m * lda;
    c += m * ldc;
    factor += m;
    switch (n_lines - m) {
#if defined(__AVX512F__)
        case 5: product8_block<5>(a, lda, b, n_pairs, factor, c, ldc); break;
        case 4: product8_block<4>(a, lda, b, n_pairs, factor, c, ldc); break;
        case 3: product8_block<3>(a, lda, b, n_pairs, factor, c, ldc); break;
        case 2: product8_block<2>(a, lda, b, n_pairs, factor, c, ldc); break;
#endif
        case 1: product8_block<1>(a, lda, b, n_pairs, factor, c, ldc); break;
    }
}

static inline v16 widen(const float* p) { return load<v16>(p); }

// n numbers (a multiple of 16) -> whole numbers of 16 bits; returns what one of them stands for
template <typename From>
static inline float narrow16(const From* from, int n, int16_t* to) {
    v16 top = {};
    for (int i = 0; i < n; i += 16) top = max(top, max(widen(from + i), -widen(from + i)));
    float most = largest(top), each = most > 0 ? 32767.0f / most : 0.0f;
    for (int i = 0; i < n; i += 16) narrow16(to + i, widen(from + i) * each);
    return most / 32767.0f;
}

}  // namespace sv
