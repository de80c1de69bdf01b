// SPDX-License-Identifier: GPL-2.0-or-later
// The registers that gdb sees.
#include "vmm/gdb_registers.h"

#include <iterator>
#include <string_view>

namespace perfvisor::vmm {
namespace {

constexpr unsigned kFpr0 = 32, kFpscr = 70;

// Of pc to xer, the registers between the FPRs and FPSCR.
struct CoreRegister {
    const char* name;
    const char* type;
    __u64 kvm_regs::*place;
};
constexpr CoreRegister kCore[] = {
    {"pc", "code_ptr", &kvm_regs::pc}, {"msr", "uint32", &kvm_regs::msr},
    {"cr", "uint32", &kvm_regs::cr},   {"lr", "code_ptr", &kvm_regs::lr},
    {"ctr", "uint32", &kvm_regs::ctr}, {"xer", "uint32", &kvm_regs::xer},
};
static_assert(kGdbPc + std::size(kCore) == kFpscr);

// A system register is one of kvm_regs, has a one-reg id, or is read from kvm_sregs.
struct SystemRegister {
    const char* name;
    unsigned bits = 32;
    __u64 kvm_regs::*in_regs = nullptr;
    uint64_t one_reg = 0;
    uint64_t (*in_sregs)(const kvm_sregs_e&) = nullptr;
};
constexpr SystemRegister by_id(const char* name, uint64_t id) {
    return {name, 32, nullptr, id, nullptr};
}
constexpr SystemRegister kSystem[] = {
    {"srr0", 32, &kvm_regs::srr0},
    {"srr1", 32, &kvm_regs::srr1},
    {"pid", 32, &kvm_regs::pid},
    {"sprg0", 32, &kvm_regs::sprg0},
    {"sprg1", 32, &kvm_regs::sprg1},
    {"sprg2", 32, &kvm_regs::sprg2},
    {"sprg3", 32, &kvm_regs::sprg3},
    {"sprg4", 32, &kvm_regs::sprg4},
    {"sprg5", 32, &kvm_regs::sprg5},
    {"sprg6", 32, &kvm_regs::sprg6},
    {"sprg7", 32, &kvm_regs::sprg7},
    {"esr", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.esr; }},
    {"dear", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.dear; }},
    {"csrr0", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.csrr0; }},
    {"csrr1", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.csrr1; }},
    {"mcsr", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.mcsr; }},
    {"ivpr", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.ivpr; }},
    {"tcr", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.tcr; }},
    {"tsr", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.tsr; }},
    {"dec", 32, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.dec; }},
    {"tb", 64, nullptr, 0, [](const kvm_sregs_e& e) -> uint64_t { return e.tb; }},
    by_id("pmgc0", KVM_REG_PPC_PMR(400)),
    by_id("pmlca0", KVM_REG_PPC_PMR(144)),
    by_id("pmlca1", KVM_REG_PPC_PMR(145)),
    by_id("pmlca2", KVM_REG_PPC_PMR(146)),
    by_id("pmlca3", KVM_REG_PPC_PMR(147)),
    by_id("pmlcb0", KVM_REG_PPC_PMR(272)),
    by_id("pmlcb1", KVM_REG_PPC_PMR(273)),
    by_id("pmlcb2", KVM_REG_PPC_PMR(274)),
    by_id("pmlcb3", KVM_REG_PPC_PMR(275)),
    by_id("pmc0", KVM_REG_PPC_PMR(16)),
    by_id("pmc1", KVM_REG_PPC_PMR(17)),
    by_id("pmc2", KVM_REG_PPC_PMR(18)),
    by_id("pmc3", KVM_REG_PPC_PMR(19)),
};

Result<uint64_t> read_one_reg(kvm::Vcpu& vcpu, uint64_t id) {
    if ((id & KVM_REG_SIZE_MASK) == KVM_REG_SIZE_U64) return kvm::get_one_reg<uint64_t>(vcpu, id);
    return kvm::get_one_reg<uint32_t>(vcpu, id).map([](uint32_t value) { return uint64_t{value}; });
}

Result<void> write_one_reg(kvm::Vcpu& vcpu, uint64_t id, uint64_t value) {
    if ((id & KVM_REG_SIZE_MASK) == KVM_REG_SIZE_U64) return kvm::set_one_reg(vcpu, id, value);
    return kvm::set_one_reg(vcpu, id, static_cast<uint32_t>(value));
}

// The member of kvm_regs that is the register, or null.
__u64* place_in(kvm_regs& regs, unsigned number) {
    if (number < kFpr0) return &regs.gpr[number];
    if (number >= kGdbPc && number < kFpscr) return &(regs.*kCore[number - kGdbPc].place);
    if (number >= kGdbCoreRegisters) {
        const SystemRegister& wanted = kSystem[number - kGdbCoreRegisters];
        if (wanted.in_regs != nullptr) return &(regs.*wanted.in_regs);
    }
    return nullptr;
}

// The one-reg id of those that have one, or 0.
uint64_t one_reg_id(unsigned number) {
    if (number >= kFpr0 && number < kGdbPc) return KVM_REG_PPC_FPR(number - kFpr0);
    if (number == kFpscr) return KVM_REG_PPC_FPSCR;
    return number >= kGdbCoreRegisters ? kSystem[number - kGdbCoreRegisters].one_reg : 0;
}

}  // namespace

unsigned gdb_register_count() {
    return kGdbCoreRegisters + static_cast<unsigned>(std::size(kSystem));
}

unsigned gdb_register_bits(unsigned number) {
    if (number >= kGdbCoreRegisters) return kSystem[number - kGdbCoreRegisters].bits;
    return number >= kFpr0 && number < kGdbPc ? 64 : 32;
}

std::string gdb_target_description() {
    std::string text =
        "<?xml version=\"1.0\"?>\n"
        "<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
        "<target version=\"1.0\">\n"
        "<architecture>powerpc:common</architecture>\n"
        "<feature name=\"org.gnu.gdb.power.core\">\n";
    const auto add = [&](std::string_view name, unsigned number, unsigned bits,
                         std::string_view type, std::string_view group) {
        text += fmt::format("<reg name=\"{}\" bitsize=\"{}\" regnum=\"{}\" type=\"{}\"{}/>\n", name,
                            bits, number, type,
                            group.empty() ? "" : fmt::format(" group=\"{}\"", group));
    };
    for (unsigned n = 0; n < kFpr0; ++n)
        add(fmt::format("r{}", n), n, 32, "uint32", "");
    for (unsigned n = 0; n < std::size(kCore); ++n)
        add(kCore[n].name, kGdbPc + n, 32, kCore[n].type, "");
    text += "</feature>\n<feature name=\"org.gnu.gdb.power.fpu\">\n";
    for (unsigned n = 0; n < 32; ++n)
        add(fmt::format("f{}", n), kFpr0 + n, 64, "ieee_double", "float");
    add("fpscr", kFpscr, 32, "uint32", "float");
    text += "</feature>\n<feature name=\"org.perfvisor.power.system\">\n";
    for (unsigned n = 0; n < std::size(kSystem); ++n)
        add(kSystem[n].name, kGdbCoreRegisters + n, kSystem[n].bits,
            kSystem[n].bits == 64 ? "uint64" : "uint32", "system");
    return text + "</feature>\n</target>\n";
}

Result<uint64_t> read_gdb_register(kvm::Vcpu& vcpu, unsigned number) {
    if (number >= gdb_register_count()) return fail("there is no register {}", number);
    if (const uint64_t id = one_reg_id(number)) return read_one_reg(vcpu, id);
    if (kvm_regs names{}; place_in(names, number) != nullptr) {
        auto regs = kvm::get_regs(vcpu);
        if (!regs) return tl::unexpected(regs.error());
        return *place_in(*regs, number);
    }
    const auto sregs = kvm::get_sregs(vcpu);
    if (!sregs) return tl::unexpected(sregs.error());
    return kSystem[number - kGdbCoreRegisters].in_sregs(sregs->u.e);
}

Result<void> write_gdb_register(kvm::Vcpu& vcpu, unsigned number, uint64_t value) {
    if (number >= gdb_register_count()) return fail("there is no register {}", number);
    if (const uint64_t id = one_reg_id(number)) return write_one_reg(vcpu, id, value);
    if (kvm_regs names{}; place_in(names, number) == nullptr)
        return fail("register {} can only be read", number);
    auto regs = kvm::get_regs(vcpu);
    if (!regs) return tl::unexpected(regs.error());
    *place_in(*regs, number) = value;
    return kvm::set_regs(vcpu, *regs);
}

}  // namespace perfvisor::vmm
