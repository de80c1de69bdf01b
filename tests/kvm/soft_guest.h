// SPDX-License-Identifier: GPL-2.0-or-later
// A VM of the KVM in user space with a little RAM and one vCPU, for tests at the handles.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "guest_code.h"
#include "host/pmc_hardware.h"
#include "kvm/api.h"
#include "kvm/soft/soft.h"

namespace perfvisor::kvm {

// The engines that this host has, as the parameters of tests.
inline std::vector<SoftEngine> soft_engines() {
    if (translator_missing()) return {SoftEngine::Interpreter};
    return {SoftEngine::Interpreter, SoftEngine::Translator};
}

// RAM is at 0, mapped one to one; device accesses go to kDevice, mapped to kDevicePhysical.
constexpr uint64_t kRamSize = 1 << 20;
constexpr uint32_t kDevice = 0xe0000000;
constexpr uint64_t kDevicePhysical = 0xfe0000000;
constexpr uint32_t kVectors = 0x10000;  // IVPR; IVORn is n * 0x100
constexpr uint32_t kStart = 0x1000;
constexpr uint32_t kMsrEE = 0x8000, kMsrCE = 0x20000, kMsrME = 0x1000, kMsrPR = 0x4000;

constexpr uint32_t vector(unsigned ivor) {
    return kVectors + ivor * 0x100;
}

// The host's side of the reservation, for one process.
class FakePmc final : public host::PmcHardware {
  public:
    tl::expected<void, host::ReserveError> reserve(host::PmcHandler) override {
        ++reserve_calls;
        if (refuse) return tl::unexpected(*refuse);
        held = true;
        return {};
    }
    void release() override { held = false; }
    bool reserved() const override { return held; }
    void interrupt() override {}

    std::optional<host::ReserveError> refuse;
    bool held = false;
    int reserve_calls = 0;
};

class SoftGuest {
  public:
    explicit SoftGuest(SoftOptions options = virtual_clock(), unsigned vcpus = 1)
        : ram_(kRamSize + 4096) {
        auto system = make_soft_kvm(options);
        if (!system) ADD_FAILURE() << system.error().message;
        system_ = std::move(*system);
        auto vm = system_->create_vm();
        if (!vm) ADD_FAILURE() << vm.error().message;
        vm_ = std::move(*vm);
        EXPECT_TRUE(set_user_memory_region(*vm_, 0, 0, ram(), kRamSize));
        for (unsigned id = 0; id < vcpus; ++id)
            add_vcpu(id);
    }

    static SoftOptions virtual_clock() {
        SoftOptions options;
        options.clock = SoftClock::Virtual;
        return options;
    }

    System& system() { return *system_; }
    Vm& vm() { return *vm_; }
    Vcpu& vcpu(unsigned id = 0) { return *vcpus_[id]; }
    std::vector<kvm_book3e_206_tlb_entry>& tlb(unsigned id = 0) { return tlbs_[id]; }
    void destroy_vm() {
        vcpus_.clear();
        vm_.reset();
    }

    uint8_t* ram() {
        const auto address = reinterpret_cast<uintptr_t>(ram_.data());
        return ram_.data() + (-address & 4095);
    }
    void write(uint32_t address, const guest::Code& code) {
        for (const uint32_t word : code) {
            for (int byte = 0; byte < 4; ++byte)
                ram()[address + static_cast<uint32_t>(byte)] =
                    static_cast<uint8_t>(word >> (24 - 8 * byte));
            address += 4;
        }
    }
    uint32_t word(uint32_t address) {
        const uint8_t* at = ram() + address;
        return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
    }

    // Loads code at kStart and sets vCPU `id` to begin there.
    void start(const guest::Code& code, uint32_t msr = 0, unsigned id = 0,
               uint32_t address = kStart) {
        write(address, code);
        kvm_regs regs{};
        regs.pc = address;
        regs.msr = msr;
        EXPECT_TRUE(set_regs(vcpu(id), regs));
    }

    // KVM_RUN; the exit reason, or -errno.
    int run(unsigned id = 0) {
        const int result = vcpu(id).ioctl(KVM_RUN, nullptr);
        return result < 0 ? result : static_cast<int>(vcpu(id).run()->exit_reason);
    }
    kvm_regs regs(unsigned id = 0) {
        const auto got = get_regs(vcpu(id));
        EXPECT_TRUE(got);
        return *got;
    }
    uint64_t gpr(unsigned n, unsigned id = 0) { return regs(id).gpr[n]; }

    void add_vcpu(unsigned id) {
        auto vcpu = vm_->create_vcpu(id);
        if (!vcpu) ADD_FAILURE() << vcpu.error().message;
        vcpus_.push_back(std::move(*vcpu));
        tlbs_.emplace_back(512 + 64);
        auto& tlb = tlbs_.back();
        tlb[512] = {0, 0xc0000700, 0x4, 0x3f};  // 16 MiB, IPROT, all access
        tlb[513] = {0, 0xc0000700, kDevice | 0xa, kDevicePhysical | 0x3f};
        EXPECT_TRUE(config_tlb(*vcpus_.back(), tlb, 512, 4, 64));
        auto sregs = get_sregs(*vcpus_.back());
        ASSERT_TRUE(sregs);
        sregs->u.e.ivpr = kVectors;
        for (unsigned n = 0; n < 16; ++n)
            sregs->u.e.ivor_low[n] = n * 0x100;
        for (unsigned n = 0; n < 6; ++n)
            sregs->u.e.ivor_high[n] = (32 + n) * 0x100;
        EXPECT_TRUE(set_sregs(*vcpus_.back(), *sregs));
    }

  private:
    std::vector<uint8_t> ram_;
    std::unique_ptr<System> system_;
    std::unique_ptr<Vm> vm_;
    std::vector<std::vector<kvm_book3e_206_tlb_entry>> tlbs_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

// A device write of r3 to the device's first word: how the guests of the tests say "done".
inline guest::Code say(unsigned gpr) {
    using guest::operator+;
    return guest::load(31, kDevice) + guest::Code{guest::stw(gpr, 0, 31)};
}

// Of two CPUs that can go no further whichever comes last leaves with KVM_EXIT_HLT; then both are
// kicked.
inline void expect_no_way_on_to_be_told_once(const SoftOptions& options) {
    constexpr uint32_t kOther = 0x4000;
    SoftGuest guest(options, 2);
    guest.start({guest::kNop, guest::kSelf}, 0, 1, kOther);
    guest.start({guest::kNop, guest::kNop, guest::kSelf});
    std::atomic<int> reasons[2] = {0, 0};
    const auto run = [&](unsigned id) {
        reasons[id] = guest.run(id);
        for (const unsigned other : {0u, 1u})
            guest.vcpu(other).kick();
    };
    std::thread first(run, 0);
    std::thread second(run, 1);
    first.join();
    second.join();
    EXPECT_EQ(std::min<int>(reasons[0], reasons[1]), -EINTR);
    EXPECT_EQ(std::max<int>(reasons[0], reasons[1]), KVM_EXIT_HLT);
}

}  // namespace perfvisor::kvm
