// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's KVM behind the same handles: /dev/kvm of a Power host.
#include "kvm/linux/linux.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "base/unique_fd.h"
#include "kvm/linux/scoped_mapping.h"

namespace perfvisor::kvm {

namespace {

int call(const UniqueFd& fd, uint32_t request, void* argument) {
    const int result = ::ioctl(fd.get(), request, argument);
    return result < 0 ? -errno : result;
}

void* as_pointer(unsigned long number) {
    return reinterpret_cast<void*>(number);
}

const char* errno_text(int negative_errno) {
    const char* text = strerrordesc_np(-negative_errno);
    return text != nullptr ? text : "unknown error";
}

// ---- bringing a thread out of KVM_RUN ----

// Any signal does; its handler has nothing to do.
int kick_signal() {
    return SIGRTMIN + 1;
}

void install_kick_handler() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_handler = [](int) {};
        sigemptyset(&action.sa_mask);
        sigaction(kick_signal(), &action, nullptr);
    });
}

// ---- handles ----

class LinuxVcpu final : public Vcpu {
  public:
    LinuxVcpu(UniqueFd fd, ScopedMapping area)
        : fd_(std::move(fd)), area_(std::move(area)), run_(static_cast<kvm_run*>(area_.get())) {}

    int ioctl(uint32_t request, void* argument) override {
        if (request != KVM_RUN) return call(fd_, request, argument);
        // The thread may be new each time: what kick() signals is who is inside.
        thread_.store(static_cast<pid_t>(::syscall(SYS_gettid)));
        const int result = call(fd_, request, nullptr);
        thread_.store(0);
        return result;
    }

    kvm_run* run() override { return run_; }

    // immediate_exit first: if the signal comes before the thread is in the kernel, KVM_RUN
    // returns by that.
    void kick() override {
        std::atomic_ref<uint8_t>(run_->immediate_exit).store(1);
        const pid_t thread = thread_.load();
        if (thread == 0) return;
        const int saved_errno = errno;
        ::syscall(SYS_tgkill, ::getpid(), thread, kick_signal());
        errno = saved_errno;
    }

  private:
    UniqueFd fd_;
    ScopedMapping area_;
    kvm_run* run_;
    std::atomic<pid_t> thread_{0};
};

class LinuxVm final : public Vm {
  public:
    LinuxVm(UniqueFd fd, size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

    int ioctl(uint32_t request, void* argument) override { return call(fd_, request, argument); }

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned id) override {
        const int result = call(fd_, KVM_CREATE_VCPU, as_pointer(id));
        if (result < 0) return fail("KVM could not create CPU {}: {}", id, errno_text(result));
        UniqueFd vcpu(result);
        void* area = ::mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.get(), 0);
        if (area == MAP_FAILED)
            return fail("cannot map the run area of CPU {}: {}", id, errno_text(-errno));
        return std::make_unique<LinuxVcpu>(std::move(vcpu), ScopedMapping(area, run_size_));
    }

  private:
    UniqueFd fd_;
    size_t run_size_;
};

class LinuxSystem final : public System {
  public:
    LinuxSystem(UniqueFd fd, size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

    int ioctl(uint32_t request, void* argument) override { return call(fd_, request, argument); }

    Result<std::unique_ptr<Vm>> create_vm() override {
        const int result = call(fd_, KVM_CREATE_VM, nullptr);
        if (result < 0) return fail("KVM could not create a VM: {}", errno_text(result));
        return std::make_unique<LinuxVm>(UniqueFd(result), run_size_);
    }

  private:
    UniqueFd fd_;
    size_t run_size_;
};

// ---- what KVM this is ----

// KVM_GET_API_VERSION as most architectures number it: no direction bits for "no argument".
constexpr unsigned long kGenericGetApiVersion = KVMIO << 8;

Result<void> check_power_kvm(const UniqueFd& fd, const std::string& path) {
    const int version = call(fd, KVM_GET_API_VERSION, nullptr);
    if (version < 0) {
        if (::ioctl(fd.get(), kGenericGetApiVersion, 0) == KVM_API_VERSION)
            return fail("{} is the KVM of a host that is not Power; use the KVM in user space",
                        path);
        return fail("{} is not a KVM device", path);
    }
    if (version != KVM_API_VERSION)
        return fail("{} speaks KVM API version {}, {} is needed", path, version, KVM_API_VERSION);
    if (call(fd, KVM_CHECK_EXTENSION, as_pointer(KVM_CAP_PPC_BOOKE_SREGS)) <= 0)
        return fail(
            "{} is not the KVM of an Embedded Power (Book E) host; use the KVM in user "
            "space",
            path);
    return {};
}

}  // namespace

Result<std::unique_ptr<System>> open_linux_kvm(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd) return fail("cannot open {}: {}", path, errno_text(-errno));
    if (auto checked = check_power_kvm(fd, path); !checked) return tl::unexpected(checked.error());
    const int run_size = call(fd, KVM_GET_VCPU_MMAP_SIZE, nullptr);
    if (run_size < static_cast<int>(sizeof(kvm_run)))
        return fail("{} has a run area of {} bytes, {} are needed", path, run_size,
                    sizeof(kvm_run));
    install_kick_handler();
    return std::make_unique<LinuxSystem>(std::move(fd), static_cast<size_t>(run_size));
}

}  // namespace perfvisor::kvm
