// Lines of numbers as whole numbers of 8 bits, and their product with a matrix of such. Knows no layer.
//
// A line x becomes bytes u with a scale and a zero of its own, so that 0 stays exact: x ~ scale * (u - zero).
// A column w of a matrix becomes whole numbers b with a scale: w ~ scale * b, |b| <= 127. Then
//
//     x . w ~ scale of x * scale of w * (u . b - zero * sum of b)
//
// where all in brackets is exact. Fours of k lie together, as vpdpbusd and AMX's tdpbusd read them:
//
//     packed[n / 64][k / 4][n % 64][k % 4]

#pragma once

#include "whole.h"

namespace sv {

constexpr int QUAD_LINE = 4 * GROUP;  // bytes of four k of a group

// Without VNNI two products are added in 16 bits, saturating: 2 * 127 * 127 just fits there, 2 * 255 * 127 does not.
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
constexpr int MOST_BYTE = 127;
#else
constexpr int MOST_BYTE = 255;
#endif

struct ByteLines {
    uint8_t* bytes;
    long width;
    float* scale;
    int32_t* zero;
};

// A linear layer's weight: with scales whole numbers as above, and the sums of its columns; without, bfloat16 (simd.h)
struct Weight {
    const void* packed;
    const float* scale;
    const int32_t* sums;
};

// As many floats as a register holds. NOTE: of vectors wider than that gcc 12 compares and converts one number after
// another.
#if defined(__AVX512F__)
constexpr int WIDE = 16;
#elif defined(__AVX2__)
constexpr int WIDE = 8;
#else
constexpr int WIDE = 4;
#endif
typedef float vf __attribute__((vector_size(4 * WIDE)));
typedef int32_t vi __attribute__((vector_size(4 * WIDE)));

static inline vf lesser(vf a, vf b) { return a < b ? a : b; }
static inline vf greater(vf a, vf b) { return a > b ? a : b; }
static inline vf floats(float x) { return vf{} + x; }
static inline vf floats(vi v) { return __builtin_convertvector(v, vf); }
static inline vf load_floats(const float* p) { return load<vf>(p); }

static inline vf load_floats(const bf16* p) {
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16);
#else
    typedef uint16_t half __attribute__((vector_size(2 * WIDE)));
    return (vf)(__builtin_convertvector(load<half>(p), vi) << 16);
#endif
}

static inline float greatest(vf v) {
#if defined(__AVX512F__)
    return largest(v);
#else
    float most = v[0];
    for (int i = 1; i < WIDE; i++) most = v[i] > most ? v[i] : most;
    return most;
#endif
}

// to the nearest whole number
static inline vi to_whole(vf v) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtps_epi32((__m512)v);
#elif defined(__AVX2__)
    return (vi)_mm256_cvtps_epi32((__m256)v);
#else
    return __builtin_convertvector((v + 12582912.f) - 12582912.f, vi);
#endif
}

// the same as bytes; 0 <= v <= 255
static inline void narrow_byte(uint8_t* p, vf v) {
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8((__m512i)to_whole(v)));
#elif defined(__AVX2__)
    __m256i whole = (__m256i)to_whole(v);
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(words, words));
#else
    vi whole = to_whole(v);
    for (int i = 0; i < WIDE; i++) p[i] = (uint8_t)whole[i];
#endif
}

// One line; its width is a multiple of 16.
template <typename From>
static inline void to_bytes(const From* from, const ByteLines& to, long line) {
    vf least = {}, most = {};
    for (long i = 0; i < to.width; i += WIDE) {
        vf x = load_floats(from + i);
        least = lesser(least, x);
        most = greater(most, x);
    }
    float low = -greatest(-least), span = greatest(most) - low;
    float each = span > 0 ? MOST_BYTE / span : 0.0f, zero = __builtin_rintf(-low * each);
    to.scale[line] = span / MOST_BYTE;
    to.zero[line] = (int32_t)zero;
    uint8_t* bytes = to.bytes + line * to.width;
    for (long i = 0; i < to.width; i += WIDE) {
        vf x = load_floats(from + i) * each + zero;
        narrow_byte(bytes + i, lesser(greater(x, floats(0.0f)), floats((float)MOST_BYTE)));
    }
}

// What sums of products stand for, in place: 64 columns of lines. zero * sum is exact: below 2**31 for 65000 k.
static inline void finish_bytes(float* c, int n_lines, const float* scale, const int32_t* zero, const Weight& w,
                                int column) {
    for (int i = 0; i < GROUP; i += WIDE) {
        vi sums = load<vi>(w.sums + column + i);
        vf each = load<vf>(w.scale + column + i);
        for (int m = 0; m < n_lines; m++) {
            float* at = c + m * GROUP + i;
            store(at, floats(load<vi>(at) - zero[m] * sums) * (scale[m] * each));
        }
    }
}

#if defined(__AVX512F__)
constexpr int LINES_BYTE = 4, VECTORS_BYTE = 4;  // of sums that fit into registers
typedef __m512i Ints;

static inline Ints zeros() { return _mm512_setzero_si512(); }
static inline Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
static inline void store_ints(void* p, Ints v) { _mm512_storeu_si512(p, v); }
static inline Ints repeated(int32_t x) { return _mm512_set1_epi32(x); }

static inline Ints dot4(Ints acc, Ints a, Ints b) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(acc, a, b);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), _mm512_set1_epi16(1)));
#endif
}
#elif defined(__AVX2__)
constexpr int LINES_BYTE = 4, VECTORS_BYTE = 2;
typedef __m256i Ints;

static inline Ints zeros() { return _mm256_setzero_si256(); }
static inline Ints load_ints(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline void store_ints(void* p, Ints v) { _mm256_storeu_si256((__m256i*)p, v); }
static inline Ints repeated(int32_t x) { return _mm256_set1_epi32(x); }

static inline Ints dot4(Ints acc, Ints a, Ints b) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
}
#else
constexpr int LINES_BYTE = 1, VECTORS_BYTE = 1;
typedef int32_t Ints;

static inline Ints zeros() { return 0; }
static inline Ints load_ints(const void* p) { return load<Ints>(p); }
static inline void store_ints(void* p, Ints v) { store(p, v); }
static inline Ints repeated(int32_t x) { return x; }

static inline Ints dot4(Ints acc, Ints a, Ints b) {
    for (int i = 0; i < 4; i++) acc += (uint8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return acc;
}
#endif

// sums (M x 64) of M lines and one packed group, n_quads fours of k. NOTE: inlined, gcc 12 moves its sums from register
// to register.
template <int M>
__attribute__((noinline)) static void sum_block(const uint8_t* a, long lda, const int8_t* b, int n_quads,
                                                int32_t* sums) {
    constexpr int WIDTH = sizeof(Ints) / 4;  // columns of a vector
    for (int first = 0; first < GROUP; first += VECTORS_BYTE * WIDTH) {
        Ints acc[M][VECTORS_BYTE];
        for (int m = 0; m < M; m++)
            for (int n = 0; n < VECTORS_BYTE; n++) acc[m][n] = zeros();
        const int8_t* at = b + 4 * first;
        for (int p = 0; p < n_quads; p++, at += QUAD_LINE) {
            if constexpr (M < 4)  // few lines wait for memory
                for (int n = 0; n < VECTORS_BYTE; n++) __builtin_prefetch(at + AHEAD8 + 4 * WIDTH * n);
            Ints line[VECTORS_BYTE];
            for (int n = 0; n < VECTORS_BYTE; n++) line[n] = load_ints(at + 4 * WIDTH * n);
            for (int m = 0; m < M; m++) {
                Ints four = repeated(load<int32_t>(a + m * lda + 4 * p));
                for (int n = 0; n < VECTORS_BYTE; n++) acc[m][n] = dot4(acc[m][n], four, line[n]);
            }
        }
        for (int m = 0; m < M; m++)
            for (int n = 0; n < VECTORS_BYTE; n++) store_ints(sums + m * GROUP + first + n * WIDTH, acc[m][n]);
    }
}

template <int M>
static inline void sum_lines(const uint8_t* a, long lda, int n_lines, const int8_t* b, int n_quads, int32_t* sums) {
    for (; n_lines >= M; n_lines -= M, a += M * lda, sums += M * GROUP) sum_block<M>(a, lda, b, n_quads, sums);
    if constexpr (M > 1) sum_lines<M / 2>(a, lda, n_lines, b, n_quads, sums);
}

#if defined(__AMX_INT8__)
constexpr int BYTE_K = 64;                 // k of a tile, which is 16 fours
constexpr int BYTE_TILE = 16 * QUAD_LINE;  // bytes of 64 k of a group

// 32 lines, 32 of a group's columns
static inline void byte_tiles_2x2(const uint8_t* a, long lda, const int8_t* b, int nk, int32_t* sums) {
    SV_WRITTEN;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < nk; k++, a += BYTE_K, b += BYTE_TILE) {
        _tile_loadd(4, a, lda);
        _tile_loadd(6, b, QUAD_LINE);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(5, a + 16 * lda, lda);
        _tile_dpbusd(2, 5, 6);
        _tile_loadd(7, b + 64, QUAD_LINE);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, sums, GROUP * 4);
    _tile_stored(1, sums + 16, GROUP * 4);
    _tile_stored(2, sums + 16 * GROUP, GROUP * 4);
    _tile_stored(3, sums + 16 * GROUP + 16, GROUP * 4);
    SV_WRITTEN;
}
#endif

// sums (n_lines x 64) of lines and one packed group, n_lines <= 32; k: a multiple of 4, with AMX of 64.
// NOTE: with AMX, 32 lines are read and written whatever n_lines is.
static inline void sum_products(const uint8_t* a, long lda, int n_lines, const int8_t* b, int k, int32_t* sums) {
#if defined(__AMX_INT8__)
    if (n_lines > FEW_LINES) {
        byte_tiles_2x2(a, lda, b, k / BYTE_K, sums);
        byte_tiles_2x2(a, lda, b + 128, k / BYTE_K, sums + 32);
        return;
    }
#endif
    sum_lines<LINES_BYTE>(a, lda, n_lines, b, k / 4, sums);
}

// C (n_lines x 64) = what lines stand for . what columns from `column` on stand for; as above
static inline void product_bytes(const ByteLines& a, long first, int n_lines, const Weight& w, int column, float* c) {
    const int8_t* b = (const int8_t*)w.packed + (long)column * a.width;
    sum_products(a.bytes + first * a.width, a.width, n_lines, b, a.width, (int32_t*)c);
    finish_bytes(c, n_lines, a.scale + first, a.zero + first, w, column);
}

}  // namespace sv
