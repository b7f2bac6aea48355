// A door to bytes.h for tests: lines become bytes and are multiplied.

#include "layers.h"

extern "C" {

int sv_most_byte() { return sv::MOST_BYTE; }

// x: (n_lines, K). bytes, scale, zero: what they become, with room for whole blocks. out: (n_lines, N)
void sv_multiply_bytes(int n_lines, int K, int N, const float* x, const void* packed, const float* column_scale,
                       const int32_t* sums, uint8_t* bytes, float* scale, int32_t* zero, float* out) {
    using namespace sv;
    alignas(64) float c[BLOCK * GROUP];
    ByteLines lines = {bytes, K, scale, zero};
    begin_tiles();
    for (int m = 0; m < n_lines; m++) to_bytes(x + (long)m * K, lines, m);
    Weight weight = {packed, column_scale, sums};
    linear(lines, n_lines, weight, {0, N / GROUP}, c, [&](int column, int first, int n, float* c) {
        for (int m = 0; m < n; m++) std::memcpy(out + (long)(first + m) * N + column, c + m * GROUP, GROUP * 4);
    });
    end_tiles();
}
}
