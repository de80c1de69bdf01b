// SPDX-License-Identifier: GPL-2.0-or-later
// Time per floating-point instruction, fast paths and reference unit, on ordinary operands.

#include <benchmark/benchmark.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/fpu/fast.h"
#include "core/fpu/soft.h"

namespace perfvisor::core::fpu {
namespace {

constexpr size_t kCount = 1024;

// Values of magnitude 1 to 2, as single numbers if asked.
std::array<uint64_t, kCount> operands(uint64_t seed, bool single) {
    std::array<uint64_t, kCount> values;
    for (uint64_t& value : values) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        value = uint64_t{0x3ff} << 52 | seed >> 12;
        if (single) value &= ~uint64_t{0x1fffffff};
    }
    return values;
}

template <auto kOperation, bool kSingle = false>
void binary(benchmark::State& state) {
    const auto a = operands(1, kSingle), b = operands(2, kSingle);
    uint32_t fpscr = 0;
    size_t i = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(kOperation(fpscr, a[i], b[i]));
        i = (i + 1) % kCount;
    }
    benchmark::DoNotOptimize(fpscr);
}

template <auto kOperation, bool kSingle = false>
void ternary(benchmark::State& state) {
    const auto a = operands(1, kSingle), b = operands(2, kSingle), c = operands(3, kSingle);
    uint32_t fpscr = 0;
    size_t i = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(kOperation(fpscr, a[i], b[i], c[i]));
        i = (i + 1) % kCount;
    }
    benchmark::DoNotOptimize(fpscr);
}

template <auto kOperation>
void unary(benchmark::State& state) {
    const auto b = operands(1, false);
    uint32_t fpscr = 0;
    size_t i = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(kOperation(fpscr, b[i]));
        i = (i + 1) % kCount;
    }
    benchmark::DoNotOptimize(fpscr);
}

BENCHMARK(binary<add>)->Name("fadd/fast");
BENCHMARK(binary<soft::add>)->Name("fadd/soft");
BENCHMARK(binary<adds, true>)->Name("fadds/fast");
BENCHMARK(binary<soft::adds, true>)->Name("fadds/soft");
BENCHMARK(binary<mul>)->Name("fmul/fast");
BENCHMARK(binary<soft::mul>)->Name("fmul/soft");
BENCHMARK(binary<muls, true>)->Name("fmuls/fast");
BENCHMARK(binary<soft::muls, true>)->Name("fmuls/soft");
BENCHMARK(binary<div>)->Name("fdiv/fast");
BENCHMARK(binary<soft::div>)->Name("fdiv/soft");
BENCHMARK(ternary<madd>)->Name("fmadd/fast");
BENCHMARK(ternary<soft::madd>)->Name("fmadd/soft");
BENCHMARK(ternary<madds, true>)->Name("fmadds/fast");
BENCHMARK(ternary<soft::madds, true>)->Name("fmadds/soft");
BENCHMARK(unary<frsp>)->Name("frsp/fast");
BENCHMARK(unary<soft::frsp>)->Name("frsp/soft");
BENCHMARK(unary<fctiwz>)->Name("fctiwz/fast");
BENCHMARK(unary<soft::fctiwz>)->Name("fctiwz/soft");
BENCHMARK(binary<fcmpu>)->Name("fcmpu/fast");
BENCHMARK(binary<soft::fcmpu>)->Name("fcmpu/soft");
BENCHMARK(unary<frsqrte>)->Name("frsqrte");

}  // namespace
}  // namespace perfvisor::core::fpu

BENCHMARK_MAIN();
