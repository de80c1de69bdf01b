// SPDX-License-Identifier: GPL-2.0-or-later
// Kernels of two threads, for guests with several CPUs.
#include <pthread.h>
#include <stdlib.h>

#include "kernels.h"

enum { kThreads = 2, kTimesARound = 100000 };

static uint32_t times;
static uint32_t counter;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void* add_atomically(void* nothing) {
    for (uint32_t i = 0; i < times; ++i) {
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    }
    return nothing;
}

static void* add_under_a_lock(void* nothing) {
    for (uint32_t i = 0; i < times; ++i) {
        pthread_mutex_lock(&mutex);
        ++counter;
        pthread_mutex_unlock(&mutex);
    }
    return nothing;
}

static void run_threads(void* (*work)(void*), uint32_t rounds) {
    pthread_t threads[kThreads];
    times = rounds * kTimesARound;
    counter = 0;
    for (int i = 0; i < kThreads; ++i) {
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) {
            fprintf(stderr, "kernels: cannot make a thread\n");
            exit(1);
        }
    }
    for (int i = 0; i < kThreads; ++i) {
        pthread_join(threads[i], NULL);
    }
    printf("%08x\n", (unsigned)counter);
}

void run_atomics(uint32_t rounds) {
    run_threads(add_atomically, rounds);
}

void run_mutexes(uint32_t rounds) {
    run_threads(add_under_a_lock, rounds);
}
