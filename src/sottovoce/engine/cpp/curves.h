// Exponentials and what is made of them, of vectors of any width. Knows no layer.

#pragma once

#include "bytes.h"

namespace sv {

// Of a vector that is wider than a register, half by half (bytes.h, vf).
template <typename V, typename Curve>
static inline V by_register(V x, Curve curve) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    if constexpr (sizeof(V) > sizeof(vf)) {
        Halves both = {x};
        for (int i = 0; i < 2; i++) both.half[i] = (__m256)curve((vf)both.half[i]);
        return both.whole;
    }
#endif
    return curve(x);
}

// e**x for x <= 0 (what a softmax asks), relative error below 3e-7; 0 where the result is denormal
template <typename V>
static inline V exp_neg(V x) {
    return by_register(x, [](auto x) {
        typedef decltype(x) F;
        typedef decltype(x < x) I;
        const float magic = 12582912.f;  // 1.5 * 2**23: adding it rounds to whole numbers
        F t = x * 1.44269504088896f;
        F n = (t + magic) - magic;
        F f = t - n;
        F p = f * 1.5403530393e-4f + 1.3333558146e-3f;
        p = p * f + 9.6181291076e-3f;
        p = p * f + 5.5504108665e-2f;
        p = p * f + 2.4022650696e-1f;
        p = p * f + 6.9314718056e-1f;
        p = p * f + 1.0f;
        I e = __builtin_convertvector(n, I);
        F r = (F)((I)p + (e << 23));
        return x < -87.0f ? F{} : r;
    });
}

// 2**x for x <= 0, relative error below 1e-4: for probabilities that become bfloat16 (4e-3)
static inline v16 exp2_rough(v16 x) {
#if defined(__AVX512F__)
    __m512 n = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    v16 f = x - (v16)n;
    v16 p = all(5.5717960e-2f);
    p = p * f + 2.4260854e-1f;
    p = p * f + 6.9315061e-1f;
    p = p * f + 9.9992520e-1f;
    return (v16)_mm512_scalef_ps((__m512)p, n);
#else
    return exp_neg(x * 0.69314718055994531f);
#endif
}

// the exact GELU, x * P(X <= x); erf after Abramowitz and Stegun 7.1.26, absolute error below 2e-7
template <typename V>
static inline V gelu(V x) {
    return by_register(x, [](auto x) {
        typedef decltype(x) F;
        F z = x * 0.70710678118654752f;
        F a = z < 0 ? -z : z;
        F t = 1.0f / (1.0f + 0.3275911f * a);
        F p = t * 1.061405429f - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        F tail = p * t * exp_neg(-a * a);  // 1 - erf(a)
        F phi = z < 0 ? 0.5f * tail : 1.0f - 0.5f * tail;
        return x * phi;
    });
}

}  // namespace sv
