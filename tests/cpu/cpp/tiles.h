// AMX's tiles in plain C++, so that code for them runs on any CPU. Included before all else, by -include.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

struct Tile {
    uint8_t bytes[16][64];
};

static thread_local Tile tiles[8];

static inline void tile_load(int t, const void* from, long stride) {
    for (int i = 0; i < 16; i++) std::memcpy(tiles[t].bytes[i], (const char*)from + i * stride, 64);
}

static inline void tile_store(int t, void* to, long stride) {
    for (int i = 0; i < 16; i++) std::memcpy((char*)to + i * stride, tiles[t].bytes[i], 64);
}

static inline float half_float(const uint8_t* p) {
    uint8_t wide[4] = {0, 0, p[0], p[1]};
    float x;
    std::memcpy(&x, wide, 4);
    return x;
}

static inline void tile_bf16(int c, int a, int b) {
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            float sum;
            std::memcpy(&sum, tiles[c].bytes[i] + 4 * j, 4);
            for (int p = 0; p < 32; p++)
                sum += half_float(tiles[a].bytes[i] + 2 * p) * half_float(tiles[b].bytes[p / 2] + 4 * j + p % 2 * 2);
            std::memcpy(tiles[c].bytes[i] + 4 * j, &sum, 4);
        }
}

static inline void tile_busd(int c, int a, int b) {
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            int32_t sum;
            std::memcpy(&sum, tiles[c].bytes[i] + 4 * j, 4);
            for (int p = 0; p < 64; p++) sum += tiles[a].bytes[i][p] * (int8_t)tiles[b].bytes[p / 4][4 * j + p % 4];
            std::memcpy(tiles[c].bytes[i] + 4 * j, &sum, 4);
        }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbusd
#define _tile_loadconfig(config) ((void)(config))
#define _tile_release() ((void)0)
#define _tile_loadd(t, from, stride) tile_load(t, from, stride)
#define _tile_stored(t, to, stride) tile_store(t, to, stride)
#define _tile_zero(t) std::memset(&tiles[t], 0, sizeof(Tile))
#define _tile_dpbf16ps(c, a, b) tile_bf16(c, a, b)
#define _tile_dpbusd(c, a, b) tile_busd(c, a, b)
#define __AMX_TILE__ 1
#define __AMX_BF16__ 1
#define __AMX_INT8__ 1
