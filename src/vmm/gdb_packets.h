// SPDX-License-Identifier: GPL-2.0-or-later
// The framing of gdb's remote serial protocol: $DATA#CHECKSUM, acknowledgements and the interrupt
// character ("Overview" and "Packet Acknowledgment" in appendix E of gdb's manual). No sockets
// here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perfvisor::vmm {

// Of packets in both directions, framing not included; told to gdb as PacketSize.
constexpr size_t kMostPacketBytes = 0x4000;

// What a client sent, one after the other.
struct GdbInput {
    enum class Kind : uint8_t {
        Packet,     // `data`, its escapes undone
        Damaged,    // wrong checksum, or too long: to be asked for again
        Resend,     // the client did not understand the last packet
        Interrupt,  // Ctrl-C
    };
    Kind kind = Kind::Packet;
    std::string data;
};

class GdbPacketReader {
  public:
    // Takes bytes as they come, whatever they are. Between packets only what is known is heard.
    std::vector<GdbInput> receive(std::string_view bytes);

  private:
    enum class State : uint8_t { Between, Data, Escaped, Checksum1, Checksum2 };
    void data_byte(uint8_t byte);

    State state_ = State::Between;
    std::string data_;
    uint8_t sum_ = 0;
    uint8_t first_digit_ = 0;
    bool damaged_ = false;
};

// A packet with its framing; what has a meaning in it is escaped.
std::string gdb_packet(std::string_view data);

// ---- numbers and bytes, as packets have them ----

std::string to_hex(std::span<const uint8_t> bytes);
// Nothing if it is not pairs of hexadecimal digits.
std::optional<std::vector<uint8_t>> from_hex(std::string_view text);
// Takes a number of at most 16 hexadecimal digits off the front; nothing where there is none.
std::optional<uint64_t> take_hex(std::string_view& text);
// Takes `what` off the front; false where it is not there.
bool take(std::string_view& text, std::string_view what);

}  // namespace perfvisor::vmm
