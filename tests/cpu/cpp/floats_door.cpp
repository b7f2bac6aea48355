// A door to linear layers and attention in bfloat16 for tests.

#include "attend.h"

extern "C" {

// a: (n_lines, K) bfloat16. weight: packed. out: (n_lines, N). room: ROOM, whatever is in it
void sv_linear(int n_lines, int K, int N, const uint16_t* a, const uint16_t* weight, float* out, float* room) {
    using namespace sv;
    linear(a, K, n_lines, weight, K, {0, N / GROUP}, room, [&](int column, int first, int n, float* c) {
        for (int m = 0; m < n; m++) std::memcpy(out + (long)(first + m) * N + column, c + m * GROUP, GROUP * 4);
    });
}

int sv_room() { return sv::ROOM; }
}
