// SPDX-License-Identifier: GPL-2.0-or-later
// Our description of powerpc's KVM API against Linux's own header, as the powerpc cross compiler
// sees it.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "kvm/uapi/kvm_perfmon.h"
#include "kvm/uapi/kvm_powerpc.h"
#include "kvm/uapi/kvm_soft.h"

namespace perfvisor::kvm {
namespace {

struct Value {
    const char* name;
    uint64_t value;
};

// NOLINTBEGIN(bugprone-macro-parentheses,bugprone-sizeof-expression)
const Value kOurs[] = {
#define ABI(expression) {#expression, static_cast<uint64_t>(expression)},
#include "abi_values.inc"
#undef ABI
};
// NOLINTEND(bugprone-macro-parentheses,bugprone-sizeof-expression)

// Big-endian doublewords, as a powerpc object has them.
std::vector<uint64_t> read_linux_values(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<uint64_t> values;
    for (size_t n = 0; n + 8 <= bytes.size(); n += 8) {
        uint64_t value = 0;
        for (size_t byte = 0; byte < 8; ++byte)
            value = value << 8 | static_cast<uint8_t>(bytes[n + byte]);
        values.push_back(value);
    }
    return values;
}

TEST(Abi, EveryValueIsLinuxs) {
    const std::string path = LINUX_ABI_VALUES;
    if (path.empty()) GTEST_SKIP() << "no powerpc cross compiler with <linux/kvm.h>";
    const std::vector<uint64_t> theirs = read_linux_values(path);
    ASSERT_EQ(theirs.size(), std::size(kOurs));
    for (size_t n = 0; n < theirs.size(); ++n)
        EXPECT_EQ(kOurs[n].value, theirs[n]) << kOurs[n].name << std::hex << ": ours "
                                             << kOurs[n].value << ", Linux's " << theirs[n];
}

TEST(Abi, OurOwnRequestsAndIdsDoNotMeetLinuxs) {
    std::set<uint64_t> taken;
    for (const Value& value : kOurs)
        if (std::string(value.name).rfind("KVM_", 0) == 0) taken.insert(value.value);
    for (const uint32_t own : {KVM_RESERVE_PERFMON, KVM_RELEASE_PERFMON, KVM_SOFT_SET_LINE,
                               KVM_SOFT_GET_TIME, KVM_SOFT_SET_DEADLINE, KVM_SOFT_FREEZE_TIMEBASES,
                               KVM_SOFT_OWN_PERFMON, KVM_SOFT_SET_TIMING}) {
        EXPECT_TRUE(taken.insert(own).second) << std::hex << own;
        // Linux hands out KVMIO numbers up to 0xe3 (6.1) for VMs, vCPUs and devices.
        EXPECT_GE(own & 0xff, 0xf0u);
        EXPECT_EQ(own >> 8 & 0xff, KVMIO);
    }
    for (unsigned pmr = 0; pmr < 1024; ++pmr)
        EXPECT_TRUE(taken.insert(KVM_REG_PPC_PMR(pmr)).second) << pmr;
}

TEST(Abi, ReserveAndReleaseAreWhatTheDocumentationSays) {
    EXPECT_EQ(KVM_RESERVE_PERFMON, 0x2000aef0u);
    EXPECT_EQ(KVM_RELEASE_PERFMON, 0x2000aef1u);
    EXPECT_EQ(KVM_REG_PPC_PMR(400), 0x1020000040000190u);
    EXPECT_EQ(KVM_CAP_PPC_PERFMON, 0x65706d);
}

}  // namespace
}  // namespace perfvisor::kvm
