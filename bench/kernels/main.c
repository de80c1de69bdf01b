// SPDX-License-Identifier: GPL-2.0-or-later
// kernels NAME ROUNDS: runs one computing kernel and prints its result, or does one of the small
// jobs that the benchmarks need in the guest: make data, sleep often, touch fresh pages.
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernels.h"

void make_text(char* text, uint32_t size, uint32_t seed) {
    static const char* const kWords[] = {
        "counter", "value", "if (", ") {\n", "}\n",       "return ",  "x1",        "while (",
        " = ",     " + ",   ";\n",  "42",    "3.14159",   "\"text\"", "// note\n", "/* a = b */",
        "buffer",  "a = b", "->",   "[i]",   "uint32_t ", " == ",     "0x1f",      "next",
    };
    uint32_t at = 0;
    while (at < size) {
        const char* word = kWords[next_random(&seed) % (sizeof kWords / sizeof kWords[0])];
        for (; *word != '\0' && at < size; ++word) {
            text[at++] = *word;
        }
        // Now and then a name that was not there before, so that the text does not shrink to
        // nothing.
        if (next_random(&seed) % 4 == 0) {
            for (int i = 0; i < 6 && at < size; ++i) {
                text[at++] = (char)('a' + next_random(&seed) % 26);
            }
        }
        if (at < size) {
            text[at++] = ' ';
        }
    }
}

/// Writes `size` bytes of text to standard output.
static void run_data(uint32_t size) {
    char* text = malloc(size);
    if (text == NULL) {
        fprintf(stderr, "kernels: no memory for %u bytes\n", (unsigned)size);
        exit(1);
    }
    make_text(text, size, 2463534242u);
    fwrite(text, 1, size, stdout);
    free(text);
}

/// Sleeps `rounds` times for a hundred microseconds: timer, interrupt, idle, wake-up.
static void run_sleep(uint32_t rounds) {
    struct timespec time = {0, 100000};
    for (uint32_t round = 0; round < rounds; ++round) {
        if (nanosleep(&time, NULL) != 0) {
            perror("kernels: cannot sleep");
            exit(1);
        }
    }
    printf("slept\n");
}

/// Maps 4 MiB, touches every page of it and unmaps it.
static void run_faults(uint32_t rounds) {
    enum { kBytes = 4 << 20, kPage = 4096 };
    uint32_t sum = 0;
    for (uint32_t round = 0; round < rounds; ++round) {
        volatile char* pages =
            mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) {
            fprintf(stderr, "kernels: no memory to map\n");
            exit(1);
        }
        for (uint32_t at = 0; at < kBytes; at += kPage) {
            pages[at] = (char)(at / kPage);
            sum += (uint8_t)pages[at];
        }
        munmap((void*)pages, kBytes);
    }
    printf("%08x\n", (unsigned)sum);
}

static const Kernel kKernels[] = {
    {"sort", "quicksort of 65536 integers", run_sort},
    {"hash", "CRC-32, FNV-1a and SHA-256's rounds over 32 KiB", run_hash},
    {"matrix", "integer matrix product, 96 by 96", run_matrix},
    {"lexer", "a state machine over 64 KiB of text", run_lexer},
    {"list", "a walk over a list of 8192 scattered nodes", run_list},
    {"search", "five string searches in 64 KiB, two ways", run_search},
    {"nbody", "100 steps of five bodies", run_nbody},
    {"fmatrix", "matrix product in double precision, 80 by 80", run_fmatrix},
    {"spectral", "spectral norm, order 60", run_spectral},
    {"fft", "4096 complex points, forth and back", run_fft},
    {"atomics", "two threads, 100000 atomic additions each", run_atomics},
    {"mutexes", "two threads, 100000 additions under a lock each", run_mutexes},
    {"data", "ROUNDS bytes of text on standard output", run_data},
    {"sleep", "a sleep of 100 us", run_sleep},
    {"faults", "1024 fresh pages", run_faults},
};
enum { kKernelCount = sizeof kKernels / sizeof kKernels[0] };

/// The harness's marks, here and not around the program where its start must not count.
static void begin_mark(const char* label) {
    if (label != NULL) {
        printf("@@ begin %s\n", label);
        fflush(stdout);
    }
}

static void end_mark(const char* label) {
    if (label != NULL) {
        printf("@@ end %s 0\n", label);
    }
}

/// Runs a kernel in two processes that begin together, with the harness's marks around both.
static void run_twice(const Kernel* kernel, uint32_t rounds, const char* label) {
    int ready[2], go[2];
    char byte = 0;
    if (pipe(ready) != 0 || pipe(go) != 0) {
        fprintf(stderr, "kernels: cannot make a pipe\n");
        exit(1);
    }
    const pid_t child = fork();
    if (child < 0) {
        fprintf(stderr, "kernels: cannot fork\n");
        exit(1);
    }
    const int to = child == 0 ? ready[1] : go[1];
    const int from = child == 0 ? go[0] : ready[0];
    if (child == 0 && write(to, &byte, 1) != 1) {
        exit(1);
    }
    if (read(from, &byte, 1) != 1) {
        exit(1);
    }
    if (child != 0) {
        begin_mark(label);
        if (write(to, &byte, 1) != 1) {
            exit(1);
        }
    }
    kernel->run(rounds);
    fflush(stdout);
    if (child == 0) {
        exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "kernels: the second process failed\n");
        exit(1);
    }
    end_mark(label);
}

static int usage(void) {
    fprintf(stderr, "usage: kernels [--twice] [--mark LABEL] NAME ROUNDS\n");
    for (int i = 0; i < kKernelCount; ++i) {
        fprintf(stderr, "  %-9s %s\n", kKernels[i].name, kKernels[i].what);
    }
    return 2;
}

int main(int argc, char** argv) {
    const char* label = NULL;
    const bool twice = argc > 1 && strcmp(argv[1], "--twice") == 0;
    argv += twice;
    argc -= twice;
    if (argc == 5 && strcmp(argv[1], "--mark") == 0) {
        label = argv[2];
        argv += 2;
        argc -= 2;
    }
    if (argc != 3) {
        return usage();
    }
    char* end;
    unsigned long rounds = strtoul(argv[2], &end, 10);
    if (*end != '\0' || rounds == 0 || rounds > UINT32_MAX) {
        return usage();
    }
    for (int i = 0; i < kKernelCount; ++i) {
        if (strcmp(argv[1], kKernels[i].name) != 0) {
            continue;
        }
        if (twice) {
            run_twice(&kKernels[i], (uint32_t)rounds, label);
        } else {
            begin_mark(label);
            kKernels[i].run((uint32_t)rounds);
            end_mark(label);
        }
        return fflush(stdout) == 0 ? 0 : 1;
    }
    return usage();
}
