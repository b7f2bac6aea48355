// The text decoder, one pass over a few lines: a line is one token of one row. All layers in one call, on the caller's
// OpenMP threads. Knows no request.
//
//     self_k, self_v    (rows, H, T, 64); what a row heard at a position may lie in another one (sources)
//     cross_k           (slots, H, keys packed as the columns of a matrix: 64 x S, S padded to 64)
//     cross_v           (slots, H, values packed as the lines of a matrix: S x 64, S padded to 32)
//
// or, where there are scales, 8-bit whole numbers, each key and each value (64 numbers) with a scale of its own:
//
//     cross_k           (slots, H, S / 64, 32, 64, 2): of 64 keys, two numbers together
//     cross_v           (slots, H, S / 2, 64, 2): of two values, number by number
//
// The residual stream, norms, softmax and sums are float32; products take bfloat16, or whole numbers of 16 and 8 bits.

#include "decoder.h"

#include <algorithm>

namespace sv {

static void attend_self(const Decoder& d, const DecoderLayer& l, const Pass& p, const Scratch& s, int line, int head,
                        float* scores) {
    int C = d.n_state, row = p.rows[line];
    bf16* out = s.heard + (long)line * C + head * HEAD;
    if (row < 0) return;  // it hears itself alone: its value stands there already
    const bf16* q = s.q + (long)line * C + head * HEAD;
    const int32_t* source = p.sources + (long)row * d.n_text;
    auto place = [&](int t) { return (((long)source[t] * d.n_head + head) * d.n_text + t) * HEAD; };
    int n = p.positions[line] + 1;
    v16 q0 = widen(q), q1 = widen(q + 16), q2 = widen(q + 32), q3 = widen(q + 48);
    float top = -__builtin_inff();
    for (int t = 0; t < n; t++) {
        const bf16* kt = l.self_k + place(t);
        float x = sum(q0 * widen(kt) + q1 * widen(kt + 16) + q2 * widen(kt + 32) + q3 * widen(kt + 48));
        scores[t] = x;
        top = x > top ? x : top;
    }
    for (int t = n; t & 15; t++) scores[t] = -__builtin_inff();
    v16 total = {}, o0 = {}, o1 = {}, o2 = {}, o3 = {};
    for (int t = 0; t < n; t += 16) {
        v16 e = exp_neg(load<v16>(scores + t) - top);
        store(scores + t, e);
        total += e;
    }
    for (int t = 0; t < n; t++) {
        const bf16* vt = l.self_v + place(t);
        o0 += widen(vt) * scores[t];
        o1 += widen(vt + 16) * scores[t];
        o2 += widen(vt + 32) * scores[t];
        o3 += widen(vt + 48) * scores[t];
    }
    float scale = 1.0f / sum(total);
    narrow(out, o0 * scale);
    narrow(out + 16, o1 * scale);
    narrow(out + 32, o2 * scale);
    narrow(out + 48, o3 * scale);
}

// Scores of queries against 8-bit keys. q: (n_lines, 64) bfloat16; scores: (n_lines, n_keys)
static void score8(const bf16* q, long ldq, int n_lines, const int8_t* k, const float* scale, int n_keys, float* scores) {
    alignas(64) int16_t whole[MORE][HEAD];
    float factor[MORE];
    for (int m = 0; m < n_lines; m++) factor[m] = narrow16(q + m * ldq, HEAD, whole[m]);
    std::memset(scores, 0, sizeof(float) * n_lines * n_keys);
    for (int g = 0; g < n_keys; g += GROUP) {
        product8(whole[0], HEAD, n_lines, k + (long)g * HEAD, HEAD / 2, factor, scores + g, n_keys);
        for (int m = 0; m < n_lines; m++)
            for (int i = g; i < g + GROUP; i += 16)
                store(scores + (long)m * n_keys + i, load<v16>(scores + (long)m * n_keys + i) * load<v16>(scale + i));
    }
}

// Scores -> probabilities of one line in place, each times the scale of its value; returns their sum. Lines are padded
// with zeros to `end`.
static float soften8(float* scores, int n, int end, const float* scale) {
    float m = -__builtin_inff();
    v16 top = all(m), total = {};
    int whole = n & ~15;
    for (int s = 0; s < whole; s += 16) top = max(top, load<v16>(scores + s));
    m = largest(top);
    for (int s = whole; s < n; s++) m = scores[s] > m ? scores[s] : m;
    for (int s = 0; s < whole; s += 16) {
        v16 e = exp_neg(load<v16>(scores + s) - m);
        total += e;
        store(scores + s, e * load<v16>(scale + s));
    }
    for (int s = whole; s < n; s++) {
        float e = exp_neg(all(scores[s] - m))[0];
        total[0] += e;
        scores[s] = e * scale[s];
    }
    for (int s = n; s < end; s++) scores[s] = 0;
    return sum(total);
}

// Values by their probabilities. weights: (n_lines, n) float32; every 64 of them are made whole numbers by themselves, so
// that many small ones beside a large one are not lost. c: (n_lines, 64)
static void gather8(const float* weights, long ldw, int n_lines, const int8_t* v, int n, float* c) {
    alignas(64) int16_t whole[MORE][GROUP];
    float factor[MORE];
    std::memset(c, 0, sizeof(float) * n_lines * HEAD);
    for (int s = 0; s < n; s += GROUP) {
        int width = n - s < GROUP ? n - s : GROUP;
        for (int m = 0; m < n_lines; m++) factor[m] = narrow16(weights + m * ldw + s, width, whole[m]);
        product8(whole[0], GROUP, n_lines, v + (long)s * HEAD, width / 2, factor, c, HEAD);
    }
}

// Up to 16 lines of one slot, one head.
static void attend_cross(const Decoder& d, const DecoderLayer& l, int i_layer, const Pass& p, const Scratch& s, int slot,
                         int first, int n_lines, int head, float* scores, bf16* probs, float* c) {
    int C = d.n_state, S = d.n_audio;
    long at = (long)slot * d.n_head + head;
    const bf16* q = s.q + (long)first * C + head * HEAD;
    if (l.cross_k_scale)
        score8(q, C, n_lines, (const int8_t*)l.cross_k + at * s.keys * HEAD, l.cross_k_scale + at * s.keys, s.keys, scores);
    else
        for (int g = 0; g < s.keys / GROUP; g++)
            product(q, C, n_lines, (const bf16*)l.cross_k + at * s.keys * HEAD + (long)g * GROUP * HEAD, HEAD / TILE_K,
                    scores + g * GROUP, s.keys);
    for (int w = 0; w < p.n_heads; w++)
        if (p.heads[2 * w] == i_layer && p.heads[2 * w + 1] == head)
            for (int m = 0; m < n_lines; m++)
                std::memcpy(p.scores + ((long)w * p.lines_of_scores + first + m) * S, scores + (long)m * s.keys, S * 4);
    float sums[MORE];
    if (l.cross_v_scale) {
        const float* scale = l.cross_v_scale + at * s.values;
        for (int m = 0; m < n_lines; m++) sums[m] = soften8(scores + (long)m * s.keys, S, s.values, scale);
        gather8(scores, s.keys, n_lines, (const int8_t*)l.cross_v + at * s.values * HEAD, s.values, c);
    } else {
        for (int m = 0; m < n_lines; m++) sums[m] = soften(scores + (long)m * s.keys, S, probs + (long)m * s.values);
        product(probs, s.values, n_lines, (const bf16*)l.cross_v + at * s.values * HEAD, s.values / TILE_K, c, 64);
    }
    for (int m = 0; m < n_lines; m++)
        for (int i = 0; i < HEAD; i += 16)
            narrow(s.heard + (long)(first + m) * C + head * HEAD + i, load<v16>(c + m * 64 + i) * (1.0f / sums[m]));
}

// One thread's share of a layer's attention to sound: pieces of (16 lines of a group) x head.
static void attend_sounds(const Decoder& d, const DecoderLayer& l, int i_layer, const Pass& p, const Scratch& s,
                          int thread, int n_threads, float* c) {
    float* scores = s.scores + (long)thread * s.n_scores;
    bf16* probs = s.probs + (long)thread * MORE * s.values;
    int n_pieces = 0;
    for (int g = 0; g < p.n_groups; g++) n_pieces += (p.group_n_lines[g] + MORE - 1) / MORE;
    Part mine = part(n_pieces * d.n_head, thread, n_threads);
    int i_piece = 0;
    for (int g = 0; g < p.n_groups; g++)
        for (int m = 0; m < p.group_n_lines[g]; m += MORE, i_piece++)
            for (int head = 0; head < d.n_head; head++) {
                int i = i_piece * d.n_head + head;
                if (i < mine.begin || i >= mine.end) continue;
                int n = p.group_n_lines[g] - m < MORE ? p.group_n_lines[g] - m : MORE;
                attend_cross(d, l, i_layer, p, s, p.group_slot[g], p.group_line[g] + m, n, head, scores, probs, c);
            }
}

// Adds a linear layer of `from` (lines x n_in) to the residual stream.
static void add_linear(const Decoder& d, const Pass& p, const Scratch& s, const bf16* from, int n_in,
                       const Weight& weight, const float* bias, Part groups, float* c, ByteLines bytes) {
    linear(from, n_in, p.n_lines, weight, groups, c, bytes, [&](int column, int first, int n, const float* c) {
        for (int m = 0; m < n; m++)
            for (int i = 0; i < 64; i += 16) {
                float* x = s.x + (long)(first + m) * d.n_state + column + i;
                store(x, load<v16>(x) + load<v16>(c + m * 64 + i) + load<v16>(bias + column + i));
            }
    });
}

static void project_self(const Decoder& d, const DecoderLayer& l, const Pass& p, const Scratch& s, Part groups,
                         float* c, ByteLines bytes) {
    int C = d.n_state;
    linear(s.h, C, p.n_lines, l.self_in, groups, c, bytes, [&](int column, int first, int n, const float* c) {
        int which = column / C, head = column % C / HEAD;  // a group of 64 columns is one head
        for (int m = 0; m < n; m++) {
            int line = first + m, row = p.rows[line];
            long cached = (((long)row * d.n_head + head) * d.n_text + p.positions[line]) * HEAD;
            bf16* to = which == 0 ? s.q + (long)line * C + head * HEAD : (which == 1 ? l.self_k : l.self_v) + cached;
            if (which > 0 && row < 0) {
                if (which == 1) continue;
                to = s.heard + (long)line * C + head * HEAD;
            }
            if (which == 1 && head == 0) p.sources[(long)row * d.n_text + p.positions[line]] = row;
            float scale = which == 0 ? 0.125f : 1.0f;  // 64 ** -0.5
            for (int i = 0; i < HEAD; i += 16)
                narrow(to + i, (load<v16>(c + m * 64 + i) + load<v16>(l.self_in_bias + column + i)) * scale);
        }
    });
}

static void norm_lines(const Scratch& s, int width, const float* weight, const float* bias, Part lines) {
    for (int m = lines.begin; m < lines.end; m++)
        norm_line(s.x + (long)m * width, width, weight, bias, s.h + (long)m * width);
}

static void layer(const Decoder& d, int i_layer, const Pass& p, const Scratch& s, int thread, int n_threads,
                  Meeting& meeting) {
    const DecoderLayer& l = d.layers[i_layer];
    int C = d.n_state;
    float* c = s.c + (long)thread * ROOM;
    float* scores = s.scores + (long)thread * s.n_scores;
    ByteLines bytes = bytes_of(d, s, thread);
    Part lines = part(p.n_lines, thread, n_threads), narrow_groups = part(C / 64, thread, n_threads);

    norm_lines(s, C, l.self_norm, l.self_norm_bias, lines);
    meeting.wait(n_threads);
    project_self(d, l, p, s, part(3 * C / 64, thread, n_threads), c, bytes);
    meeting.wait(n_threads);
    Part pairs = part(p.n_lines * d.n_head, thread, n_threads);
    for (int i = pairs.begin; i < pairs.end; i++) attend_self(d, l, p, s, i / d.n_head, i % d.n_head, scores);
    meeting.wait(n_threads);
    add_linear(d, p, s, s.heard, C, l.self_out, l.self_out_bias, narrow_groups, c, bytes);
    meeting.wait(n_threads);
    norm_lines(s, C, l.cross_norm, l.cross_norm_bias, lines);
    meeting.wait(n_threads);
    linear(s.h, C, p.n_lines, l.cross_in, narrow_groups, c, bytes, [&](int column, int first, int n, const float* c) {
        for (int m = 0; m < n; m++)
            for (int i = 0; i < 64; i += 16)
                narrow(s.q + (long)(first + m) * C + column + i,
                       (load<v16>(c + m * 64 + i) + load<v16>(l.cross_in_bias + column + i)) * 0.125f);
    });
    meeting.wait(n_threads);
    attend_sounds(d, l, i_layer, p, s, thread, n_threads, c);
    meeting.wait(n_threads);
    add_linear(d, p, s, s.heard, C, l.cross_out, l.cross_out_bias, narrow_groups, c, bytes);
    meeting.wait(n_threads);
    norm_lines(s, C, l.mlp_norm, l.mlp_norm_bias, lines);
    meeting.wait(n_threads);
    Part wide_groups = part(4 * C / 64, thread, n_threads);
    linear(s.h, C, p.n_lines, l.mlp_in, wide_groups, c, bytes, [&](int column, int first, int n, const float* c) {
        for (int m = 0; m < n; m++)
            for (int i = 0; i < 64; i += 16)
                narrow(s.wide + (long)(first + m) * 4 * C + column + i,
                       gelu(load<v16>(c + m * 64 + i) + load<v16>(l.mlp_in_bias + column + i)));
    });
    meeting.wait(n_threads);
    add_linear(d, p, s, s.wide, 4 * C, l.mlp_out, l.mlp_out_bias, narrow_groups, c, bytes);
    meeting.wait(n_threads);
}

static void read_tokens(const Decoder& d, const Pass& p, const Scratch& s, Part lines) {
    int C = d.n_state;
    for (int m = lines.begin; m < lines.end; m++)
        for (int i = 0; i < C; i++) {
            int token = p.tokens[m];
            long group = (long)(token / GROUP) * C * GROUP, column = token % GROUP;
            float x;
            if (d.embedding.scale) {
                const int8_t* packed = (const int8_t*)d.embedding.packed + group;
                x = packed[i / 4 * QUAD_LINE + column * 4 + i % 4] * d.embedding.scale[token];
            } else {
                const bf16* packed = (const bf16*)d.embedding.packed + group;
                uint32_t bits = (uint32_t)packed[i / 2 * PAIR_LINE + column * 2 + i % 2] << 16;
                std::memcpy(&x, &bits, 4);
            }
            s.x[(long)m * C + i] = x + d.positions[(long)p.positions[m] * C + i];
        }
}

// How probable known tokens are, without the logits of all others being written: each thread sums up what it sees.
static void write_probs(const Decoder& d, const Pass& p, const Scratch& s, int thread, int n_threads, Meeting& meeting,
                        float* c, ByteLines bytes) {
    Total* totals = s.totals + (long)thread * MOST_WANTED;
    for (int w = 0; w < p.n_wanted; w++) totals[w] = {{}, -__builtin_inff()};
    Part groups = part((p.n_ids + 63) / 64, thread, n_threads);
    linear(s.h, d.n_state, p.n_wanted, d.embedding, groups, c, bytes, [&](int column, int first, int n, float* c) {
        for (int w = 0; w < n; w++) {
            float* x = c + w * 64;
            for (int i = p.n_ids - column; i < 64; i++) x[i] = -__builtin_inff();
            int known = p.known[first + w] - column;
            if (known >= 0 && known < 64) p.probs[first + w] = x[known];
            v16 x0 = load<v16>(x), x1 = load<v16>(x + 16), x2 = load<v16>(x + 32), x3 = load<v16>(x + 48);
            Total& total = totals[first + w];
            float top = largest(max(max(x0, x1), max(x2, x3)));
            v16 before = load<v16>(total.sum);
            if (top > total.top) {
                before *= exp_neg(all(total.top - top));
                total.top = top;
            }
            v16 sums = exp_neg(x0 - total.top) + exp_neg(x1 - total.top) + exp_neg(x2 - total.top);
            store(total.sum, before + sums + exp_neg(x3 - total.top));
        }
    });
    meeting.wait(n_threads);
    Part lines = part(p.n_wanted, thread, n_threads);
    for (int w = lines.begin; w < lines.end; w++) {
        float top = -__builtin_inff();
        v16 sums = {};
        for (int i = 0; i < n_threads; i++) top = std::max(top, s.totals[i * MOST_WANTED + w].top);
        for (int i = 0; i < n_threads; i++) {
            const Total& total = s.totals[i * MOST_WANTED + w];
            sums += load<v16>(total.sum) * exp_neg(all(total.top - top));
        }
        p.probs[w] = p.known[w] < p.n_ids ? exp_neg(all(p.probs[w] - top))[0] / sum(sums) : 0;
    }
}

static void write_logits(const Decoder& d, const Pass& p, const Scratch& s, int thread, int n_threads,
                         Meeting& meeting) {
    int C = d.n_state;
    float* c = s.c + (long)thread * ROOM;
    Part lines = part(p.n_wanted, thread, n_threads);
    for (int w = lines.begin; w < lines.end; w++)
        norm_line(s.x + (long)p.wanted[w] * C, C, d.norm, d.norm_bias, s.h + (long)w * C);
    meeting.wait(n_threads);
    ByteLines bytes = bytes_of(d, s, thread);
    if (p.known) return write_probs(d, p, s, thread, n_threads, meeting, c, bytes);
    Part groups = part((d.n_vocab + 63) / 64, thread, n_threads);
    linear(s.h, C, p.n_wanted, d.embedding, groups, c, bytes, [&](int column, int first, int n, const float* c) {
        int width = d.n_vocab - column < 64 ? d.n_vocab - column : 64;
        for (int w = 0; w < n; w++)
            std::memcpy(p.logits + (long)(first + w) * d.n_vocab + column, c + w * 64, width * 4);
    });
}

}  // namespace sv

extern "C" {

int64_t sv_decoder_scratch(const sv::Decoder* d, int32_t n_threads) {
    sv::Scratch s;
    return (int64_t)sv::lay_out(*d, n_threads, nullptr, &s);
}

// Of the sources that this was built from (hatch_build.py), so that it is never called by code that means others.
int32_t sv_version() { return SV_VERSION; }

int32_t sv_most_lines() { return sv::MOST_LINES; }

void sv_decode(const sv::Decoder* d, const sv::Pass* p) {
    sv::Scratch s;
    sv::lay_out(*d, p->n_threads, (char*)p->scratch, &s);
    sv::Meeting meeting;
#pragma omp parallel num_threads(p->n_threads)
    {
        int thread = sv::this_thread(), n_threads = sv::team_size();
        sv::begin_tiles();
        sv::read_tokens(*d, *p, s, sv::part(p->n_lines, thread, n_threads));
        meeting.wait(n_threads);
        for (int i = 0; i < d->n_layer; i++) sv::layer(*d, i, *p, s, thread, n_threads, meeting);
        if (p->n_wanted) sv::write_logits(*d, *p, s, thread, n_threads, meeting);
        sv::end_tiles();
    }
}
}
