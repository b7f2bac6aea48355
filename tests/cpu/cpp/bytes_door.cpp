// A door to bytes.h and attend.h for tests: lines become bytes and are multiplied; one head attends.

#include "attend.h"

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

// q, k, v: (lines, 64) floats, lines a multiple of 32, of which n_keys are real. out: (lines, 64) bfloat16.
// scratch: whatever is in it, 256 kB and 2 kB a line
void sv_attend8(int lines, int n_keys, const float* q, const float* k, const float* v, uint16_t* out, char* scratch) {
    using namespace sv;
    int keys = (n_keys + SPAN - 1) / SPAN * SPAN, room = keys > lines ? keys : lines;
    char* at = scratch;
    Head8 h = {};
    h.q = (uint8_t*)take(&at, lines * HEAD);
    h.k = (int8_t*)take(&at, room * HEAD);
    h.v = (int8_t*)take(&at, room * HEAD);
    h.q_scale = (float*)take(&at, lines * 4);
    h.k_scale = (float*)take(&at, room * 4);
    h.v_scale = (float*)take(&at, room * 4);
    h.k_shift = (int32_t*)take(&at, room * 4);
    h.stride = HEAD;
    float* scores = (float*)take(&at, QUERIES * keys * 4);
    uint8_t* p = (uint8_t*)take(&at, QUERIES * keys);
    float* step = (float*)take(&at, QUERIES * keys / SPAN * 4);
    float* c = (float*)take(&at, QUERIES * GROUP * 8);
    begin_tiles();
    for (int m = 0; m < lines; m += BLOCK) {
        pack_queries8(q + m * HEAD, h, m);
        pack_keys8(k + m * HEAD, h, m);
        pack_values8(v + m * HEAD, h, m);
    }
    for (int m = 0; m < lines; m += QUERIES)
        attend8(h, m, n_keys, keys, scores, p, step, c, out + (long)m * HEAD, HEAD);
    end_tiles();
}
}
