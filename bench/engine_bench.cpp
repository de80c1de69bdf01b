// SPDX-License-Identifier: GPL-2.0-or-later
// How many guest instructions a second the engines execute on small integer loops.
#include <benchmark/benchmark.h>

#include "../tests/engine/guest_harness.h"

namespace {

using perfvisor::core::Total;
using perfvisor::engine::EngineKind;
using perfvisor::test::Guest;

// FNV-1a over 64 KiB, again and again.
constexpr const char* kHash = R"(
    outer: li32 r3,0x40000
           lis r4,1
           mtctr r4
           li32 r5,0x811c9dc5
           li32 r6,0x01000193
    loop:  lbz r7,0(r3)
           xor r5,r5,r7
           mullw r5,r5,r6
           addi r3,r3,1
           bdnz loop
           stw r5,-4(r3)
           b outer
)";

// Insertion sort of 64 words made by a linear congruence.
constexpr const char* kSort = R"(
    outer: li32 r3,0x40000
           li r4,64
           mtctr r4
           li32 r6,1103515245
    fill:  mullw r5,r5,r6
           addi r5,r5,12345
           stw r5,0(r3)
           addi r3,r3,4
           bdnz fill
           li r7,1
    next:  slwi r8,r7,2
           li32 r3,0x40000
           add r8,r8,r3
           lwz r9,0(r8)
    shift: cmplw r8,r3
           beq place
           lwz r10,-4(r8)
           cmpw r10,r9
           ble place
           stw r10,0(r8)
           addi r8,r8,-4
           b shift
    place: stw r9,0(r8)
           addi r7,r7,1
           cmpwi r7,64
           bne next
           b outer
)";

// The sieve of Eratosthenes over 8192 bytes.
constexpr const char* kSieve = R"(
    outer: li32 r3,0x40000
           li r4,2048
           mtctr r4
           li r5,0
           addi r6,r3,-4
    clear: stwu r5,4(r6)
           bdnz clear
           li r7,2
           li r9,1
    next:  lbzx r8,r3,r7
           cmpwi r8,0
           bne skip
           add r8,r7,r7
    mark:  cmplwi r8,8192
           bge skip
           stbx r9,r3,r8
           add r8,r8,r7
           b mark
    skip:  addi r7,r7,1
           cmplwi r7,91
           blt next
           b outer
)";

// Calls and returns: fib(16) with a stack.
constexpr const char* kCalls = R"(
    outer: li32 r1,0x80000
           li r3,16
           bl fib
           b outer
    fib:   cmpwi r3,2
           bclr 12,0,0
           mflr r0
           stwu r1,-16(r1)
           stw r0,20(r1)
           stw r3,8(r1)
           addi r3,r3,-1
           bl fib
           stw r3,12(r1)
           lwz r3,8(r1)
           addi r3,r3,-2
           bl fib
           lwz r4,12(r1)
           add r3,r3,r4
           lwz r0,20(r1)
           mtlr r0
           addi r1,r1,16
           blr
)";

// A polynomial in double precision.
constexpr const char* kFloat = R"(
    outer: li32 r3,0x40000
           li32 r4,0x3ff00001
           stw r4,0(r3)
           lfd f1,0(r3)
           fmr f2,f1
           li r5,1000
           mtctr r5
    loop:  fmul f3,f2,f1
           fadd f4,f3,f1
           fsub f2,f4,f3
           fmadd f5,f2,f1,f4
           bdnz loop
           b outer
)";

void execute(benchmark::State& bench, EngineKind kind, const char* program) {
    constexpr uint64_t kSlice = 1'000'000;
    Guest guest(kind);
    guest.program(program);
    const uint64_t before = guest.total(Total::Instructions);
    while (bench.KeepRunning())
        guest.engine().run(kSlice);
    bench.counters["instr/s"] =
        benchmark::Counter(static_cast<double>(guest.total(Total::Instructions) - before),
                           benchmark::Counter::kIsRate);
}

}  // namespace

BENCHMARK_CAPTURE(execute, interpreter_hash, EngineKind::Interpreter, kHash);
BENCHMARK_CAPTURE(execute, interpreter_sort, EngineKind::Interpreter, kSort);
BENCHMARK_CAPTURE(execute, interpreter_sieve, EngineKind::Interpreter, kSieve);
BENCHMARK_CAPTURE(execute, interpreter_calls, EngineKind::Interpreter, kCalls);
BENCHMARK_CAPTURE(execute, interpreter_float, EngineKind::Interpreter, kFloat);
#ifdef __x86_64__
BENCHMARK_CAPTURE(execute, translator_hash, EngineKind::Translator, kHash);
BENCHMARK_CAPTURE(execute, translator_sort, EngineKind::Translator, kSort);
BENCHMARK_CAPTURE(execute, translator_sieve, EngineKind::Translator, kSieve);
BENCHMARK_CAPTURE(execute, translator_calls, EngineKind::Translator, kCalls);
BENCHMARK_CAPTURE(execute, translator_float, EngineKind::Translator, kFloat);
#endif
