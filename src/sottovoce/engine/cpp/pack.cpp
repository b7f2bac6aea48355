// Weights as a file holds them -> as products read them. Knows no layer.

#include "layers.h"

#include <system_error>
#include <thread>
#include <vector>

namespace sv {

enum Kind : int32_t { FLOAT32, FLOAT16, BFLOAT16 };  // engine/kernels.py:KINDS

static inline v16 widen_half(const uint16_t* p) {
#if defined(__AVX512F__)
    return (v16)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__F16C__)
    v16 v;
    for (int i = 0; i < 2; i++) {
        __m256 half = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8 * i)));
        std::memcpy((char*)&v + 32 * i, &half, 32);
    }
    return v;
#else
    v16 v;
    for (int i = 0; i < 16; i++) {  // the exponent is moved to where float32 has it; a product mends it, denormals too
        uint32_t u = (uint32_t)(p[i] & 0x7fff) << 13;
        float f;
        std::memcpy(&f, &u, 4);
        f *= 5.192296858534828e33f;  // 2**112
        v[i] = p[i] & 0x8000 ? -f : f;
    }
    return v;
#endif
}

// 16 numbers from the i-th on
static inline v16 numbers(int32_t kind, const void* from, long i) {
    if (kind == FLOAT16) return widen_half((const uint16_t*)from + i);
    if (kind == BFLOAT16) return widen((const bf16*)from + i);
    return load<v16>((const float*)from + i);
}

// Lines of a matrix, of which `use` is given up to 64 and the group that they are columns of. Threads of its own, that end:
// OpenMP would leave a pool of them with whoever loads, beside that of the engine's thread (threads.py).
template <typename Use>
static void by_group(int64_t n, int32_t n_threads, Use use) {
    int groups = (int)((n + GROUP - 1) / GROUP), workers = n_threads < groups ? n_threads : groups;
    auto work = [&](int i) {
        Part mine = part(groups, i, workers);
        for (int64_t g = mine.begin; g < mine.end; g++) use(g, n - g * GROUP < GROUP ? (int)(n - g * GROUP) : GROUP);
    };
    std::vector<std::thread> others;
    int i = 1;
    try {
        for (; i < workers; i++) others.emplace_back(work, i);
    } catch (const std::system_error&) {  // there may be no more threads
        for (; i < workers; i++) work(i);
    }
    work(0);
    for (std::thread& other : others) other.join();
}

}  // namespace sv

extern "C" {

// from: (n, k) of a kind, k a multiple of 32. to: packed as simd.h says; columns beyond n are left as they are.
void sv_pack(int32_t kind, const void* from, int64_t n, int64_t k, sv::bf16* to, int32_t n_threads) {
    using namespace sv;
    by_group(n, n_threads, [&](int64_t g, int lines) {
        alignas(64) bf16 some[GROUP][TILE_K];
        for (int64_t at = 0; at < k; at += TILE_K) {
            for (int m = 0; m < lines; m++)
                for (int i = 0; i < TILE_K; i += 16) narrow(some[m] + i, numbers(kind, from, (g * GROUP + m) * k + at + i));
            bf16* out = to + (g * k + at) * GROUP;
            for (int p = 0; p < TILE_K / 2; p++, out += PAIR_LINE)
                for (int m = 0; m < lines; m++) std::memcpy(out + 2 * m, some[m] + 2 * p, 4);
        }
    });
}

// The same as bytes.h says; k a multiple of 64. scale: (n,) what one of a line's numbers is worth; sums: (n,) of them.
void sv_pack_bytes(int32_t kind, const void* from, int64_t n, int64_t k, int8_t* to, float* scale, int32_t* sums,
                   int32_t n_threads) {
    using namespace sv;
    by_group(n, n_threads, [&](int64_t g, int lines) {
        for (int m = 0; m < lines; m++) {
            long line = (g * GROUP + m) * k;
            v16 top = {};
            for (int64_t i = 0; i < k; i += 16) {
                v16 x = numbers(kind, from, line + i);
                top = max(top, max(x, -x));
            }
            float most = largest(top), each = most > 0 ? 127.0f / most : 0.0f;
            scale[g * GROUP + m] = most / 127.0f;
            int32_t sum = 0;
            for (int64_t i = 0; i < k; i += 16) {
                alignas(16) int8_t some[16];
                narrow8(some, numbers(kind, from, line + i) * each);
                for (int p = 0; p < 16; p += 4) std::memcpy(to + (g * k + i + p) * GROUP + 4 * m, some + p, 4);
                for (int8_t x : some) sum += x;
            }
            sums[g * GROUP + m] = sum;
        }
    });
}
}
