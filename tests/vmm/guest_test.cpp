// SPDX-License-Identifier: GPL-2.0-or-later
// Booting a guest on KVMs that differ in what they know of the performance monitor's reservation:
// the KVM in user space behind a handle that answers those requests in its stead.
#include "vmm/guest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "kvm/soft/soft.h"

namespace perfvisor::vmm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A kernel's KVM: `reserve_result` is what KVM_RESERVE_PERFMON gives, -ENOTTY without our patch.
class OtherVm final : public kvm::Vm {
  public:
    OtherVm(std::unique_ptr<kvm::Vm> vm, int reserve_result)
        : vm_(std::move(vm)), reserve_result_(reserve_result) {}
    int ioctl(uint32_t request, void* argument) override {
        if (request == KVM_RESERVE_PERFMON) return reserve_result_;
        if (request == KVM_CHECK_EXTENSION &&
            reinterpret_cast<uintptr_t>(argument) == KVM_CAP_PPC_PERFMON)
            return reserve_result_ != -ENOTTY;
        return vm_->ioctl(request, argument);
    }
    Result<std::unique_ptr<kvm::Vcpu>> create_vcpu(unsigned id) override {
        return vm_->create_vcpu(id);
    }

  private:
    std::unique_ptr<kvm::Vm> vm_;
    int reserve_result_;
};

class OtherKvm final : public kvm::System {
  public:
    explicit OtherKvm(int reserve_result) : reserve_result_(reserve_result) {
        auto system = kvm::make_soft_kvm({});
        if (!system) ADD_FAILURE() << system.error().message;
        system_ = std::move(*system);
    }
    int ioctl(uint32_t request, void* argument) override {
        return system_->ioctl(request, argument);
    }
    Result<std::unique_ptr<kvm::Vm>> create_vm() override {
        auto vm = system_->create_vm();
        if (!vm) return vm;
        return std::make_unique<OtherVm>(std::move(*vm), reserve_result_);
    }

  private:
    std::unique_ptr<kvm::System> system_;
    int reserve_result_;
};

class GuestBoot : public testing::Test {
  protected:
    static constexpr size_t kRamBytes = 16 << 20, kPage = 4096;

    GuestBoot() {
        // A raw image that branches to itself.
        const int fd = mkstemp(kernel_.data());
        const unsigned char self[] = {0x48, 0, 0, 0};
        EXPECT_EQ(write(fd, self, sizeof self), static_cast<ssize_t>(sizeof self));
        close(fd);
    }
    ~GuestBoot() override { unlink(kernel_.c_str()); }

    Result<std::unique_ptr<Guest>> boot(int reserve_result, ReservePerfmon wish) {
        system_.emplace(reserve_result);
        options_.reserve_perfmon = wish;
        options_.memory_bytes = kRamBytes;
        machine::BootFiles files;
        files.kernel = kernel_;
        Guest::Io io;
        io.warn = [this](const std::string& sentence) { warnings_.push_back(sentence); };
        return Guest::boot(*system_, options_, ram(), files, std::move(io));
    }
    std::span<uint8_t> ram() {
        const auto address = reinterpret_cast<uintptr_t>(ram_.data());
        return std::span(ram_).subspan(-address % kPage, kRamBytes);
    }
    // In the device tree, which is in RAM.
    bool has_property() const {
        return std::string_view(reinterpret_cast<const char*>(ram_.data()), ram_.size())
                   .find("power-isa-e.pm") != std::string_view::npos;
    }

    std::string kernel_ = testing::TempDir() + "perfvisor-kernel-XXXXXX";
    std::vector<uint8_t> ram_ = std::vector<uint8_t>(kRamBytes + kPage);
    RunOptions options_;
    std::optional<OtherKvm> system_;
    std::vector<std::string> warnings_;
};

TEST_F(GuestBoot, KernelWithTheReservationGivesThePerformanceMonitor) {
    const auto guest = boot(0, ReservePerfmon::IfPossible);
    ASSERT_TRUE(guest) << guest.error().message;
    EXPECT_TRUE((*guest)->has_perfmon());
    EXPECT_TRUE(has_property());
    EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(GuestBoot, KernelWithoutTheIoctlStartsTheGuestWithoutAndSaysWhy) {
    const auto guest = boot(-ENOTTY, ReservePerfmon::IfPossible);
    ASSERT_TRUE(guest) << guest.error().message;
    EXPECT_FALSE((*guest)->has_perfmon());
    EXPECT_FALSE(has_property());
    EXPECT_THAT(warnings_,
                ElementsAre("--reserve-perfmon: the guest starts without a performance monitor: "
                            "this KVM has no perfmon reservation"));
}

TEST_F(GuestBoot, KernelWhoseHostHoldsStartsTheGuestWithoutAndSaysWhy) {
    const auto guest = boot(-EBUSY, ReservePerfmon::IfPossible);
    ASSERT_TRUE(guest) << guest.error().message;
    EXPECT_FALSE((*guest)->has_perfmon());
    EXPECT_FALSE(has_property());
    ASSERT_EQ(warnings_.size(), 1u);
    EXPECT_THAT(warnings_[0], HasSubstr("the host is using it"));
}

TEST_F(GuestBoot, RequiredFailsOnAKernelWithoutTheIoctl) {
    const auto guest = boot(-ENOTTY, ReservePerfmon::Required);
    ASSERT_FALSE(guest);
    EXPECT_EQ(guest.error().message,
              "--reserve-perfmon=required: this KVM has no perfmon reservation");
}

TEST_F(GuestBoot, NotAskingAsksNoKernel) {
    const auto guest = boot(-EIO, ReservePerfmon::No);
    ASSERT_TRUE(guest) << guest.error().message;
    EXPECT_FALSE((*guest)->has_perfmon());
    EXPECT_FALSE(has_property());
    EXPECT_THAT(warnings_, IsEmpty());
}

}  // namespace
}  // namespace perfvisor::vmm
