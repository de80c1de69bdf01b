// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's KVM: what is said where there is none, or another. On a Power host with Book E KVM
// the device opens, and the same tests as for the KVM in user space would apply.
#include "kvm/linux/linux.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace perfvisor::kvm {
namespace {

TEST(LinuxKvm, MissingDeviceIsNamedInTheError) {
    const auto system = open_linux_kvm("/nonexistent/kvm");
    ASSERT_FALSE(system);
    EXPECT_EQ(system.error().message, "cannot open /nonexistent/kvm: No such file or directory");
}

TEST(LinuxKvm, FileThatIsNoKvmIsRefused) {
    const auto system = open_linux_kvm("/dev/null");
    ASSERT_FALSE(system);
    EXPECT_EQ(system.error().message, "/dev/null is not a KVM device");
}

#if !defined(__powerpc__)
TEST(LinuxKvm, KvmOfAnotherArchitectureIsRefusedWithASentence) {
    if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/kvm";
    const auto system = open_linux_kvm();
    ASSERT_FALSE(system);
    EXPECT_EQ(system.error().message,
              "/dev/kvm is the KVM of a host that is not Power; use the KVM in user space");
}
#endif

}  // namespace
}  // namespace perfvisor::kvm
