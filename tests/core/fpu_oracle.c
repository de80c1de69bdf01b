// SPDX-License-Identifier: GPL-2.0-or-later
// Runs on PowerPC (under qemu-ppc or qemu-ppc64): executes single floating-point instructions on
// operands read from standard input and writes each result, FPSCR and CR to standard output.
//
// Freestanding, so that one cross compiler without a 64-bit C library serves for both. All data is
// big-endian, in the layout of the two structures below.

#include <asm/ucontext.h>

typedef unsigned int u32;
typedef unsigned long long u64;

struct request {
    u32 op;
    u32 fpscr;
    u64 a, b, c;
    u64 target;
};

struct reply {
    u64 value;
    u32 fpscr;
    u32 cr;
    u32 trapped;
    u32 unused;
};

enum { kSysExit = 1, kSysRead = 3, kSysWrite = 4, kSysSigaction = 173, kSigFpe = 8, kBatch = 512 };

static volatile u32 trapped;
static struct request requests[kBatch];
static struct reply replies[kBatch];

static long system_call(long number, long a, long b, long c, long d) {
    register long r0 __asm__("r0") = number;
    register long r3 __asm__("r3") = a;
    register long r4 __asm__("r4") = b;
    register long r5 __asm__("r5") = c;
    register long r6 __asm__("r6") = d;
    long failed;
    __asm__ volatile("sc\n\tmfcr %5"
                     : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "=r"(failed)
                     :
                     : "memory", "cr0", "r7", "r8", "r9", "r10", "r11", "r12");
    return (failed & 0x10000000) != 0 ? -1 : r3;
}

// An enabled exception: note it and go on behind the instruction.
static void on_trap(int number, void* info, void* context) {
    struct ucontext* uc = context;
    (void)number;
    (void)info;
    trapped = 1;
#ifdef __powerpc64__
    uc->uc_mcontext.gp_regs[PT_NIP] += 4;
#else
    uc->uc_regs->mc_gregs[PT_NIP] += 4;
#endif
}

static double from_bits(u64 bits) {
    union {
        u64 u;
        double d;
    } x;
    x.u = bits;
    return x.d;
}

static u64 to_bits(double value) {
    union {
        u64 u;
        double d;
    } x;
    x.d = value;
    return x.u;
}

// FPSCR is loaded before and read back right behind the instruction, CR field 1 with it.
#define CASE(assembler)                                                                   \
    case __COUNTER__ - kFirst:                                                            \
        __asm__ volatile(                                                                 \
            "mtfsf 255,%7\n\tcrxor 4,4,4\n\tcrxor 5,5,5\n\tcrxor 6,6,6\n\tcrxor "         \
            "7,7,7\n\t" assembler "\n\tmffs %5\n\tmfcr %6"                                \
            : "+&d"(target), "+&d"(a), "+&d"(b), "+&d"(c), "+&b"(pointer), "=&d"(status), \
              "=&r"(cr)                                                                   \
            : "d"(load)                                                                   \
            : "memory", "cr1");                                                           \
        break;
#define AB(name, mnemonic) CASE(mnemonic " %0,%1,%2")
#define AC(name, mnemonic) CASE(mnemonic " %0,%1,%3")
#define ACB(name, mnemonic) CASE(mnemonic " %0,%1,%3,%2")
#define B(name, mnemonic) CASE(mnemonic " %0,%2")
#define MOVE(name, assembler) CASE(assembler)
#define COMPARE(name, mnemonic) CASE(mnemonic " 1,%1,%2")
#define STATUS(name, number, assembler) CASE(assembler)

static void execute(const struct request* in, struct reply* out) {
    u64 scratch = in->b;
    u64* pointer = &scratch;
    double target = from_bits(in->target);
    double a = from_bits(in->a), b = from_bits(in->b), c = from_bits(in->c);
    double load = from_bits(in->fpscr), status = 0;
    u32 cr = 0;
    enum { kFirst = __COUNTER__ + 1 };
    trapped = 0;
    switch (in->op) {
#include "fpu_oracle_ops.inc"
        default:
            system_call(kSysExit, 2, 0, 0, 0);
    }
    out->value = to_bits(target);
    out->fpscr = (u32)to_bits(status);
    out->cr = cr >> 24 & 0xf;
    out->trapped = trapped;
}

void _start(void) {
    struct {
        void* handler;
        unsigned long flags;
        void* restorer;
        unsigned long mask[8 / sizeof(long)];
    } action = {(void*)on_trap, 4 /* SA_SIGINFO */, 0, {0}};
    system_call(kSysSigaction, kSigFpe, (long)&action, 0, 8);
    for (;;) {
        long have = 0;
        while (have < (long)sizeof requests) {
            const long got =
                system_call(kSysRead, 0, (long)requests + have, sizeof requests - have, 0);
            if (got <= 0) break;
            have += got;
        }
        const long count = have / (long)sizeof requests[0];
        if (count == 0) system_call(kSysExit, 0, 0, 0, 0);
        for (long i = 0; i < count; ++i)
            execute(&requests[i], &replies[i]);
        const long size = count * (long)sizeof replies[0];
        for (long done = 0; done < size;) {
            const long put = system_call(kSysWrite, 1, (long)replies + done, size - done, 0);
            if (put <= 0) system_call(kSysExit, 1, 0, 0, 0);
            done += put;
        }
    }
}
