// SPDX-License-Identifier: GPL-2.0-or-later
// Random instruction sequences in a program that both a core under test and a Linux user-mode
// emulator can execute: each case loads all registers from its record, runs its sequence, and
// stores all registers back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace perfvisor::test {

// What a sequence is made of.
enum class Mix : uint8_t {
    Integer,      // arithmetic, logic, rotates, compares, CR logic, XER, branches forward
    Memory,       // loads and stores of every form, multiple, byte-reversed, reservations
    String,       // lswi lswx stswi stswx among integer instructions
    FloatDouble,  // floating point in double precision, with frsp
    FloatSingle,  // floating point in single precision
};

// A case's registers and memory, as it starts and, after execution, as it ended. Big-endian.
struct Record {
    static constexpr size_t kGpr = 0, kCr = 128, kXer = 132, kCtr = 136, kLr = 140, kFpr = 144,
                            kFpscr = 400, kBuffer = 408, kBufferBytes = 600,
                            kBytes = kBuffer + kBufferBytes;
    static_assert(kBytes % 8 == 0);
};

class RandomGuest {
  public:
    // Where the program is linked to run.
    static constexpr uint32_t kBase = 0x10000000;

    RandomGuest(Mix mix, unsigned cases, uint32_t seed);

    // The program from kBase on, big-endian words and records; execution starts at entry(). It
    // ends with the system calls write(1, records, size) and exit(0).
    const std::vector<uint8_t>& image() const { return image_; }
    uint32_t entry() const { return kBase + kHeaderBytes; }
    // The same as an executable for Linux on PowerPC.
    std::vector<uint8_t> elf() const;

    unsigned cases() const { return static_cast<unsigned>(sequences_.size()); }
    // The offset of the records in the image, one behind the other.
    size_t records() const { return records_; }
    size_t records_bytes() const { return cases() * Record::kBytes; }
    // The instructions of a case as text.
    std::string listing(unsigned number) const;

  private:
    static constexpr uint32_t kHeaderBytes = 0x100;  // room for the ELF header

    void make_sequence(std::vector<uint32_t>& words);
    void put_record();
    void append(const std::vector<uint32_t>& words);

    Mix mix_;
    std::mt19937 random_;
    std::vector<std::vector<uint32_t>> sequences_;
    std::vector<uint8_t> image_;
    size_t records_ = 0;
};

}  // namespace perfvisor::test
