// SPDX-License-Identifier: GPL-2.0-or-later
// hot [ROUNDS]: spends 95 in 100 of its instructions in hot_function and the others in
// cold_function, so that a profile of it has a known answer. 1000 rounds of some 9,000
// instructions unless told otherwise. Prints a checksum, the same for the same ROUNDS.
#include "freestanding.h"

static inline uint32_t mix(uint32_t value) {
    value ^= value << 13;
    value ^= value >> 17;
    return value ^ (value << 5);
}

__attribute__((noinline, noclone)) uint32_t hot_function(uint32_t seed) {
    for (int i = 0; i < 1140; ++i) {
        seed = mix(seed) + 1;
    }
    return seed;
}

__attribute__((noinline, noclone)) uint32_t cold_function(uint32_t seed) {
    for (int i = 0; i < 60; ++i) {
        seed = mix(seed) + 1;
    }
    return seed;
}

int program(int argc, char** argv) {
    uint32_t rounds = number_argument(argc, argv, 1000, "usage: hot [ROUNDS]\n");
    uint32_t sum = 2463534242u;
    for (uint32_t round = 0; round < rounds; ++round) {
        sum = cold_function(hot_function(sum));
    }
    print_hexadecimal(sum);
    return 0;
}
