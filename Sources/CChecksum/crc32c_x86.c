// CRC-32C by the CRC32 instruction of SSE4.2, in three interleaved streams where PCLMULQDQ is there
// to join them.

#include "CChecksum.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>

// The instructions are asked for function by function, so that the rest of the program still runs
// on any x86-64.
#define WITH_SSE42 __attribute__((target("sse4.2")))
#define WITH_PCLMUL __attribute__((target("sse4.2,pclmul")))

// MARK: What the processor has

enum { EXAMINED = 1, HAS_SSE42 = 2, HAS_PCLMUL = 4 };

/// Asks the processor once: under a hypervisor CPUID traps, which takes microseconds. Threads that
/// race here find the same answer, so relaxed order is enough. CPUID itself, as the compiler's
/// __builtin_cpu_supports may not work yet in a static constructor.
static unsigned features(void) {
    static _Atomic unsigned known = 0;
    unsigned found = atomic_load_explicit(&known, memory_order_relaxed);
    if (found == 0) {
        unsigned a = 0, b = 0, c = 0, d = 0;
        found = EXAMINED;
        if (__get_cpuid(1, &a, &b, &c, &d)) {
            found |= (c & bit_SSE4_2) ? HAS_SSE42 : 0;
            found |= (c & bit_PCLMUL) ? HAS_PCLMUL : 0;
        }
        atomic_store_explicit(&known, found, memory_order_relaxed);
    }
    return found;
}

bool shiplog_crc32c_has_hardware(void) { return (features() & HAS_SSE42) != 0; }

const char *shiplog_crc32c_name(void) {
    if (!shiplog_crc32c_has_hardware()) return "portable";
    return (features() & HAS_PCLMUL) ? "sse4.2+pclmul" : "sse4.2";
}

// MARK: Three streams
//
// CRC32 takes eight bytes in one cycle but gives its result after three, so one stream leaves the
// unit idle two cycles of three. Hence three streams over three neighbouring stretches of n words
// each, joined afterwards (Gopal and others, "Fast CRC Computation for iSCSI Polynomial Using CRC32
// Instruction", Intel, 2011).
//
// With polynomials modulo P, CRC32 on a state S and a word W gives
//
//     S * X^64 + W * X^32.
//
// Joining means taking a state past m words it has not seen, that is to S * X^64m. Bit i of a state
// stands for X^(31-i) and bit i of a word for X^(63-i); so the carry-less product of two 32-bit
// numbers S and F, whose bit i+j stands for X^(31-i) * X^(31-j) = X^(62-i-j), read as a word is
// S * F * X. Added to a word that CRC32 then takes, it contributes S * F * X^33, which is what is
// wanted if
//
//     F = X^(64m-33).
//
// So each join costs one product, and the reduction comes free with the last word of the third
// stream.

enum {
    /// Such that a page of 4 KiB is one round: 3 * 170 words, and 2 left over.
    MOST_WORDS_A_STREAM = 170,

    /// Below this many words, one stream is as fast as three and their join; measured.
    FEWEST_WORDS_FOR_STREAMS = 12
};

/// `factor_past[m]` is X^(64m-33), which takes a state past m words.
static uint32_t factor_past[2 * MOST_WORDS_A_STREAM + 1];

/// Whether `factor_past` is filled, and PCLMULQDQ there to use it.
static atomic_bool streams_ready = false;

/// For m = 1 the factor is X^31, bit 0; and CRC32 on a word of zeros multiplies by X^64.
///
/// A call that comes before this constructor is still right, only slower.
__attribute__((constructor)) WITH_SSE42 static void prepare_streams(void) {
    if (!(features() & HAS_SSE42) || !(features() & HAS_PCLMUL)) return;
    factor_past[1] = 1;
    for (int m = 2; m <= 2 * MOST_WORDS_A_STREAM; m += 1) {
        factor_past[m] = (uint32_t)_mm_crc32_u64(factor_past[m - 1], 0);
    }
    atomic_store_explicit(&streams_ready, true, memory_order_release);
}

static inline uint64_t load_word(const unsigned char *from) {
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

WITH_PCLMUL static inline __m128i product(uint64_t state, uint32_t factor) {
    return _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)state),
                                _mm_cvtsi32_si128((int)factor), 0x00);
}

/// Takes `state` past three stretches of `words` words each, which is at least 1.
WITH_PCLMUL static inline uint64_t three_streams(uint64_t state, const unsigned char *next,
                                                 size_t words) {
    const size_t stretch = 8 * words;
    const unsigned char *last = next + stretch - 8;
    uint64_t second = 0, third = 0;
    for (; next < last; next += 8) {
        state = _mm_crc32_u64(state, load_word(next));
        second = _mm_crc32_u64(second, load_word(next + stretch));
        third = _mm_crc32_u64(third, load_word(next + 2 * stretch));
    }
    state = _mm_crc32_u64(state, load_word(last));
    second = _mm_crc32_u64(second, load_word(last + stretch));
    __m128i joined = _mm_xor_si128(product(state, factor_past[2 * words]),
                                   product(second, factor_past[words]));
    return _mm_crc32_u64(third,
                         load_word(last + 2 * stretch) ^ (uint64_t)_mm_cvtsi128_si64(joined));
}

/// Does the bulk of `count` bytes in rounds of three streams, and moves `next` past what is done.
WITH_PCLMUL static uint64_t rounds(uint64_t state, const unsigned char **next, size_t count) {
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

WITH_SSE42 uint32_t shiplog_crc32c_hardware(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *next = bytes;
    uint64_t state = (uint32_t)~crc;
    if (count >= 8 * FEWEST_WORDS_FOR_STREAMS &&
        atomic_load_explicit(&streams_ready, memory_order_acquire)) {
        const unsigned char *start = next;
        state = rounds(state, &next, count);
        count -= (size_t)(next - start);
    }
    for (; count >= 8; count -= 8, next += 8) {
        state = _mm_crc32_u64(state, load_word(next));
    }
    uint32_t narrow = (uint32_t)state;
    if (count & 4) {
        uint32_t four;
        memcpy(&four, next, sizeof four);
        narrow = _mm_crc32_u32(narrow, four);
        next += 4;
    }
    if (count & 2) {
        uint16_t two;
        memcpy(&two, next, sizeof two);
        narrow = _mm_crc32_u16(narrow, two);
        next += 2;
    }
    if (count & 1) {
        narrow = _mm_crc32_u8(narrow, *next);
    }
    return ~narrow;
}

#endif
