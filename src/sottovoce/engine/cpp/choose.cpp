// What each row may say next: Whisper's rules, and the most probable tokens under them. Twins: engine/rules.py,
// engine/sampler.py. The rules' state stays where torch holds it.

#include "layers.h"

namespace sv {

constexpr int MOST_CHOICES = 64;

// Keywords, as types.py:Keywords.
struct Tree {
    const int64_t *starts, *tokens, *targets;
    const float *gains, *shares, *gained;
};

struct Rules {
    int32_t n_vocab, eot, time_begin, no_timestamps;
    const uint8_t* table;                                  // (masks, V): 1 where an id is suppressed
    const int64_t *always, *first, *max_initial;           // by row; lines of the table, latest first timestamp
    const int64_t *n_sampled, *last_time;                  // by row
    const uint8_t *timestamps, *last_is_time, *before_is_time;
    const Tree* const* trees;  // by row, or null; where the row stands in it; whether gains are given back there
    const int64_t* nodes;
    const uint8_t* returns;
};

// Ids [from, to) that the grammar of timestamps leaves, text and times apart.
struct Open {
    int text_from, text_to, time_from, time_to;
};

static Open open_ids(const Rules& r, int64_t row) {
    Open open = {0, r.time_begin, r.time_begin, r.n_vocab};
    if (!r.timestamps[row]) return open;
    bool last = r.last_is_time[row], before = r.before_is_time[row], fresh = r.n_sampled[row] == 0;
    int64_t floor = r.last_time[row] + (last && !before ? 0 : 1);
    if (floor > open.time_from) open.time_from = (int)floor;
    if (last && before) open.time_from = r.n_vocab;
    if (last && !before) open.text_from = r.eot;
    if (fresh) {
        open.text_from = open.text_to;
        if (r.max_initial[row] + 1 < open.time_to) open.time_to = (int)r.max_initial[row] + 1;
    }
    return open;
}

struct Choices {
    int n = 0, k;
    float values[MOST_CHOICES];
    int32_t tokens[MOST_CHOICES];

    float least() const { return n < k ? -__builtin_inff() : values[k - 1]; }

    void offer(float value, int32_t token) {
        int i = n < k ? n++ : k - 1;
        for (; i > 0 && values[i - 1] < value; i--) {
            values[i] = values[i - 1];
            tokens[i] = tokens[i - 1];
        }
        values[i] = value;
        tokens[i] = token;
    }
};

// Suppressed ids become -inf in place; the best of what is left are offered.
static void look(float* logits, const uint8_t* mask, int from, int to, int forbidden, Choices* best) {
    const float never = -__builtin_inff();
    int i = from;
    for (; i < to && i & 15; i++) {
        if (mask[i] || i == forbidden) logits[i] = never;
        if (logits[i] > best->least()) best->offer(logits[i], i);
    }
    for (; i + 16 <= to; i += 16) {
        v16 x = load<v16>(logits + i);
        for (int j = 0; j < 16; j++) x[j] = mask[i + j] ? never : x[j];
        if (forbidden >= i && forbidden < i + 16) x[forbidden - i] = never;
        store(logits + i, x);
        if (largest(x) > best->least())
            for (int j = 0; j < 16; j++)
                if (x[j] > best->least()) best->offer(x[j], i + j);
    }
    for (; i < to; i++) {
        if (mask[i] || i == forbidden) logits[i] = never;
        if (logits[i] > best->least()) best->offer(logits[i], i);
    }
}

static float sum_of_exp(const float* logits, int from, int to, float top) {
    v16 total = {};
    int i = from;
    for (; i + 16 <= to; i += 16) total += exp_neg(load<v16>(logits + i) - top);
    v16 rest = all(-__builtin_inff());
    for (int j = 0; i + j < to; j++) rest[j] = logits[i + j] - top;
    return sum(total + exp_neg(rest));
}

// What tokens gain on one row: the edges of its node, and those of the root that are not among them.
struct Gains {
    const Tree* tree;
    int64_t node;
    const float* of_edge;
    float none;  // what a token gains that no term goes on with

    Gains(const Rules& r, int64_t row) : tree(r.trees[row]), node(r.nodes[row]), of_edge(nullptr), none(0) {
        if (!tree) return;
        of_edge = r.returns[row] ? tree->shares : tree->gains;
        if (r.returns[row]) none = -tree->gained[node];
    }

    bool find(int64_t at, int64_t token, float* gain) const {
        int64_t from = tree->starts[at], to = tree->starts[at + 1];
        while (from < to) {
            int64_t middle = (from + to) / 2;
            if (tree->tokens[middle] < token)
                from = middle + 1;
            else
                to = middle;
        }
        bool found = from < tree->starts[at + 1] && tree->tokens[from] == token;
        if (found) *gain = of_edge[from] + none;
        return found;
    }

    float of(int64_t token) const {
        float gain = none;
        if (!tree) return 0;
        if (!find(node, token, &gain) && node) find(0, token, &gain);
        return gain;
    }
};

// Of tokens with their gains, the best. plain: the best without; only a token that gains may be better than those.
static Choices boosted(const Gains& gains, const float* logits, const Open& open, bool no_text, const Choices& plain) {
    Choices best;
    best.k = plain.k;
    auto take = [&](int32_t token, float value) {
        if (value > best.least()) best.offer(value, token);
    };
    for (int i = 0; i < plain.n; i++) take(plain.tokens[i], plain.values[i] + gains.of(plain.tokens[i]));
    const int64_t at[] = {gains.node, 0};
    const int n_lists = no_text ? 0 : gains.node ? 2 : 1;
    for (int i = 0; i < n_lists; i++)
        for (int64_t e = gains.tree->starts[at[i]]; e < gains.tree->starts[at[i] + 1]; e++) {
            int64_t token = gains.tree->tokens[e];
            float gain = gains.of_edge[e] + gains.none, ignored;
            if (token < open.text_from || token >= open.text_to || !(logits[token] + gain > best.least())) continue;
            bool known = i && gains.find(gains.node, token, &ignored);
            for (int j = 0; j < plain.n && !known; j++) known = plain.tokens[j] == token;
            if (!known) best.offer(logits[token] + gain, (int32_t)token);
        }
    return best;
}

static void choose(const Rules& r, int64_t row, float* logits, int k, int64_t* tokens, float* logprobs, float* won) {
    const uint8_t* mask = r.table + (r.n_sampled[row] == 0 ? r.first[row] : r.always[row]) * r.n_vocab;
    Open open = open_ids(r, row);
    Choices text, time;
    text.k = time.k = k;
    look(logits, mask, open.text_from, open.text_to, r.timestamps[row] ? r.no_timestamps : -1, &text);
    look(logits, mask, open.time_from, open.time_to, -1, &time);
    float top_text = text.n ? text.values[0] : -__builtin_inff(), top_time = time.n ? time.values[0] : -__builtin_inff();
    float top = top_text > top_time ? top_text : top_time;
    float of_text = text.n ? sum_of_exp(logits, open.text_from, open.text_to, top) : 0;
    float of_time = time.n ? sum_of_exp(logits, open.time_from, open.time_to, top) : 0;
    // if all timestamps together are more probable than any text token, it must be a timestamp
    bool must = r.timestamps[row] && __builtin_logf(of_time) > top_text - top;
    float norm = top + __builtin_logf(must ? of_time : of_text + of_time);
    Choices best;
    best.k = k;
    for (int i = 0; i < text.n && !must; i++) best.offer(text.values[i], text.tokens[i]);
    for (int i = 0; i < time.n; i++)
        if (time.values[i] > best.least()) best.offer(time.values[i], time.tokens[i]);
    Gains gains(r, row);
    if (gains.tree) best = boosted(gains, logits, open, must, best);
    for (int i = 0; i < k; i++) {  // fewer than k may be allowed: the rest is impossible
        tokens[i] = i < best.n ? best.tokens[i] : r.eot;
        logprobs[i] = i < best.n ? logits[tokens[i]] - norm : -__builtin_inff();
        won[i] = i < best.n && gains.tree ? gains.of(tokens[i]) : 0;
    }
}

}  // namespace sv

extern "C" {

// logits: (n_lines, V), which is written over. lines, rows: (n_lines) which line of logits, which row's rules.
// tokens, logprobs, gains: (n_lines, k), the best first; a log-probability is without the gain.
void sv_choose(const sv::Rules* r, int32_t n_lines, float* logits, const int64_t* lines, const int64_t* rows, int32_t k,
               int64_t* tokens, float* logprobs, float* gains, int32_t n_threads) {
#pragma omp parallel for num_threads(n_threads) schedule(static, 1)
    for (int i = 0; i < n_lines; i++)
        sv::choose(*r, rows[i], logits + lines[i] * r->n_vocab, k, tokens + (long)i * k, logprobs + (long)i * k,
                   gains + (long)i * k);
}
}
