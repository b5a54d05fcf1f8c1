// CRC-32C by the CRC32C instructions of ARMv8, in three interleaved streams where PMULL is there to
// join them. crc32c_x86.c explains the method and its arithmetic, which are the same here; the two
// stay apart so that each can be read with its own processor's names.

#include "CChecksum.h"

// Little-endian only, as words go to the instruction as they were loaded; crc32c.c sends the
// big-endian rest to the portable code.
#if defined(__AARCH64EL__)

#include <arm_acle.h>
#include <arm_neon.h>
#include <stdatomic.h>
#include <string.h>

#if defined(__linux__)
#include <sys/auxv.h>
#if __has_include(<asm/hwcap.h>)
#include <asm/hwcap.h> // Bionic names the HWCAP bits only there.
#endif
#endif

// The instructions are asked for function by function, so that the rest of the program still runs
// on any ARMv8. PMULL on 64-bit numbers belongs to the AES extension, but gcc 12 hands it
// out only with all of "crypto".
#define WITH_CRC __attribute__((target("+crc")))
#define WITH_PMULL __attribute__((target("+crc+crypto")))

// MARK: What the processor has

bool shiplog_crc32c_has_hardware(void) {
#if defined(__APPLE__)
    return true;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
    return false;
#endif
}

static bool has_pmull(void) {
#if defined(__APPLE__)
    return true;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
#else
    return false;
#endif
}

const char *shiplog_crc32c_name(void) {
    return shiplog_crc32c_has_hardware() ? "armv8-crc" : "portable";
}

// MARK: Three streams

enum {
    /// Such that a page of 4 KiB is one round: 3 * 170 words, and 2 left over.
    MOST_WORDS_A_STREAM = 170,

    /// Below this many words, one stream is as fast as three and their join. Taken over from
    /// x86, whose instructions have about the same latencies; not measured here.
    FEWEST_WORDS_FOR_STREAMS = 12
};

/// `factor_past[m]` is X^(64m-33), which takes a state past m words.
static uint32_t factor_past[2 * MOST_WORDS_A_STREAM + 1];

/// Whether `factor_past` is filled, and PMULL there to use it.
static atomic_bool streams_ready = false;

/// For m = 1 the factor is X^31, bit 0; and CRC32CX on a word of zeros multiplies by X^64.
///
/// A call that comes before this constructor is still right, only slower.
__attribute__((constructor)) WITH_CRC static void prepare_streams(void) {
    if (!shiplog_crc32c_has_hardware() || !has_pmull()) return;
    factor_past[1] = 1;
    for (int m = 2; m <= 2 * MOST_WORDS_A_STREAM; m += 1) {
        factor_past[m] = __crc32cd(factor_past[m - 1], 0);
    }
    atomic_store_explicit(&streams_ready, true, memory_order_release);
}

static inline uint64_t load_word(const unsigned char *from) {
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

WITH_PMULL static inline uint64_t product(uint32_t state, uint32_t factor) {
    return vgetq_lane_u64(vreinterpretq_u64_p128(vmull_p64(state, factor)), 0);
}

/// Takes `state` past three stretches of `words` words each, which is at least 1.
WITH_PMULL static inline uint32_t three_streams(uint32_t state, const unsigned char *next,
                                                size_t words) {
    const size_t stretch = 8 * words;
    const unsigned char *last = next + stretch - 8;
    uint32_t second = 0, third = 0;
    for (; next < last; next += 8) {
        state = __crc32cd(state, load_word(next));
        second = __crc32cd(second, load_word(next + stretch));
        third = __crc32cd(third, load_word(next + 2 * stretch));
    }
    state = __crc32cd(state, load_word(last));
    second = __crc32cd(second, load_word(last + stretch));
    uint64_t joined =
        product(state, factor_past[2 * words]) ^ product(second, factor_past[words]);
    return __crc32cd(third, load_word(last + 2 * stretch) ^ joined);
}

/// Does the bulk of `count` bytes in rounds of three streams, and moves `next` past what is done.
WITH_PMULL static uint32_t rounds(uint32_t state, const unsigned char **next, size_t count) {
    size_t left = count / 8;
    while (left >= FEWEST_WORDS_FOR_STREAMS) {
        size_t words = left / 3 < MOST_WORDS_A_STREAM ? left / 3 : MOST_WORDS_A_STREAM;
        state = three_streams(state, *next, words);
        *next += 24 * words;
        left -= 3 * words;
    }
    return state;
}

// MARK: All of it

WITH_CRC uint32_t shiplog_crc32c_hardware(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *next = bytes;
    uint32_t state = ~crc;
    if (count >= 8 * FEWEST_WORDS_FOR_STREAMS &&
        atomic_load_explicit(&streams_ready, memory_order_acquire)) {
        const unsigned char *start = next;
        state = rounds(state, &next, count);
        count -= (size_t)(next - start);
    }
    for (; count >= 8; count -= 8, next += 8) {
        state = __crc32cd(state, load_word(next));
    }
    if (count & 4) {
        uint32_t four;
        memcpy(&four, next, sizeof four);
        state = __crc32cw(state, four);
        next += 4;
    }
    if (count & 2) {
        uint16_t two;
        memcpy(&two, next, sizeof two);
        state = __crc32ch(state, two);
        next += 2;
    }
    if (count & 1) {
        state = __crc32cb(state, *next);
    }
    return ~state;
}

#endif
