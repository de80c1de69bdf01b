// SPDX-License-Identifier: GPL-2.0-or-later
// A bounded number of the fuzzer's cases, each kind in a test of its own. engine_fuzz runs more.
//
// PERFVISOR_TEST_SEED=n: other cases; PERFVISOR_FUZZ_CASES=n: so many of each kind.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "fuzz_case.h"

namespace perfvisor::test {
namespace {

uint32_t from_environment(const char* name, uint32_t otherwise) {
    const char* text = std::getenv(name);
    return text ? static_cast<uint32_t>(std::strtoul(text, nullptr, 0)) : otherwise;
}

class Fuzz : public testing::TestWithParam<FuzzKind> {};

TEST_P(Fuzz, EnginesAgree) {
    const uint32_t first = 100'000 * from_environment("PERFVISOR_TEST_SEED", 0);
    const uint32_t cases = from_environment("PERFVISOR_FUZZ_CASES", 60);
    std::array<Fuzzer, 2> fuzzers = {Fuzzer(), Fuzzer(Fuzzer::kTiny)};
    uint64_t instructions = 0, interrupts = 0;
    for (uint32_t seed = first; seed < first + cases; ++seed) {
        const Fuzzer::Result result = fuzzers[seed % 2].run(GetParam(), seed);
        ASSERT_EQ(result.failure, "")
            << fmt::format("engine_fuzz --kind {} --seed {}", fuzz_kind_name(GetParam()), seed);
        instructions += result.instructions;
        interrupts += result.interrupts;
    }
    // The programs do something.
    EXPECT_GT(instructions, 200 * cases);
    EXPECT_GT(interrupts, cases);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Fuzz,
                         testing::Values(FuzzKind::Anything, FuzzKind::User, FuzzKind::Memory,
                                         FuzzKind::SelfChanging, FuzzKind::Paging, FuzzKind::Modes,
                                         FuzzKind::Float, FuzzKind::Debug, FuzzKind::Measured,
                                         FuzzKind::Modelled, FuzzKind::Timed),
                         [](const testing::TestParamInfo<FuzzKind>& kind) {
                             std::string name = fuzz_kind_name(kind.param);
                             std::erase(name, '-');
                             return name;
                         });

}  // namespace
}  // namespace perfvisor::test
