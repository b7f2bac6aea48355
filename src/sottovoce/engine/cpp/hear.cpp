// The projection of what the encoder heard into the decoder's slots. Knows no request.

#include "attend.h"

namespace sv {

// 32 lines of one head as whole numbers of 8 bits, each line with its scale, packed in pairs: keys as the columns of a
// matrix (two numbers of a key together), values as its lines (a number of two values together).
static inline void pack8(const float* c, int8_t* to, float* scale, int line, bool is_key) {
    alignas(64) int8_t rows[BLOCK][HEAD];
    for (int m = 0; m < BLOCK; m++) {
        v16 top = {};
        for (int i = 0; i < HEAD; i += 16) {
            v16 x = load<v16>(c + m * GROUP + i);
            top = max(top, max(x, -x));
        }
        float most = largest(top);
        scale[line + m] = most / 127.0f;
        float each = most > 0 ? 127.0f / most : 0.0f;
        for (int i = 0; i < HEAD; i += 16) narrow8(rows[m] + i, load<v16>(c + m * GROUP + i) * each);
    }
    if (is_key) {
        int8_t* at = to + (long)(line / GROUP) * GROUP * HEAD + line % GROUP * 2;
        for (int p = 0; p < HEAD / 2; p++, at += PAIR_LINE)
            for (int m = 0; m < BLOCK; m++) std::memcpy(at + 2 * m, rows[m] + 2 * p, 2);
        return;
    }
    int8_t* at = to + (long)line * HEAD;
    for (int m = 0; m < BLOCK; m += 2)
        for (int i = 0; i < HEAD; i++, at += 2) {
            at[0] = rows[m][i];
            at[1] = rows[m + 1][i];
        }
}

// What sv_hear works with; each by thread
struct Ear {
    float* c;    // ROOM
    bf16* tail;  // (32, C)
    ByteLines bytes;
    long n_lines;  // room for a window's lines as bytes
};

static size_t lay_out(int n_audio, int C, int n_threads, char* base, Ear* e) {
    char* at = base;
    size_t T = n_threads;
    e->n_lines = ((n_audio + BLOCK - 1) & ~(BLOCK - 1)) + BLOCK;
    e->c = (float*)take(&at, T * ROOM * 4);
    e->tail = (bf16*)take(&at, T * BLOCK * C * 2);
    e->bytes.bytes = (uint8_t*)take(&at, T * e->n_lines * C);
    e->bytes.scale = (float*)take(&at, T * e->n_lines * 4);
    e->bytes.zero = (int32_t*)take(&at, T * e->n_lines * 4);
    return at - base;
}

}  // namespace sv

extern "C" {

int64_t sv_hear_scratch(int32_t n_audio, int32_t n_state, int32_t n_threads) {
    sv::Ear e;
    return (int64_t)sv::lay_out(n_audio, n_state, n_threads, nullptr, &e);
}

// What a decoder layer hears of encoded windows: keys and values into slots.
// features: (W, n_audio, C) bfloat16. weight: keys and values of one layer under one another; bias likewise.
// cross_k, cross_v and, for 8 bits, their scales (else null): the layer's pools as decoder.cpp describes them.
void sv_hear(int32_t n_windows, int32_t n_audio, int32_t n_state, const sv::bf16* features, const sv::Weight* weight,
             const float* bias, const int32_t* slots, void* cross_k, void* cross_v, float* k_scale, float* v_scale,
             int32_t n_threads, void* scratch) {
    using namespace sv;
    int C = n_state, n_head = C / HEAD, lines = (n_audio + BLOCK - 1) & ~(BLOCK - 1);
    int keys = (n_audio + GROUP - 1) & ~(GROUP - 1), blocks = lines / BLOCK;
    Ear ear;
    lay_out(n_audio, C, n_threads, (char*)scratch, &ear);
#pragma omp parallel num_threads(n_threads)
    {
        int thread = this_thread(), n = team_size();
        long room = (long)thread * ear.n_lines;
        float* c = ear.c + (long)thread * ROOM;
        bf16* tail = ear.tail + (long)thread * BLOCK * C;
        ByteLines bytes = {ear.bytes.bytes + room * C, C, ear.bytes.scale + room, ear.bytes.zero + room};
        Part mine = part(n_windows * blocks, thread, n);
        begin_tiles();
        for (int i = mine.begin; i < mine.end;) {  // as far as they lie in one window
            int w = i / blocks, begin = i % blocks * BLOCK, next = (w + 1) * blocks;
            int past = next < mine.end ? next : mine.end, end = begin + (past - i) * BLOCK;
            int whole = (end < n_audio ? end : n_audio) & ~(BLOCK - 1);
            auto keep = [&](int column, int line, float* c) {
                finish_block(c, bias + column, BLOCK, n_audio - line);
                int head = column / GROUP % n_head;
                bool is_key = column < C;
                long at = ((long)slots[w] * n_head + head) * (is_key ? keys : lines);
                void* to = is_key ? cross_k : cross_v;
                if (k_scale)
                    pack8(c, (int8_t*)to + at * HEAD, (is_key ? k_scale : v_scale) + at, line, is_key);
                else if (is_key)
                    pack_keys(c, (bf16*)to + at * HEAD, line);
                else
                    pack_values(c, (bf16*)to + at * HEAD, line);
            };
            const bf16* a = features + ((long)w * n_audio + begin) * C;
            Part groups = {0, 2 * C / GROUP};
            linear(a, C, whole - begin, *weight, groups, c, bytes,
                   [&](int column, int first, int, float* c) { keep(column, begin + first, c); });
            if (whole < end) {  // a block that reaches beyond the window is read from a copy
                std::memset(tail, 0, (size_t)BLOCK * C * 2);
                std::memcpy(tail, a + (long)(whole - begin) * C, (size_t)(n_audio - whole) * C * 2);
                linear(tail, C, BLOCK, *weight, groups, c, bytes,
                       [&](int column, int, int, float* c) { keep(column, whole, c); });
            }
            i = past;
        }
        end_tiles();
    }
}
}
