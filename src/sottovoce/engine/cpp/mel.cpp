// Waveform -> log-mel, 16 frames at a time, one in each place of a vector. Twin: audio/mel.py, which says what a mel is.
//
// The 400 samples of a frame are taken as 200 complex numbers (even samples, odd samples). Their transform is split into
// that of the frame afterwards: X[k] = E[k] + e ** (-2 pi i k / 400) O[k].

#include "layers.h"

namespace sv {

constexpr int N_FFT = 400, HOP = 160, N_HALF = N_FFT / 2;
constexpr float MEL_FLOOR = 1e-10f, RANGE = 8.0f;

struct Complex {
    v16 re, im;
};

static inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
static inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
static inline Complex operator*(Complex a, float b) { return {a.re * b, a.im * b}; }
static inline Complex turned(Complex a) { return {a.im, -a.re}; }  // times -i
static inline Complex times(Complex a, const float* w) { return {a.re * w[0] - a.im * w[1], a.re * w[1] + a.im * w[0]}; }

// What a window is turned into log-mel with. turns: (400, 2) cosine and sine of -2 pi k / 400.
struct Mels {
    int32_t n_mels, n_frames;
    const float *window, *turns;
    const int32_t *first, *n_bins;  // (n_mels) which bins each filter hears
    const float* weights;           // of each filter its bins, one after another
};

static inline void transform2(Complex* a) {
    Complex b = a[0];
    a[0] = b + a[1];
    a[1] = b - a[1];
}

static inline void transform4(Complex* a) {
    Complex s = a[0] + a[2], d = a[0] - a[2], t = a[1] + a[3], e = turned(a[1] - a[3]);
    a[0] = s + t;
    a[1] = d + e;
    a[2] = s - t;
    a[3] = d - e;
}

static inline void transform5(Complex* a) {
    const float c1 = 0.30901699437494745f, c2 = -0.80901699437494745f;  // cos(2 pi / 5), cos(4 pi / 5)
    const float s1 = 0.95105651629515357f, s2 = 0.58778525229247313f;   // sin(2 pi / 5), sin(4 pi / 5)
    Complex s = a[1] + a[4], d = a[1] - a[4], t = a[2] + a[3], e = a[2] - a[3], a0 = a[0];
    Complex m = a0 + s * c1 + t * c2, n = a0 + s * c2 + t * c1;
    Complex p = turned(d * s1 + e * s2), q = turned(d * s2 - e * s1);
    a[0] = a0 + s + t;
    a[1] = m + p;
    a[2] = n + q;
    a[3] = n - q;
    a[4] = m - p;
}

// One pass of Stockham's transform: RADIX parts of n numbers each, `stride` transforms beside one another.
template <int RADIX>
static void pass(const Complex* x, Complex* y, int n, int stride, const float* turns) {
    int part = n / RADIX, turn = N_FFT / n;
    for (int p = 0; p < part; p++)
        for (int q = 0; q < stride; q++) {
            Complex a[RADIX];
            for (int k = 0; k < RADIX; k++) a[k] = x[q + stride * (p + part * k)];
            if (RADIX == 2) transform2(a);
            if (RADIX == 4) transform4(a);
            if (RADIX == 5) transform5(a);
            Complex* to = y + q + stride * RADIX * p;
            to[0] = a[0];
            for (int k = 1; k < RADIX; k++) to[stride * k] = p ? times(a[k], turns + 2 * (turn * p * k % N_FFT)) : a[k];
        }
}

// log10 of normal numbers, error below 1e-7 of its size or so; ln after Cephes logf
static inline v16 log10_of(v16 x) {
    i16 bits = (i16)x, exponent = ((bits - 0x3f3504f3) >> 23);  // so that the rest is in [sqrt(1/2), sqrt(2))
    v16 z = (v16)(bits - (exponent << 23)) - 1.0f, e = __builtin_convertvector(exponent, v16), square = z * z;
    v16 p = all(7.0376836292e-2f);
    p = p * z - 1.1514610310e-1f;
    p = p * z + 1.1676998740e-1f;
    p = p * z - 1.2420140846e-1f;
    p = p * z + 1.4249322787e-1f;
    p = p * z - 1.6668057665e-1f;
    p = p * z + 2.0000714765e-1f;
    p = p * z - 2.4999993993e-1f;
    p = p * z + 3.3333331174e-1f;
    return (p * z * square - 0.5f * square + z) * 0.43429448190325182f + e * 0.30102999566398120f;
}

// Up to 16 frames. out: (n_mels, lines `stride` apart)
static void listen(const Mels& m, const float* samples, int n_frames, float peak, float* out, long stride) {
    alignas(64) Complex x[N_HALF], y[N_HALF];
    alignas(64) float lines[2 * N_HALF][16];
    if (n_frames < 16) std::memset(lines, 0, sizeof lines);
    for (int f = 0; f < n_frames; f++)
        for (int i = 0; i < N_FFT; i++) lines[i][f] = samples[f * HOP + i] * m.window[i];
    std::memcpy((void*)x, lines, sizeof lines);
    pass<5>(x, y, 200, 1, m.turns);
    pass<5>(y, x, 40, 5, m.turns);
    pass<4>(x, y, 8, 25, m.turns);
    pass<2>(y, x, 2, 100, m.turns);
    v16* power = (v16*)y;  // of bins 1 to 199; the filters are 0 at both ends
    for (int k = 1; k < N_HALF; k++) {
        Complex a = x[k], b = {x[N_HALF - k].re, -x[N_HALF - k].im};
        Complex bin = a + b + times(turned(a - b), m.turns + 2 * k);
        power[k] = (bin.re * bin.re + bin.im * bin.im) * 0.25f;
    }
    const float* weight = m.weights;
    for (int mel = 0; mel < m.n_mels; mel++) {
        v16 total = {};
        for (int i = 0; i < m.n_bins[mel]; i++) total += power[m.first[mel] + i] * *weight++;
        v16 log = log10_of(max(total, all(MEL_FLOOR)));
        v16 found = (max(log, all(peak - RANGE)) + 4.0f) * 0.25f;  // speech comes out near [-1, 1]
        std::memcpy(out + mel * stride, &found, n_frames * sizeof(float));
    }
}

}  // namespace sv

extern "C" {

// samples: those that n_frames see. out: (n_mels, stride), of which the first n_frames columns are written.
void sv_mel(const sv::Mels* mels, const float* samples, float peak, float* out, int64_t stride, int32_t n_threads) {
    int n = mels->n_frames;
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int f = 0; f < n; f += 16)
        sv::listen(*mels, samples + (long)f * sv::HOP, n - f < 16 ? n - f : 16, peak, out + f, stride);
}
}
