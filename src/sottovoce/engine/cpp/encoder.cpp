// The audio encoder. Knows no request.
//
// A window is worked on in chunks of up to 384 positions, each of which goes from its queries, keys and values of one
// layer to those of the next without leaving the cache of its thread; only attention sees all of a window.

#include "attend.h"

namespace sv {

constexpr int CHUNK = 12 * BLOCK;  // positions; (CHUNK, 4C) bfloat16 of base are 1.5 MB
constexpr int SUMS = ROOM > 2 * BLOCK * GROUP ? ROOM : 2 * BLOCK * GROUP;  // floats of a linear layer, or of attend8

struct EncoderLayer {
    const float *norm, *norm_bias;
    Weight attn_in;  // query, key and value under one another
    const float* attn_in_bias;
    Weight attn_out;
    const float* attn_out_bias;
    const float *mlp_norm, *mlp_norm_bias;
    Weight mlp_in;
    const float* mlp_in_bias;
    Weight mlp_out;
    const float* mlp_out_bias;
};

struct Encoder {
    int32_t n_layer, n_state, n_head, n_audio, attention_bits;
    const float *norm, *norm_bias;
    const EncoderLayer* layers;
};

struct Hearing {
    int lines;   // positions of a window, padded to BLOCK
    int keys;    // padded to GROUP
    int keys8;   // padded to SPAN, for attention in 8 bits
    float* x;    // (W, lines, C) the residual stream
    bf16 *q, *k, *v, *heard;
    // per thread
    bf16 *h, *wide, *probs;
    float *c, *scores, *step;
    ByteLines bytes;  // what the layer at work takes, as bytes
    // for attention in 8 bits, which keeps its numbers in q, k, v and probs: per window and head
    float *q_scale, *k_scale, *v_scale;
    int32_t* k_shift;
};

static size_t lay_out(const Encoder& e, int n_windows, int n_threads, char* base, Hearing* s) {
    char* at = base;
    size_t C = e.n_state, W = n_windows, T = n_threads;
    s->lines = (e.n_audio + BLOCK - 1) & ~(BLOCK - 1);
    s->keys = (e.n_audio + GROUP - 1) & ~(GROUP - 1);
    s->keys8 = (e.n_audio + SPAN - 1) & ~(SPAN - 1);
    size_t H = W * e.n_head, most = 2 * s->lines > s->keys8 ? 2 * s->lines : s->keys8;
    s->x = (float*)take(&at, W * s->lines * C * 4);
    s->q = (bf16*)take(&at, W * s->lines * C * 2);
    s->k = (bf16*)take(&at, W * s->keys * C * 2);
    s->v = (bf16*)take(&at, W * most * C);
    s->heard = (bf16*)take(&at, W * s->lines * C * 2);
    s->h = (bf16*)take(&at, T * CHUNK * C * 2);
    s->wide = (bf16*)take(&at, T * CHUNK * 4 * C * 2);
    s->probs = (bf16*)take(&at, T * QUERIES * most);
    s->c = (float*)take(&at, T * SUMS * 4);
    s->scores = (float*)take(&at, T * QUERIES * s->keys8 * 4);
    s->step = (float*)take(&at, T * QUERIES * (s->keys8 / SPAN) * 4);
    s->q_scale = (float*)take(&at, H * s->lines * 4);
    s->k_scale = (float*)take(&at, H * s->keys8 * 4);
    s->v_scale = (float*)take(&at, H * s->keys8 * 4);
    s->k_shift = (int32_t*)take(&at, H * s->keys8 * 4);
    s->bytes.bytes = (uint8_t*)take(&at, T * CHUNK * 4 * C);
    s->bytes.scale = (float*)take(&at, T * CHUNK * 4);
    s->bytes.zero = (int32_t*)take(&at, T * CHUNK * 4);
    return at - base;
}

// What one thread works with
struct Desk {
    bf16 *h, *wide, *probs;
    float *c, *scores, *step;
    ByteLines bytes;
};

static Desk desk_of(const Encoder& e, const Hearing& s, int thread) {
    long C = e.n_state, lines = (long)thread * CHUNK;
    ByteLines bytes = {s.bytes.bytes + lines * 4 * C, 0, s.bytes.scale + lines, s.bytes.zero + lines};
    long most = 2 * s.lines > s.keys8 ? 2 * s.lines : s.keys8;
    bf16* probs = s.probs + (long)thread * QUERIES * most / 2;
    float* scores = s.scores + (long)thread * QUERIES * s.keys8;
    float* step = s.step + (long)thread * QUERIES * (s.keys8 / SPAN);
    float* c = s.c + (long)thread * SUMS;
    return {s.h + lines * C, s.wide + lines * 4 * C, probs, c, scores, step, bytes};
}

static Head8 head_of(const Encoder& e, const Hearing& s, int window, int head) {
    long C = e.n_state, i = (long)window * e.n_head + head, at = i * s.keys8;
    return {(uint8_t*)s.q + (long)window * s.lines * C + head * HEAD, s.q_scale + i * s.lines, (int8_t*)s.k + at * HEAD,
            (int8_t*)s.v + at * HEAD, s.k_scale + at, s.v_scale + at, s.k_shift + at, C};
}

// A linear layer of a chunk, behind a norm. x: (n_lines, C)
template <typename Use>
static inline void normed(const float* x, int C, int n_lines, const float* norm, const float* bias, const Weight& w,
                          int n_out, const Desk& d, Use use) {
    for (int m = 0; m < n_lines; m++) norm_line(x + (long)m * C, C, norm, bias, d.h + (long)m * C);
    linear(d.h, C, n_lines, w, {0, n_out / GROUP}, d.c, d.bytes, use);
}

static void project(const Encoder& e, const EncoderLayer& l, const Hearing& s, int window, Part lines, const Desk& d) {
    int C = e.n_state;
    const float* x = s.x + ((long)window * s.lines + lines.begin) * C;
    auto pack = [&](int column, int first, int n, float* c) {
        int which = column / C, head = column % C / HEAD, line = lines.begin + first;
        finish_block(c, l.attn_in_bias + column, n, e.n_audio - line);
        if (e.attention_bits == 8) {
            Head8 h = head_of(e, s, window, head);
            if (which == 0) return pack_queries8(c, h, line);
            return which == 1 ? pack_keys8(c, h, line) : pack_values8(c, h, line);
        }
        if (which == 1) return pack_keys(c, s.k + ((long)window * e.n_head + head) * s.keys * HEAD, line);
        if (which == 2) return pack_values(c, s.v + ((long)window * e.n_head + head) * s.lines * HEAD, line);
        for (int m = 0; m < n; m++)
            for (int i = 0; i < HEAD; i += 16)
                narrow(s.q + ((long)window * s.lines + line + m) * C + column + i, load<v16>(c + m * GROUP + i) * 0.125f);
    };
    normed(x, C, lines.end - lines.begin, l.norm, l.norm_bias, l.attn_in, 3 * C, d, pack);
}

static void attend(const Encoder& e, const Hearing& s, int window, int head, int line, const Desk& d) {
    int C = e.n_state;
    bf16* out = s.heard + ((long)window * s.lines + line) * C + head * HEAD;
    if (e.attention_bits == 8) {
        Head8 h = head_of(e, s, window, head);
        return attend8(h, line, e.n_audio, s.keys8, d.scores, (uint8_t*)d.probs, d.step, d.c, out, C);
    }
    float *scores = d.scores, *c = d.c;
    bf16* probs = d.probs;
    const bf16* q = s.q + ((long)window * s.lines + line) * C + head * HEAD;
    const bf16* k = s.k + ((long)window * e.n_head + head) * s.keys * HEAD;
    const bf16* v = s.v + ((long)window * e.n_head + head) * s.lines * HEAD;
    if (FLOATS) return attend_floats(q, k, v, C, e.n_audio, s.keys, scores, c, out);
    v16 top[QUERIES], unused[QUERIES] = {};
    for (v16& t : top) t = all(-__builtin_inff());
    int last = s.keys / GROUP - 1;  // some of its keys may lie beyond the window
    scores32(q, C, k, last, scores, s.keys, top);
    scores32(q, C, k + (long)last * GROUP * HEAD, 1, scores + last * GROUP, s.keys, unused);
    for (int m = 0; m < QUERIES; m++)
        for (int i = last * GROUP; i < e.n_audio; i++)
            top[m][0] = top[m][0] > scores[(long)m * s.keys + i] ? top[m][0] : scores[(long)m * s.keys + i];
    float sums[QUERIES];
    for (int m = 0; m < QUERIES; m++) {
        const float* from = scores + (long)m * s.keys;
        bf16* to = probs + (long)m * s.lines;
        v16 total = {}, shift = all(largest(top[m]) * LOG2E);
        int whole = e.n_audio & ~15;
        for (int i = 0; i < whole; i += 16) {
            v16 p = exp2_rough(load<v16>(from + i) * LOG2E - shift);
            total += p;
            narrow(to + i, p);
        }
        for (int i = whole; i < s.lines; i++) {
            float p = i < e.n_audio ? exp2_rough(all(from[i] * LOG2E) - shift)[0] : 0;
            total[0] += p;
            to[i] = narrow1(p);
        }
        sums[m] = sum(total);
    }
    product(probs, s.lines, QUERIES, v, s.lines / TILE_K, c, GROUP);
    for (int m = 0; m < QUERIES; m++)
        for (int i = 0; i < HEAD; i += 16)
            narrow(out + (long)m * C + i, load<v16>(c + m * GROUP + i) * (1.0f / sums[m]));
}

static void add_layer(const Encoder& e, const bf16* from, int n_in, int n_lines, const Weight& weight,
                      const float* bias, float* x, const Desk& d) {
    int C = e.n_state;
    linear(from, n_in, n_lines, weight, {0, C / GROUP}, d.c, d.bytes, [&](int column, int first, int n, const float* c) {
        for (int m = 0; m < n; m++)
            for (int i = 0; i < GROUP; i += 16) {
                float* at = x + (long)(first + m) * C + column + i;
                store(at, load<v16>(at) + load<v16>(c + m * GROUP + i) + load<v16>(bias + column + i));
            }
    });
}

static void digest(const Encoder& e, const EncoderLayer& l, const Hearing& s, int window, Part lines, const Desk& d) {
    int C = e.n_state, n = lines.end - lines.begin;
    long first = (long)window * s.lines + lines.begin;
    float* x = s.x + first * C;
    add_layer(e, s.heard + first * C, C, n, l.attn_out, l.attn_out_bias, x, d);
    auto widen = [&](int column, int first, int n, const float* c) {
        for (int m = 0; m < n; m++)
            for (int i = 0; i < GROUP; i += 16)
                narrow(d.wide + (long)(first + m) * 4 * C + column + i,
                       gelu(load<v16>(c + m * GROUP + i) + load<v16>(l.mlp_in_bias + column + i)));
    };
    normed(x, C, n, l.mlp_norm, l.mlp_norm_bias, l.mlp_in, 4 * C, d, widen);
    add_layer(e, d.wide, 4 * C, n, l.mlp_out, l.mlp_out_bias, x, d);
}

}  // namespace sv

extern "C" {

int64_t sv_encoder_scratch(const sv::Encoder* e, int32_t n_windows, int32_t n_threads) {
    sv::Hearing s;
    return (int64_t)sv::lay_out(*e, n_windows, n_threads, nullptr, &s);
}

// The two convolutions: a line of the product is what three frames hold, which lie after one another in memory already.
// mel: (W, 2 n_audio + 2, n_mels) bfloat16, a zero frame on either side. between: (W, 2 n_audio + 2, C), zero there too.
// Both with 64 lines of any content behind. weights: (C, 3 n_mels) and (C, 3 C), tap by tap, packed.
// x: (W, n_audio, C) float32, with positions (n_audio, C) added. scratch: as of sv_encode.
void sv_convolve(int32_t n_windows, int32_t n_audio, int32_t n_mels, int32_t n_state, const sv::bf16* mel,
                 const sv::bf16* first, const float* first_bias, const sv::bf16* second, const float* second_bias,
                 const float* positions, sv::bf16* between, float* x, int32_t n_threads, void* scratch) {
    using namespace sv;
    int C = n_state, frames = 2 * n_audio;
    Meeting meeting;
#pragma omp parallel num_threads(n_threads)
    {
        int thread = this_thread(), n = team_size();
        float* c = (float*)scratch + (long)thread * SUMS;
        begin_tiles();
        for (int w = 0; w < n_windows; w++) {
            Part mine = part((frames + BLOCK - 1) / BLOCK, thread, n);
            int from = mine.begin * BLOCK, to = mine.end * BLOCK < frames ? mine.end * BLOCK : frames;
            const bf16* a = mel + ((long)w * (frames + 2) + from) * n_mels;
            bf16* out = between + ((long)w * (frames + 2) + from + 1) * C;
            linear(a, n_mels, to - from, first, 3 * n_mels, {0, C / GROUP}, c, [&](int column, int line, int n, float* c) {
                for (int m = 0; m < n; m++)
                    for (int i = 0; i < GROUP; i += 16)
                        narrow(out + (long)(line + m) * C + column + i,
                               gelu(load<v16>(c + m * GROUP + i) + load<v16>(first_bias + column + i)));
            });
        }
        meeting.wait(n);
        for (int w = 0; w < n_windows; w++) {
            Part mine = part((n_audio + BLOCK - 1) / BLOCK, thread, n);
            int from = mine.begin * BLOCK, to = mine.end * BLOCK < n_audio ? mine.end * BLOCK : n_audio;
            const bf16* a = between + ((long)w * (frames + 2) + 2 * from) * C;
            float* out = x + ((long)w * n_audio + from) * C;
            linear(a, 2 * C, to - from, second, 3 * C, {0, C / GROUP}, c, [&](int column, int line, int n, float* c) {
                for (int m = 0; m < n; m++)
                    for (int i = 0; i < GROUP; i += 16)
                        store(out + (long)(line + m) * C + column + i,
                              gelu(load<v16>(c + m * GROUP + i) + load<v16>(second_bias + column + i)) +
                                  load<v16>(positions + (long)(from + line + m) * C + column + i));
            });
        }
        end_tiles();
    }
}

// x: (W, n_audio, C) float32, convolved and with positions. features: (W, n_audio, C) bfloat16.
void sv_encode(const sv::Encoder* e, int32_t n_windows, const float* x, sv::bf16* features, int32_t n_threads,
               void* scratch) {
    using namespace sv;
    Hearing s;
    lay_out(*e, n_windows, n_threads, (char*)scratch, &s);
    int C = e->n_state, S = e->n_audio;
    Meeting meeting;
#pragma omp parallel num_threads(n_threads)
    {
        int thread = this_thread(), n = team_size();
        Desk d = desk_of(*e, s, thread);
        // chunks: as many as the threads need, none above CHUNK, all whole blocks
        int blocks = s.lines / BLOCK, least = (blocks * BLOCK + CHUNK - 1) / CHUNK;
        int per_window = least;
        while (n_windows * per_window % n && per_window < blocks) per_window++;
        Part mine = part(n_windows * per_window, thread, n);
        auto lines_of = [&](int i) {
            Part b = part(blocks, i % per_window, per_window);
            return Part{b.begin * BLOCK, b.end * BLOCK};
        };
        begin_tiles();
        for (int i = mine.begin; i < mine.end; i++) {
            int w = i / per_window;
            Part lines = lines_of(i);
            for (int m = lines.begin; m < lines.end; m++) {
                float* to = s.x + ((long)w * s.lines + m) * C;
                if (m < S)
                    std::memcpy(to, x + ((long)w * S + m) * C, C * 4);
                else
                    std::memset(to, 0, C * 4);
            }
            project(*e, e->layers[0], s, w, lines, d);
        }
        for (int layer = 0; layer < e->n_layer; layer++) {
            meeting.wait(n);
            Part pieces = part(n_windows * e->n_head * blocks, thread, n);
            for (int i = pieces.begin; i < pieces.end; i++)
                attend(*e, s, i / (e->n_head * blocks), i / blocks % e->n_head, i % blocks * QUERIES, d);
            meeting.wait(n);
            for (int i = mine.begin; i < mine.end; i++) {
                int w = i / per_window;
                digest(*e, e->layers[layer], s, w, lines_of(i), d);
                if (layer + 1 < e->n_layer) project(*e, e->layers[layer + 1], s, w, lines_of(i), d);
            }
        }
        for (int i = mine.begin; i < mine.end; i++) {
            Part lines = lines_of(i);
            for (int m = lines.begin; m < lines.end && m < S; m++)
                norm_line(s.x + ((long)(i / per_window) * s.lines + m) * C, C, e->norm, e->norm_bias,
                          features + ((long)(i / per_window) * S + m) * C);
        }
        end_tiles();
    }
}
}
