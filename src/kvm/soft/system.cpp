// SPDX-License-Identifier: GPL-2.0-or-later
// The system handle of the KVM in user space.
#include <cerrno>
#include <limits>
#include <string>

#include "engine/engine.h"
#include "kvm/soft/soft.h"
#include "kvm/soft/vm.h"

namespace perfvisor::kvm {

namespace {

class SoftSystem final : public System {
  public:
    SoftSystem(const SoftOptions& options, const core::CoreModel& model)
        : options_(options),
          model_(model),
          perfmon_(std::make_shared<PerfmonGuests>(options.pmc)) {}

    int ioctl(uint32_t request, void* argument) override {
        switch (request) {
            case KVM_GET_API_VERSION:
                return KVM_API_VERSION;
            case KVM_GET_VCPU_MMAP_SIZE:
                return sizeof(kvm_run);
            case KVM_CHECK_EXTENSION:
                return soft_extension(reinterpret_cast<uintptr_t>(argument), perfmon_->available());
            default:
                return -ENOTTY;
        }
    }

    Result<std::unique_ptr<Vm>> create_vm() override {
        return std::make_unique<SoftVm>(options_, model_, perfmon_);
    }

  private:
    const SoftOptions options_;
    const core::CoreModel& model_;
    const std::shared_ptr<PerfmonGuests> perfmon_;
};

Result<void> check_frequency(uint64_t hz, const char* what) {
    if (hz >= 1 && hz <= std::numeric_limits<uint32_t>::max()) return {};
    return fail("the {} frequency of {} Hz is out of range: 1 Hz to 4294967295 Hz", what, hz);
}

}  // namespace

std::optional<std::string> translator_missing() {
    return engine::translator_missing();
}

Result<std::unique_ptr<System>> make_soft_kvm(const SoftOptions& options) {
    const core::CoreModel* model = core::find_core_model(options.cpu_model.c_str());
    if (model == nullptr) {
        std::string known;
        for (const core::CoreModel& one : core::core_models())
            known += (known.empty() ? "" : ", ") + std::string(one.name);
        return fail("unknown CPU {}: known are {}", options.cpu_model, known);
    }
    if (auto checked = check_frequency(options.timebase_hz, "time base"); !checked)
        return tl::unexpected(checked.error());
    if (auto checked = check_frequency(options.cpu_hz, "CPU"); !checked)
        return tl::unexpected(checked.error());
    if (options.engine == SoftEngine::Lockstep && options.clock != SoftClock::Virtual)
        return fail(
            "the lockstep engine needs the virtual clock (--clock=virtual): under the "
            "host's, each engine would read another time");
    return std::make_unique<SoftSystem>(options, *model);
}

}  // namespace perfvisor::kvm
