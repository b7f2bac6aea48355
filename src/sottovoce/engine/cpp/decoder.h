// What a pass of the decoder is told, with which weights, and the memory that it works in. Laid out as kernels.py has it.

#pragma once

#include "layers.h"

namespace sv {

constexpr int MOST_LINES = 128;  // of one pass; a text of 74 tokens takes 16.4 ms, in passes of 64 lines 17.7
constexpr int MORE = 16;  // lines that AMX may read and write beyond
constexpr int MOST_WANTED = 2 * MOST_LINES + BLOCK;  // lines whose logits may be asked for: up to two of each

struct DecoderLayer {
    const float *self_norm, *self_norm_bias;
    Weight self_in;  // query, key and value under one another
    const float* self_in_bias;
    Weight self_out;
    const float* self_out_bias;
    const float *cross_norm, *cross_norm_bias;
    Weight cross_in;  // query alone
    const float* cross_in_bias;
    Weight cross_out;
    const float* cross_out_bias;
    const float *mlp_norm, *mlp_norm_bias;
    Weight mlp_in;
    const float* mlp_in_bias;
    Weight mlp_out;
    const float* mlp_out_bias;
    bf16 *self_k, *self_v;
    void *cross_k, *cross_v;                       // bfloat16, or int8 with scales
    const float *cross_k_scale, *cross_v_scale;  // (slots, H, S padded as above), or null
};

struct Decoder {
    int32_t n_layer, n_state, n_head, n_vocab, n_text, n_audio;
    const float* positions;
    const float *norm, *norm_bias;
    Weight embedding;  // (V, C), V padded to 64: it gives tokens their vectors and vectors their logits
    const DecoderLayer* layers;
};

// What one pass is about. groups: consecutive lines that hear the same slot.
struct Pass {
    int32_t n_lines, n_groups, n_wanted, n_heads, n_ids, lines_of_scores;
    const int32_t *tokens, *positions, *rows;                // (n_lines); row -1: a line that is kept nowhere
    int32_t* sources;                                        // (rows, T) in which row a position of each row lies
    const int32_t *group_slot, *group_line, *group_n_lines;  // (n_groups)
    const int32_t* wanted;                                   // (n_wanted) lines whose logits are asked for
    float* logits;                                           // (n_wanted, V), unless there are known tokens
    const int32_t* known;                                    // (n_wanted) the token after each of these lines, or null
    float* probs;                                            // (n_wanted) how probable it is among ids [0, n_ids)
    const int32_t* heads;                                    // (n_heads, 2) layer and head whose scores are asked for
    float* scores;                                           // (n_heads, lines_of_scores, n_audio)
    int32_t n_threads;
    void* scratch;
};

// Of the logits of a line that were seen: the sum of exp(logit - top), by place in a vector.
struct Total {
    float sum[16];
    float top;
};

struct Scratch {
    float* x;                    // (lines, C) the residual stream
    bf16 *h, *q, *heard, *wide;  // normed; queries; what attention gave; (lines, 4C)
    float* c;                    // per thread: ROOM for products of 64 columns
    float* scores;               // per thread: (16 lines, keys)
    bf16* probs;                 // per thread: (16 lines, values)
    ByteLines bytes;             // per thread: lines as weights of bytes want them
    Total* totals;               // per thread: of each wanted line
    int keys, values, n_scores;
};

static size_t lay_out(const Decoder& d, int n_threads, char* base, Scratch* s) {
    char* at = base;
    size_t lines = MOST_LINES + MORE, C = d.n_state;
    s->keys = (d.n_audio + 63) & ~63;
    s->values = (d.n_audio + 31) & ~31;
    s->x = (float*)take(&at, lines * C * 4);
    s->h = (bf16*)take(&at, MOST_WANTED * C * 2);
    s->q = (bf16*)take(&at, lines * C * 2);
    s->heard = (bf16*)take(&at, lines * C * 2);
    s->wide = (bf16*)take(&at, lines * 4 * C * 2);
    s->c = (float*)take(&at, (size_t)n_threads * ROOM * 4);
    s->n_scores = MORE * s->keys > d.n_text + 16 ? MORE * s->keys : d.n_text + 16;
    s->scores = (float*)take(&at, (size_t)n_threads * s->n_scores * 4);
    s->probs = (bf16*)take(&at, (size_t)n_threads * MORE * s->values * 2);
    s->bytes.bytes = (uint8_t*)take(&at, n_threads * (MOST_LINES + BLOCK) * 4 * C);
    s->bytes.scale = (float*)take(&at, (size_t)n_threads * MOST_WANTED * 4);
    s->bytes.zero = (int32_t*)take(&at, (size_t)n_threads * MOST_WANTED * 4);
    s->totals = (Total*)take(&at, n_threads * MOST_WANTED * sizeof(Total));
    return at - base;
}

static inline ByteLines bytes_of(const Decoder& d, const Scratch& s, int thread) {
    long lines = (long)thread * MOST_WANTED;
    uint8_t* bytes = s.bytes.bytes + (long)thread * (MOST_LINES + BLOCK) * 4 * d.n_state;
    return {bytes, 0, s.bytes.scale + lines, s.bytes.zero + lines};
}

}  // namespace sv
