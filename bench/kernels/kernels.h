// SPDX-License-Identifier: GPL-2.0-or-later
// The computing kernels of `make bench`: plain C, the same source for the guest and for the host.
#pragma once

#include <stdint.h>
#include <stdio.h>

/// Does the same work `rounds` times and prints what came out, so that a wrong machine shows. The
/// integer kernels print one number. The floating-point ones print a rounded result, which any
/// IEEE machine must reach, and a hash of all result bits, which is equal only where multiply and
/// add are fused in the same places.
typedef void (*KernelFunction)(uint32_t rounds);

typedef struct {
    const char* name;
    const char* what;
    KernelFunction run;
} Kernel;

void run_sort(uint32_t rounds);
void run_hash(uint32_t rounds);
void run_matrix(uint32_t rounds);
void run_lexer(uint32_t rounds);
void run_list(uint32_t rounds);
void run_search(uint32_t rounds);

void run_nbody(uint32_t rounds);
void run_fmatrix(uint32_t rounds);
void run_spectral(uint32_t rounds);
void run_fft(uint32_t rounds);

/// Two threads that add to one number: the result is 200,000 a round, whatever their order.
void run_atomics(uint32_t rounds);
void run_mutexes(uint32_t rounds);

/// The next number of a fixed sequence (xorshift); `state` must not be 0.
static inline uint32_t next_random(uint32_t* state) {
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/// Fills `text` with `size` bytes that look like a program's source: names, numbers, operators,
/// comments, lines. No final zero byte.
void make_text(char* text, uint32_t size, uint32_t seed);
