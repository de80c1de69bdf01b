// SPDX-License-Identifier: GPL-2.0-or-later
// Random instruction sequences and the program around them.
#include "random_guest.h"

#include <array>
#include <cstring>

#include "assembler.h"
#include "isa/instruction.h"

namespace perfvisor::test {
namespace {

using isa::Opcode;

// Registers with a purpose, never a target: the record, the middle of its buffer, a small index.
constexpr unsigned kRecordReg = 1, kBufferReg = 2, kIndexReg = 3;

constexpr std::array kArithmetic3 = {Opcode::Add,    Opcode::Addc,  Opcode::Adde,  Opcode::Subf,
                                     Opcode::Subfc,  Opcode::Subfe, Opcode::Mullw, Opcode::Mulhw,
                                     Opcode::Mulhwu, Opcode::Addme, Opcode::Addze, Opcode::Subfme,
                                     Opcode::Subfze, Opcode::Neg};
constexpr std::array kArithmeticImmediate = {Opcode::Addi,    Opcode::Addis,  Opcode::Addic,
                                             Opcode::AddicRc, Opcode::Subfic, Opcode::Mulli};
constexpr std::array kLogical3 = {
    Opcode::And,   Opcode::Andc,  Opcode::Or,     Opcode::Orc,    Opcode::Xor,    Opcode::Nand,
    Opcode::Nor,   Opcode::Eqv,   Opcode::Slw,    Opcode::Srw,    Opcode::Sraw,   Opcode::Srawi,
    Opcode::Extsb, Opcode::Extsh, Opcode::Cntlzw, Opcode::Rlwimi, Opcode::Rlwinm, Opcode::Rlwnm};
constexpr std::array kLogicalImmediate = {Opcode::AndiRc, Opcode::AndisRc, Opcode::Ori,
                                          Opcode::Oris,   Opcode::Xori,    Opcode::Xoris};
constexpr std::array kCompares = {Opcode::Cmp, Opcode::Cmpl, Opcode::Cmpi, Opcode::Cmpli};
constexpr std::array kConditionLogic = {Opcode::Crand,  Opcode::Crandc, Opcode::Creqv,
                                        Opcode::Crnand, Opcode::Crnor,  Opcode::Cror,
                                        Opcode::Crorc,  Opcode::Crxor};
constexpr std::array kLoads = {Opcode::Lwz, Opcode::Lbz, Opcode::Lhz, Opcode::Lha};
constexpr std::array kLoadsIndexed = {Opcode::Lwzx, Opcode::Lbzx,  Opcode::Lhzx,
                                      Opcode::Lhax, Opcode::Lwbrx, Opcode::Lhbrx};
constexpr std::array kLoadsUpdate = {Opcode::Lwzu, Opcode::Lbzu, Opcode::Lhzu, Opcode::Lhau};
constexpr std::array kLoadsUpdateIndexed = {Opcode::Lwzux, Opcode::Lbzux, Opcode::Lhzux,
                                            Opcode::Lhaux};
constexpr std::array kStores = {Opcode::Stw, Opcode::Stb, Opcode::Sth};
constexpr std::array kStoresIndexed = {Opcode::Stwx, Opcode::Stbx, Opcode::Sthx, Opcode::Stwbrx,
                                       Opcode::Sthbrx};
constexpr std::array kStoresUpdate = {Opcode::Stwu, Opcode::Stbu, Opcode::Sthu};
constexpr std::array kStoresUpdateIndexed = {Opcode::Stwux, Opcode::Stbux, Opcode::Sthux};
constexpr std::array kDouble = {
    Opcode::Fadd,   Opcode::Fsub,   Opcode::Fmul,  Opcode::Fdiv,   Opcode::Fmadd,  Opcode::Fmsub,
    Opcode::Fnmadd, Opcode::Fnmsub, Opcode::Fsel,  Opcode::Fmr,    Opcode::Fneg,   Opcode::Fabs,
    Opcode::Fnabs,  Opcode::Frsp,   Opcode::Fctiw, Opcode::Fctiwz, Opcode::Frsqrte};
constexpr std::array kSingle = {Opcode::Fadds,  Opcode::Fsubs,  Opcode::Fmuls,   Opcode::Fdivs,
                                Opcode::Fmadds, Opcode::Fmsubs, Opcode::Fnmadds, Opcode::Fnmsubs,
                                Opcode::Fsel,   Opcode::Fmr,    Opcode::Fneg,    Opcode::Fabs,
                                Opcode::Fnabs};

constexpr uint32_t rd(unsigned r) {
    return r << 21;
}
constexpr uint32_t ra(unsigned r) {
    return r << 16;
}
constexpr uint32_t rb(unsigned r) {
    return r << 11;
}

// Appends random instructions of one kind to a sequence.
class Generator {
  public:
    Generator(std::mt19937& random, std::vector<uint32_t>& words, bool isel)
        : random_(random), words_(words), isel_(isel) {}

    void integer() {
        switch (below(12)) {
            case 0:
            case 1:
            case 2:
                return emit(with_fields(pick(kArithmetic3), target(), source(), source()));
            case 3:
                return emit(with_fields(pick(kArithmeticImmediate), target(), source(), 0));
            case 4:
            case 5:
            case 6:
                return emit(with_fields(pick(kLogical3), source(), target(), source()));
            case 7:
                return emit(with_fields(pick(kLogicalImmediate), source(), target(), 0));
            case 8:
                return emit(with_fields(pick(kCompares), 0, source(), source()));
            case 9:
                return emit(with_fields(pick(kConditionLogic), below(32), below(32), below(32)));
            case 10:
                return condition();
            default:
                return below(3) ? divide() : branch();
        }
    }

    void memory() {
        const unsigned data = target();
        switch (below(13)) {
            case 0:
            case 1:
                return emit(match(pick(kLoads)) | rd(data) | ra(kBufferReg) | displacement());
            case 2:
                return emit(match(pick(kLoadsIndexed)) | rd(data) | address());
            case 3:
                return update(match(pick(kLoadsUpdate)) | rd(data), false);
            case 4:
                return update(match(pick(kLoadsUpdateIndexed)) | rd(data), true);
            case 5:
            case 6:
                return emit(match(pick(kStores)) | rd(source()) | ra(kBufferReg) | displacement());
            case 7:
                return emit(match(pick(kStoresIndexed)) | rd(source()) | address());
            case 8:
                return update(match(pick(kStoresUpdate)) | rd(source()), false);
            case 9:
                return update(match(pick(kStoresUpdateIndexed)) | rd(source()), true);
            case 10: {  // 28 registers at most; word-aligned, else the core takes an interrupt
                const unsigned first = 4 + below(28);
                const Opcode opcode = below(2) ? Opcode::Lmw : Opcode::Stmw;
                return emit(match(opcode) | rd(first) | ra(kBufferReg) | (4 * below(16)));
            }
            case 11:
                emit(match(Opcode::Lwarx) | rd(data) | rb(kBufferReg));
                if (below(2)) emit(match(Opcode::Stw) | rd(source()) | ra(kBufferReg));
                return emit(match(Opcode::Stwcx) | rd(source()) | rb(kBufferReg));
            default:
                return emit(match(Opcode::Stwcx) | rd(source()) | rb(kBufferReg));
        }
    }

    // The registers of a string end before r1 comes round again.
    void string() {
        const unsigned first = 4 + below(28);
        const unsigned most = 4 * (32 - first);
        const bool load = below(2);
        if (below(2)) {
            const unsigned bytes = 1 + below(most < 32 ? most : 32);
            return emit(match(load ? Opcode::Lswi : Opcode::Stswi) | rd(first) | ra(kBufferReg) |
                        rb(bytes & 31));
        }
        // lswx with a count of 0 leaves rD undefined; the count must be known here.
        const unsigned bytes = 1 + below(most < 127 ? most : 127);
        emit(match(Opcode::Addi) | rd(4) | bytes);
        emit(match(Opcode::Mtspr) | rd(4) | 1u << 16);
        emit(match(load ? Opcode::Lswx : Opcode::Stswx) | rd(first) | address());
    }

    void floating(bool single, bool directed) {
        switch (below(10)) {
            case 0:
                return float_memory(single);
            case 1:
                // An invalid compare leaves FI and C alone (Power ISA 2.06 Book I, 4.4.1.2);
                // QEMU changes them, so an instruction follows that sets both.
                emit(
                    with_fields(below(2) ? Opcode::Fcmpu : Opcode::Fcmpo, 0, below(32), below(32)) |
                    below(8) << 23);
                return emit(with_fields(single ? Opcode::Fadds : Opcode::Fadd, below(32), below(32),
                                        below(32)));
            case 2:
                return float_status(directed);
            default: {
                Opcode opcode = single ? pick(kSingle) : pick(kDouble);
                // In directed modes QEMU negates before it rounds (4.6.6.2 says after).
                if (directed && negates(opcode)) opcode = single ? Opcode::Fmadds : Opcode::Fmadd;
                return emit(with_fields(opcode, below(32), below(32), below(32)));
            }
        }
    }

  private:
    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
    template <size_t N>
    Opcode pick(const std::array<Opcode, N>& from) {
        return from[below(N)];
    }
    static uint32_t match(Opcode opcode) { return isa::describe(opcode).match; }
    static bool negates(Opcode opcode) {
        return opcode == Opcode::Fnmadd || opcode == Opcode::Fnmsub || opcode == Opcode::Fnmadds ||
               opcode == Opcode::Fnmsubs;
    }
    unsigned source() { return below(32); }
    unsigned target() {
        const unsigned r = below(29);
        return r == 0 ? 0 : r + 3;
    }
    void emit(uint32_t word) { words_.push_back(word); }

    // The row's fixed bits, these registers, and random bits for its other operands.
    uint32_t with_fields(Opcode opcode, unsigned d, unsigned a, unsigned b) {
        const isa::Instruction& row = isa::describe(opcode);
        const auto noise = static_cast<uint32_t>(random_());
        uint32_t word = row.match;
        for (unsigned bit = 0; bit < 32; ++bit) {
            const uint32_t mask = 0x80000000u >> bit;
            switch (row.pattern[bit]) {
                case 'd':
                    word |= rd(d) & mask;
                    break;
                case 'a':
                    word |= ra(a) & mask;
                    break;
                case 'b':
                    word |= rb(b) & mask;
                    break;
                case '0':
                case '1':
                case '-':
                case 'L':
                    break;
                default:
                    word |= noise & mask;
            }
        }
        return word;
    }

    uint32_t displacement() { return (below(257) - 128) & 0xffff; }
    // rA and rB of an indexed access, rA=0 included
    uint32_t address() { return below(2) ? ra(kBufferReg) | rb(kIndexReg) : rb(kBufferReg); }
    // Base registers of update forms are made from r2 first, in a register that is no target then.
    void update(uint32_t word, bool indexed) {
        const unsigned data = isa::rd(word);
        const unsigned base = data == 20 ? 21 : 20;
        emit(match(Opcode::Or) | rd(kBufferReg) | ra(base) | rb(kBufferReg));
        emit(word | ra(base) | (indexed ? rb(kIndexReg) : displacement()));
    }

    // Where a quotient exists: the manual leaves it undefined elsewhere (Book I, 3.3.8).
    void divide() {
        const unsigned divisor = target();
        emit(match(Opcode::Ori) | rd(divisor) | ra(divisor) | 1);
        const bool is_signed = below(2);
        if (is_signed)  // positive
            emit(match(Opcode::Rlwinm) | rd(divisor) | ra(divisor) | 1u << 6 | 31u << 1);
        emit(with_fields(is_signed ? Opcode::Divw : Opcode::Divwu, target(), source(), divisor));
    }

    void condition() {
        switch (below(isel_ ? 8 : 7)) {
            case 0:
                return emit(with_fields(Opcode::Mcrf, 0, 0, 0));
            case 1:
                return emit(match(Opcode::Mfcr) | rd(target()));
            case 2:
                return emit(match(Opcode::Mfocrf) | rd(target()) | 1u << (12 + below(8)));
            case 3:
                return emit(with_fields(Opcode::Mtcrf, source(), 0, 0));
            case 4:
                return emit(match(Opcode::Mtocrf) | rd(source()) | 1u << (12 + below(8)));
            case 5:
                return emit(with_fields(Opcode::Mcrxr, 0, 0, 0));
            case 6: {  // XER: SO, OV and CA only; what reserved bits read as is not defined
                const unsigned r = target();
                emit(match(Opcode::Addis) | rd(r) | below(8) << 13);
                emit(match(Opcode::Mtspr) | rd(r) | 1u << 16);
                return emit(match(Opcode::Mfspr) | rd(target()) | 1u << 16);
            }
            default:
                return emit(with_fields(Opcode::Isel, target(), source(), source()));
        }
    }

    // A conditional branch over the next instruction, linking or not; or one by LR or CTR.
    void branch() {
        static constexpr std::array<unsigned, 9> kBo = {0, 2, 4, 8, 10, 12, 16, 18, 20};
        const unsigned lk = below(2);
        const uint32_t condition = kBo[below(9)] << 21 | below(32) << 16;
        const bool by_count = below(2);
        switch (below(3)) {
            case 0:
                emit(match(Opcode::Bc) | condition | 8 | lk);
                break;
            default: {
                const unsigned r = target();
                emit(match(Opcode::B) | 4 | 1);  // bl to the next
                emit(match(Opcode::Mfspr) | rd(r) | 8u << 16);
                emit(match(Opcode::Addi) | rd(r) | ra(r) | 20);
                if (r == 0) words_.back() = match(Opcode::Addic) | rd(0) | ra(0) | 20;
                emit(match(Opcode::Mtspr) | rd(r) | (by_count ? 9u : 8u) << 16);
                // bcctr must not decrement.
                if (by_count)
                    emit(match(Opcode::Bcctr) | condition | 4u << 21 | lk);
                else
                    emit(match(Opcode::Bclr) | condition | lk);
            }
        }
        emit(with_fields(Opcode::Addi, target(), source(), 0));
    }

    void float_memory(bool single) {
        static constexpr std::array kSingles = {Opcode::Lfs, Opcode::Lfs, Opcode::Stfs};
        static constexpr std::array kDoubles = {Opcode::Lfs, Opcode::Lfd, Opcode::Stfd};
        if (below(4) == 0) return emit(match(Opcode::Stfiwx) | rd(below(32)) | address());
        if (below(3) == 0)
            return emit(match(single || below(2) ? Opcode::Lfsx : Opcode::Stfdx) | rd(below(32)) |
                        address());
        emit(match(single ? pick(kSingles) : pick(kDoubles)) | rd(below(32)) | ra(kBufferReg) |
             (displacement() & 0xfffc));
    }

    // Rounding to nearest and to zero only, and no enables: SIGFPE would end the program. FX stays
    // set from the start, as QEMU sets it on every exception where the manual (4.2.2) has it on a
    // change from 0 to 1. No mcrfs of the field with FR, which QEMU does not compute.
    void float_status(bool directed) {
        switch (below(4)) {
            case 0:
                return emit(match(Opcode::Mcrfs) | below(8) << 23 | (1 + below(2)) << 18);
            case 1:
                if (directed) break;
                return emit(match(Opcode::Mtfsfi) | 7u << 23 | below(2) << 12 | below(2));
            case 2:
                if (directed) break;
                return emit(match(below(2) ? Opcode::Mtfsb0 : Opcode::Mtfsb1) | rd(31) | below(2));
            default:
                break;
        }
        emit(with_fields(Opcode::Fmr, below(32), 0, below(32)));
    }

    std::mt19937& random_;
    std::vector<uint32_t>& words_;
    bool isel_;
};

uint32_t interesting_word(std::mt19937& random) {
    static constexpr std::array<uint32_t, 12> kCorners = {
        0, 1, 2, 31, 32, 33, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0xffff8000, 0xffff};
    const auto value = static_cast<uint32_t>(random());
    switch (random() % 4) {
        case 0:
            return kCorners[value % kCorners.size()];
        case 1:
            return value >> value % 32;
        default:
            return value;
    }
}

uint32_t interesting_single(std::mt19937& random) {
    static constexpr std::array<uint32_t, 8> kCorners = {
        0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0x3f800000, 0x7f7fffff};
    const auto value = static_cast<uint32_t>(random());
    switch (random() % 4) {
        case 0:
            return kCorners[value % kCorners.size()];
        case 1:
            return value;
        default:  // near 1, so that sums and products stay in range
            return (value & 0x807fffff) | (117 + value % 20) << 23;
    }
}

uint64_t double_of_single(uint32_t single) {
    float value;
    std::memcpy(&value, &single, sizeof value);
    const bool signalling = (single & 0x7fc00000) == 0x7f800000 && (single & 0x3fffff) != 0;
    const auto wide = static_cast<double>(value);
    uint64_t bits;
    std::memcpy(&bits, &wide, sizeof bits);
    // The host's conversion made it quiet.
    return signalling ? bits & ~(uint64_t{1} << 51) : bits;
}

uint64_t interesting_double(std::mt19937& random) {
    const uint64_t bits = uint64_t{random()} << 32 | random();
    switch (random() % 4) {
        case 0:
            return double_of_single(interesting_single(random));
        case 1:
            return bits;
        default:
            return (bits & 0x800fffffffffffff) | (1013 + bits % 20) << 52;
    }
}

std::vector<uint32_t> load_registers() {
    std::string text = "lfd f0,400(r1)\n mtfsf 255,f0\n";
    for (unsigned n = 0; n < 32; ++n)
        text += "lfd f" + std::to_string(n) + "," + std::to_string(Record::kFpr + 8 * n) + "(r1)\n";
    text += "lwz r4,128(r1)\n mtcrf 255,r4\n lwz r4,132(r1)\n mtxer r4\n";
    text += "lwz r4,136(r1)\n mtctr r4\n lwz r4,140(r1)\n mtlr r4\n";
    for (unsigned n = 0; n < 32; ++n)
        if (n != kRecordReg)
            text += "lwz r" + std::to_string(n) + "," + std::to_string(4 * n) + "(r1)\n";
    return assemble(text, 0);
}

std::vector<uint32_t> store_registers() {
    std::string text;
    for (unsigned n = 0; n < 32; ++n)
        text += "stw r" + std::to_string(n) + "," + std::to_string(4 * n) + "(r1)\n";
    text += "mfcr r4\n stw r4,128(r1)\n mfxer r4\n stw r4,132(r1)\n";
    text += "mfctr r4\n stw r4,136(r1)\n mflr r4\n stw r4,140(r1)\n";
    for (unsigned n = 0; n < 32; ++n)
        text +=
            "stfd f" + std::to_string(n) + "," + std::to_string(Record::kFpr + 8 * n) + "(r1)\n";
    return assemble(text + "mffs f0\n stfd f0,400(r1)\n", 0);
}

void put(std::vector<uint8_t>& bytes, uint64_t value, unsigned size) {
    for (unsigned n = size; n-- > 0;)
        bytes.push_back(static_cast<uint8_t>(value >> (8 * n)));
}

}  // namespace

RandomGuest::RandomGuest(Mix mix, unsigned cases, uint32_t seed) : mix_(mix), random_(seed) {
    sequences_.resize(cases);
    for (std::vector<uint32_t>& sequence : sequences_)
        make_sequence(sequence);

    const std::vector<uint32_t> before = load_registers(), after = store_registers();
    size_t code_words = 64;
    for (const std::vector<uint32_t>& sequence : sequences_)
        code_words += 2 + before.size() + sequence.size() + after.size();
    records_ = (kHeaderBytes + 4 * code_words + 7) & ~size_t{7};

    image_.resize(kHeaderBytes);
    for (unsigned n = 0; n < cases; ++n) {
        append(assemble("li32 r1," + std::to_string(kBase + records_ + n * Record::kBytes), 0));
        append(before);
        append(sequences_[n]);
        append(after);
    }
    append(assemble("li r0,4\n li r3,1\n li32 r4," + std::to_string(kBase + records_) +
                        "\n li32 r5," + std::to_string(records_bytes()) +
                        "\n sc 0\n li r0,1\n li r3,0\n sc 0",
                    0));
    image_.resize(records_);
    for (unsigned n = 0; n < cases; ++n)
        put_record();
}

void RandomGuest::append(const std::vector<uint32_t>& words) {
    for (uint32_t word : words)
        put(image_, word, 4);
}

void RandomGuest::make_sequence(std::vector<uint32_t>& words) {
    // No core has both isel and string instructions.
    Generator generate(random_, words, mix_ != Mix::String);
    const unsigned length = 4 + random_() % 12;
    // The rounding mode is the record's: put_record() takes it from the number of the case.
    const bool directed = (&words - sequences_.data()) % 4 >= 2;
    for (unsigned n = 0; n < length; ++n) {
        switch (mix_) {
            case Mix::Integer:
                generate.integer();
                break;
            case Mix::Memory:
                random_() % 3 ? generate.memory() : generate.integer();
                break;
            case Mix::String:
                random_() % 3 ? generate.string() : generate.integer();
                break;
            default:
                generate.floating(mix_ == Mix::FloatSingle, directed);
        }
    }
}

void RandomGuest::put_record() {
    const size_t start = image_.size();
    const auto number = static_cast<unsigned>((start - records_) / Record::kBytes);
    for (unsigned n = 0; n < 32; ++n) {
        const auto buffer = static_cast<uint32_t>(kBase + start + Record::kBuffer + 200);
        const uint32_t value = interesting_word(random_);
        put(image_, n == kBufferReg ? buffer : n == kIndexReg ? value % 64 : value, 4);
    }
    put(image_, random_(), 4);               // CR
    put(image_, random_() & 0xe000007f, 4);  // XER
    put(image_, interesting_word(random_), 4);
    put(image_, interesting_word(random_), 4);
    for (unsigned n = 0; n < 32; ++n)
        put(image_,
            mix_ == Mix::FloatSingle ? double_of_single(interesting_single(random_))
                                     : interesting_double(random_),
            8);
    put(image_, 0x80000000u | (number % 4), 8);  // FPSCR: FX and the rounding mode
    for (size_t n = 0; n < Record::kBufferBytes; n += 4)
        put(image_, n % 8 ? interesting_single(random_) : interesting_word(random_), 4);
}

std::vector<uint8_t> RandomGuest::elf() const {
    std::vector<uint8_t> header = {0x7f, 'E', 'L', 'F', 1, 2, 1};
    header.resize(16);
    put(header, 2, 2);   // executable
    put(header, 20, 2);  // PowerPC
    put(header, 1, 4);   // version
    put(header, entry(), 4);
    put(header, 52, 4);  // program headers
    put(header, 0, 4);   // no section headers
    put(header, 0, 4);   // flags
    for (unsigned size : {52, 32, 1, 40, 0, 0})
        put(header, size, 2);
    put(header, 1, 4);  // PT_LOAD
    put(header, 0, 4);
    put(header, kBase, 4);
    put(header, kBase, 4);
    put(header, image_.size(), 4);
    put(header, image_.size(), 4);
    put(header, 7, 4);  // read, write, execute
    put(header, 0x10000, 4);
    std::vector<uint8_t> file = image_;
    std::copy(header.begin(), header.end(), file.begin());
    return file;
}

std::string RandomGuest::listing(unsigned number) const {
    std::string text;
    for (uint32_t word : sequences_[number])
        text += "    " + isa::disassemble(word, 0) + "\n";
    return text;
}

}  // namespace perfvisor::test
