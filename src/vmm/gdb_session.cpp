// SPDX-License-Identifier: GPL-2.0-or-later
// gdb's packets (appendix E of its manual; "Packets" and "General Query Packets").
#include "vmm/gdb_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "vmm/gdb_registers.h"

namespace perfvisor::vmm {
namespace {

// Errors of the protocol are numbers; gdb shows them and does not interpret them. These are the
// host's errno values for it.
constexpr const char* kOk = "OK";
constexpr const char* kFault = "E0e";     // EFAULT: no memory there
constexpr const char* kInvalid = "E16";   // EINVAL: not understood, or not possible
constexpr const char* kNoThread = "E03";  // ESRCH

constexpr int kSigInt = 2;

// As QEMU numbers the bits of sstep.
constexpr unsigned kStepEnable = 1, kStepNoInterrupts = 2, kStepNoTimers = 4;

std::string register_hex(uint64_t value, unsigned bits) {
    return bits == 64 ? fmt::format("{:016x}", value)
                      : fmt::format("{:08x}", static_cast<uint32_t>(value));
}

uint64_t big_endian(std::span<const uint8_t> bytes) {
    uint64_t value = 0;
    for (const uint8_t byte : bytes)
        value = value << 8 | byte;
    return value;
}

// ADDRESS,LENGTH.
struct Range {
    uint64_t address;
    uint64_t length;
};
std::optional<Range> take_range(std::string_view& text) {
    const auto address = take_hex(text);
    if (!address || !take(text, ",")) return std::nullopt;
    const auto length = take_hex(text);
    if (!length) return std::nullopt;
    return Range{*address, *length};
}

}  // namespace

std::string GdbSession::send(std::string_view data) {
    last_sent_ = gdb_packet(data);
    return last_sent_;
}

GdbSession::Answer GdbSession::receive(std::string_view bytes) {
    Answer answer;
    for (const GdbInput& input : reader_.receive(bytes)) {
        hear(input, answer);
        if (answer.close) break;
    }
    return answer;
}

void GdbSession::hear(const GdbInput& input, Answer& answer) {
    switch (input.kind) {
        case GdbInput::Kind::Interrupt:
            if (!running_) return;
            target_.stop();
            answer.bytes += stopped({0, kSigInt, std::nullopt});
            return;
        case GdbInput::Kind::Resend:
            if (acknowledge_) answer.bytes += last_sent_;
            return;
        case GdbInput::Kind::Damaged:
            if (acknowledge_) answer.bytes += '-';
            return;
        case GdbInput::Kind::Packet:
            break;
    }
    if (acknowledge_) answer.bytes += '+';
    // A debugger waits for the stop; one that does not gets the guest stopped.
    if (running_) {
        target_.stop();
        running_ = false;
    }
    if (const auto reply = execute(input.data, answer)) answer.bytes += send(*reply);
}

std::string GdbSession::stopped(const DebugStop& stop) {
    running_ = false;
    last_stop_ = stop;
    cpu_ = stop.cpu < target_.cpus() ? stop.cpu : 0;
    return send(stop_reply());
}

std::string GdbSession::ended(int status) {
    running_ = false;
    return send(fmt::format("W{:02x}", status & 0xff));
}

std::string GdbSession::stop_reply() const {
    std::string text = fmt::format("T{:02x}thread:{:02x};", last_stop_.signal, last_stop_.cpu + 1);
    if (last_stop_.watch) {
        const char* kind = last_stop_.watch->kind == DebugPoint::Kind::Read     ? "rwatch"
                           : last_stop_.watch->kind == DebugPoint::Kind::Access ? "awatch"
                                                                                : "watch";
        text += fmt::format("{}:{:08x};", kind, last_stop_.watch->address);
    }
    return text;
}

std::optional<std::string> GdbSession::execute(std::string_view packet, Answer& answer) {
    if (packet.empty()) return "";
    const char command = packet.front();
    packet.remove_prefix(1);
    switch (command) {
        case '?':
            return stop_reply();
        case 'g':
            return read_registers();
        case 'G':
            return write_registers(packet);
        case 'p':
            return read_register(packet);
        case 'P':
            return write_register(packet);
        case 'm':
            return read_memory(packet);
        case 'M':
            return write_memory(packet, false);
        case 'X':
            return write_memory(packet, true);
        case 'Z':
            return change_point(packet, true);
        case 'z':
            return change_point(packet, false);
        case 'H':
            return select_thread(packet);
        case 'T':
            return cpu_of(packet) ? kOk : kNoThread;
        case 'q':
            return query(packet);
        case 'Q':
            return set(packet);
        case 'v':
            return v_packet(packet, answer);
        case 'C':
        case 'S':
            // A signal for the program means nothing to a machine.
            if (!take_hex(packet)) return kInvalid;
            take(packet, ";");
            return go_on(command == 'C' ? GdbTarget::Course::Run : GdbTarget::Course::Step, packet);
        case 'c':
            return go_on(GdbTarget::Course::Run, packet);
        case 's':
            return go_on(GdbTarget::Course::Step, packet);
        case 'D':
            target_.let_go();
            answer.close = true;
            return kOk;
        case 'k':
            target_.kill();
            answer.close = true;
            return std::nullopt;
        default:
            return "";  // not known
    }
}

// ---- threads ----

// A positive thread number; 0 is any thread.
std::optional<unsigned> GdbSession::cpu_of(std::string_view thread) const {
    const auto number = take_hex(thread);
    if (!number || !thread.empty() || *number > target_.cpus()) return std::nullopt;
    return *number == 0 ? cpu_ : static_cast<unsigned>(*number - 1);
}

// Hg: whose registers and memory; Hc, from before vCont, whom to continue: all, always.
std::string GdbSession::select_thread(std::string_view packet) {
    const bool general = take(packet, "g");
    if (!general && !take(packet, "c")) return kInvalid;
    if (packet == "-1") return kOk;
    const auto cpu = cpu_of(packet);
    if (!cpu) return kNoThread;
    if (general) cpu_ = *cpu;
    return kOk;
}

// ---- queries ----

std::string GdbSession::query(std::string_view packet) {
    if (packet.starts_with("Supported"))
        return fmt::format("PacketSize={:x};qXfer:features:read+;vContSupported+;QStartNoAckMode+",
                           kMostPacketBytes);
    if (packet == "Attached") return "1";
    if (packet == "C") return fmt::format("QC{:02x}", cpu_ + 1);
    if (packet == "fThreadInfo") {
        std::string list;
        for (unsigned cpu = 0; cpu < target_.cpus(); ++cpu)
            list += fmt::format("{}{:02x}", list.empty() ? "m" : ",", cpu + 1);
        return list;
    }
    if (packet == "sThreadInfo") return "l";
    if (take(packet, "ThreadExtraInfo,")) {
        const auto cpu = cpu_of(packet);
        if (!cpu) return kNoThread;
        const std::string state = fmt::format("CPU {} [{}]", *cpu, target_.cpu_state(*cpu));
        return to_hex({reinterpret_cast<const uint8_t*>(state.data()), state.size()});
    }
    if (packet.starts_with("Symbol:")) return kOk;
    if (packet == "qemu.PhyMemMode") return physical_ ? "1" : "0";
    if (packet == "qemu.sstepbits")
        return fmt::format("ENABLE={:x},NOIRQ={:x},NOTIMER={:x}", kStepEnable, kStepNoInterrupts,
                           kStepNoTimers);
    if (packet == "qemu.sstep")
        return fmt::format("0x{:x}", kStepEnable | (target_.step_without_interrupts()
                                                        ? kStepNoInterrupts | kStepNoTimers
                                                        : 0));
    if (take(packet, "Xfer:features:read:target.xml:")) {
        const auto range = take_range(packet);
        if (!range || !packet.empty()) return kInvalid;
        const std::string text = gdb_target_description();
        if (range->address >= text.size()) return "l";
        const size_t length =
            static_cast<size_t>(std::min({range->length, uint64_t{kMostPacketBytes - 1},
                                          uint64_t{text.size()} - range->address}));
        const auto from = static_cast<size_t>(range->address);
        return (from + length == text.size() ? "l" : "m") + text.substr(from, length);
    }
    return "";
}

std::string GdbSession::set(std::string_view packet) {
    if (packet == "StartNoAckMode") {
        acknowledge_ = false;
        return kOk;
    }
    if (take(packet, "qemu.PhyMemMode:")) {
        if (packet != "0" && packet != "1") return kInvalid;
        physical_ = packet == "1";
        return kOk;
    }
    if (take(packet, "qemu.sstep=")) {
        take(packet, "0x");
        const auto bits = take_hex(packet);
        if (!bits || !packet.empty()) return kInvalid;
        target_.set_step_without_interrupts((*bits & (kStepNoInterrupts | kStepNoTimers)) != 0);
        return kOk;
    }
    return "";
}

// ---- registers ----

std::string GdbSession::read_registers() {
    std::string text;
    for (unsigned n = 0; n < kGdbCoreRegisters; ++n) {
        const unsigned bits = gdb_register_bits(n);
        const auto value = target_.read_register(cpu_, n);
        text += value ? register_hex(*value, bits) : std::string(bits / 4, 'x');
    }
    return text;
}

std::string GdbSession::write_registers(std::string_view hex) {
    const auto bytes = from_hex(hex);
    if (!bytes) return kInvalid;
    std::span<const uint8_t> left = *bytes;
    for (unsigned n = 0; n < kGdbCoreRegisters; ++n) {
        const size_t size = gdb_register_bits(n) / 8;
        if (left.size() < size) return left.empty() ? kOk : kInvalid;
        if (!target_.write_register(cpu_, n, big_endian(left.first(size)))) return kInvalid;
        left = left.subspan(size);
    }
    return kOk;
}

std::string GdbSession::read_register(std::string_view packet) {
    const auto number = take_hex(packet);
    if (!number || !packet.empty() || *number >= gdb_register_count()) return kInvalid;
    const auto n = static_cast<unsigned>(*number);
    const auto value = target_.read_register(cpu_, n);
    const unsigned bits = gdb_register_bits(n);
    return value ? register_hex(*value, bits) : std::string(bits / 4, 'x');
}

std::string GdbSession::write_register(std::string_view packet) {
    const auto number = take_hex(packet);
    if (!number || !take(packet, "=") || *number >= gdb_register_count()) return kInvalid;
    const auto n = static_cast<unsigned>(*number);
    const auto bytes = from_hex(packet);
    if (!bytes || bytes->size() != gdb_register_bits(n) / 8) return kInvalid;
    return target_.write_register(cpu_, n, big_endian(*bytes)) ? kOk : kInvalid;
}

// ---- memory ----

std::string GdbSession::read_memory(std::string_view packet) {
    const auto range = take_range(packet);
    if (!range || !packet.empty()) return kInvalid;
    const auto size = static_cast<size_t>(std::min<uint64_t>(range->length, kMostPacketBytes / 2));
    if (size == 0) return "";
    const auto bytes = target_.read_memory(cpu_, range->address, size, physical_);
    return bytes ? to_hex(*bytes) : kFault;
}

std::string GdbSession::write_memory(std::string_view packet, bool binary) {
    const auto range = take_range(packet);
    if (!range || !take(packet, ":")) return kInvalid;
    std::vector<uint8_t> bytes;
    if (binary) {
        bytes.assign(packet.begin(), packet.end());
    } else {
        auto read = from_hex(packet);
        if (!read) return kInvalid;
        bytes = std::move(*read);
    }
    if (bytes.size() != range->length) return kInvalid;
    if (bytes.empty()) return kOk;  // gdb asks so whether X is known
    return target_.write_memory(cpu_, range->address, bytes, physical_) ? kOk : kFault;
}

// ---- breakpoints and watchpoints ----

std::string GdbSession::change_point(std::string_view packet, bool insert) {
    const auto kind = take_hex(packet);
    if (!kind || !take(packet, ",")) return kInvalid;
    if (*kind > static_cast<uint64_t>(DebugPoint::Kind::Access)) return "";
    const auto range = take_range(packet);
    // Conditions and commands would come after it; they were not offered.
    if (!range || !packet.empty() || range->address > UINT32_MAX || range->length == 0 ||
        range->length > UINT32_MAX)
        return kInvalid;
    const DebugPoint point{static_cast<DebugPoint::Kind>(*kind),
                           static_cast<uint32_t>(range->address),
                           static_cast<uint32_t>(range->length)};
    const auto done = insert ? target_.insert(cpu_, point) : target_.remove(point);
    return done ? kOk : kInvalid;
}

// ---- going on ----

// c and s: the selected vCPU does so, the others run. An address to go on from may follow.
std::optional<std::string> GdbSession::go_on(GdbTarget::Course course, std::string_view packet) {
    if (!packet.empty()) {
        const auto pc = take_hex(packet);
        if (!pc || !packet.empty() || !target_.write_register(cpu_, kGdbPc, *pc)) return kInvalid;
    }
    std::vector<GdbTarget::Course> courses(target_.cpus(), GdbTarget::Course::Run);
    if (course == GdbTarget::Course::Step) {
        std::fill(courses.begin(), courses.end(), GdbTarget::Course::Rest);
        courses[cpu_] = course;
    }
    running_ = true;
    target_.resume(courses);
    return std::nullopt;
}

std::optional<std::string> GdbSession::v_packet(std::string_view packet, Answer& answer) {
    if (packet == "Cont?") return "vCont;c;C;s;S";
    if (take(packet, "Cont;")) return v_cont(packet);
    if (packet.starts_with("Kill;")) {
        target_.kill();
        answer.close = true;
        return kOk;
    }
    return "";
}

// ACTION[:THREAD];...: of several actions that fit a thread the first counts, and a thread that
// none fits rests.
std::optional<std::string> GdbSession::v_cont(std::string_view actions) {
    std::vector<std::optional<GdbTarget::Course>> courses(target_.cpus());
    for (;;) {
        const size_t end = std::min(actions.find(';'), actions.size());
        std::string_view action = actions.substr(0, end);
        const char what = action.empty() ? '?' : action.front();
        if (!action.empty()) action.remove_prefix(1);
        if ((what == 'C' || what == 'S') && !take_hex(action)) return kInvalid;
        if (what != 'c' && what != 'C' && what != 's' && what != 'S') return kInvalid;
        const auto course =
            what == 'c' || what == 'C' ? GdbTarget::Course::Run : GdbTarget::Course::Step;
        const bool all = action.empty() || action == ":-1";
        std::optional<unsigned> one;
        if (!all) {
            if (!take(action, ":")) return kInvalid;
            one = cpu_of(action);
            if (!one) return kNoThread;
        }
        for (unsigned cpu = 0; cpu < courses.size(); ++cpu)
            if ((all || cpu == *one) && !courses[cpu]) courses[cpu] = course;
        if (end == actions.size()) break;
        actions.remove_prefix(end + 1);
    }
    std::vector<GdbTarget::Course> chosen;
    chosen.reserve(courses.size());
    for (const auto& course : courses)
        chosen.push_back(course.value_or(GdbTarget::Course::Rest));
    running_ = true;
    target_.resume(chosen);
    return std::nullopt;
}

}  // namespace perfvisor::vmm
