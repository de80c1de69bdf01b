// SPDX-License-Identifier: GPL-2.0-or-later
// An engine against QEMU's user mode on random instruction sequences with random register
// contents. Skipped, saying so, where qemu-ppc is missing.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/fpu/fpscr.h"
#include "guest_harness.h"
#include "random_guest.h"

using namespace perfvisor;
using test::Guest;
using test::Mix;
using test::RandomGuest;
using test::Record;

namespace {

// The records as QEMU leaves them; empty where it could not run.
std::vector<uint8_t> run_in_qemu(const RandomGuest& program, const std::string& cpu) {
    const std::string base = testing::TempDir() + "random_guest_" + std::to_string(getpid());
    const std::vector<uint8_t> elf = program.elf();
    std::ofstream(base, std::ios::binary)
        .write(reinterpret_cast<const char*>(elf.data()), static_cast<std::streamsize>(elf.size()));
    const std::string command =
        "chmod +x '" + base + "' && qemu-ppc -cpu " + cpu + " '" + base + "' >'" + base + ".out'";
    const int status = std::system(command.c_str());  // NOLINT: a fixed command
    std::ifstream file(base + ".out", std::ios::binary);
    std::vector<uint8_t> records{std::istreambuf_iterator<char>(file), {}};
    for (const char* suffix : {"", ".out"})
        std::remove((base + suffix).c_str());
    return status == 0 ? records : std::vector<uint8_t>{};
}

// The records as the engine leaves them: a user-mode program at the same addresses.
std::vector<uint8_t> run_here(const RandomGuest& program) {
    // As the e500mc, and with the string instructions, which that leaves to software.
    core::CoreModel model = *core::find_core_model("e500mc");
    model.categories |= 1u << static_cast<unsigned>(isa::Category::MoveAssist);
    constexpr uint32_t kPhysical = 0x1000000, kBytes = 0x1000000;
    Guest guest(engine::EngineKind::PERFVISOR_TEST_ENGINE, &model, kPhysical + kBytes);
    EXPECT_LE(program.image().size(), kBytes);
    guest.map(1, RandomGuest::kBase, kPhysical, kBytes, Guest::kAllPermissions);
    std::memcpy(guest.bytes(kPhysical), program.image().data(), program.image().size());
    guest.core().mmu().set_entry(1, 0, [] {
        core::TlbEntry vectors;
        vectors.valid = true;
        vectors.size = 0x100000;
        vectors.permissions = Guest::kSX | Guest::kSR;
        return vectors;
    }());
    guest.core().set_msr(guest.state().msr | core::msr::kPR);
    guest.state().pc = program.entry();
    EXPECT_TRUE(guest.run(100'000'000)) << "the program did not end";
    EXPECT_EQ(guest.state().pc, Guest::vector(core::Interrupt::SystemCall) + 4)
        << "an interrupt came from " << std::hex << [&] {
               uint64_t srr0 = 0;
               guest.core().get_spr(core::spr::kSRR0, srr0);
               return srr0;
           }();
    const uint8_t* records = guest.bytes(kPhysical) + program.records();
    return {records, records + program.records_bytes()};
}

uint64_t field(const uint8_t* bytes, unsigned size) {
    uint64_t value = 0;
    for (unsigned n = 0; n < size; ++n)
        value = value << 8 | bytes[n];
    return value;
}

// What differs between two records, as text; empty if nothing does.
std::string differences(const uint8_t* here, const uint8_t* qemu) {
    // 4.2.2 of Power ISA 2.06 Book I: FR says whether rounding incremented the fraction. QEMU does
    // not compute it.
    uint64_t fpscr_mask = ~uint64_t{core::fpu::kFr};
    // Appendix A.1: a single result below 2^-126 has the class "denormalized". QEMU classifies it
    // as the normal double it is stored as.
    const auto fpscr = static_cast<uint32_t>(field(here + Record::kFpscr, 8));
    const uint32_t fprf = fpscr & core::fpu::kFprf;
    if (fprf == core::fpu::kFprfPositiveDenormal || fprf == core::fpu::kFprfNegativeDenormal)
        fpscr_mask &= ~uint64_t{core::fpu::kFprf & ~core::fpu::kFpcc};
    // 4.4.1.1: infinity times zero plus a signalling NaN is invalid for two reasons. QEMU tells the
    // product's only.
    if (fpscr & core::fpu::kVximz) fpscr_mask &= ~uint64_t{core::fpu::kVxsnan};
    std::string text;
    const auto compare = [&](const std::string& name, size_t at, unsigned size, uint64_t mask) {
        const uint64_t x = field(here + at, size) & mask, y = field(qemu + at, size) & mask;
        if (x != y) text += fmt::format("  {}: here {:x}, QEMU {:x}\n", name, x, y);
    };
    for (unsigned n = 0; n < 32; ++n)
        compare(fmt::format("r{}", n), Record::kGpr + 4 * n, 4, ~uint64_t{0});
    compare("CR", Record::kCr, 4, ~uint64_t{0});
    compare("XER", Record::kXer, 4, ~uint64_t{0});
    compare("CTR", Record::kCtr, 4, ~uint64_t{0});
    compare("LR", Record::kLr, 4, ~uint64_t{0});
    for (unsigned n = 0; n < 32; ++n)
        compare(fmt::format("f{}", n), Record::kFpr + 8 * n, 8, ~uint64_t{0});
    compare("FPSCR", Record::kFpscr, 8, fpscr_mask);
    for (unsigned n = 0; n < Record::kBufferBytes; n += 4)
        compare(fmt::format("memory {}", n), Record::kBuffer + n, 4, ~uint64_t{0});
    return text;
}

void compare_with_qemu(Mix mix, const std::string& cpu, unsigned cases, uint32_t seed) {
    if (std::system("command -v qemu-ppc >/dev/null 2>&1") != 0)  // NOLINT: a fixed command
        GTEST_SKIP() << "qemu-ppc (Debian's qemu-user) is not installed";
    // Other sequences than the usual ones: PERFVISOR_TEST_SEED=1, 2 ...
    if (const char* other = std::getenv("PERFVISOR_TEST_SEED"))
        seed += 1000 * static_cast<uint32_t>(std::strtoul(other, nullptr, 0));
    const RandomGuest program(mix, cases, seed);
    const std::vector<uint8_t> qemu = run_in_qemu(program, cpu);
    ASSERT_EQ(qemu.size(), program.records_bytes()) << "qemu-ppc did not run the program";
    const std::vector<uint8_t> here = run_here(program);
    unsigned different = 0;
    for (unsigned n = 0; n < cases; ++n) {
        const size_t at = n * Record::kBytes;
        const std::string text = differences(&here[at], &qemu[at]);
        if (text.empty()) continue;
        if (++different > 3) continue;
        const uint8_t* before = program.image().data() + program.records() + at;
        ADD_FAILURE() << "case " << n << ":\n"
                      << program.listing(n) << text << "  FPSCR before: " << std::hex
                      << field(before + Record::kFpscr, 8);
    }
    EXPECT_EQ(different, 0u) << "of " << cases << " sequences";
}

}  // namespace

TEST(AgainstQemu, IntegerConditionAndBranchSequences) {
    compare_with_qemu(Mix::Integer, "e500mc", 3000, 11);
}

TEST(AgainstQemu, LoadStoreMultipleAndReservationSequences) {
    compare_with_qemu(Mix::Memory, "e500mc", 3000, 12);
}

// The e500mc leaves string instructions to software, in QEMU too.
TEST(AgainstQemu, StringSequences) {
    compare_with_qemu(Mix::String, "7448", 1500, 13);
}

TEST(AgainstQemu, DoublePrecisionSequences) {
    compare_with_qemu(Mix::FloatDouble, "e500mc", 3000, 14);
}

TEST(AgainstQemu, SinglePrecisionSequences) {
    compare_with_qemu(Mix::FloatSingle, "e500mc", 3000, 15);
}
