/*
 * The wire between a guest and this machine: every frame, operation, algorithm
 * and limit. docs/wire.md explains it; tests hold the two equal.
 *
 * One fixed header of 48 bytes, all integers big endian, then a body of
 * iv || aad || data || tag with the lengths of the header. The same header
 * carries the control half (guest and broker, operations 0x80 and up, the
 * payload is `data`) and the data half (guest and card process, below 0x80).
 *
 *   0 u32 magic      "vEC1"
 *   4 u8  version    VEC_WIRE_VERSION
 *   5 u8  op         a row of VEC_OPS or VEC_CONTROLS
 *   6 u8  flags      VEC_F_*
 *   7 u8  status     0 in a request; a row of status.h in a reply
 *   8 u64 request    chosen by the asker, echoed by the answer
 *  16 u64 key        N_K, or 0
 *  24 u32 stream     chosen by the guest, unique among a key's open streams; 0 in a one shot
 *  28 u32 sequence   0 for the first part of a stream, then 1, 2, ...
 *  32 u32 aad_len
 *  36 u32 data_len
 *  40 u16 iv_len
 *  42 u16 tag_len
 *  44 u32 reserved   0
 */
#ifndef VEC_WIRE_H
#define VEC_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "vec/attribute.h"

enum {
        VEC_WIRE_MAGIC = 0x76454331,   /* "vEC1" */
        VEC_WIRE_VERSION = 1,
        VEC_HEADER_SIZE = 48,
        VEC_DATA_MAX = 1048576,        /* data of one frame, bytes */
        VEC_AAD_MAX = 65536,           /* additional data of one frame, bytes */
        VEC_IV_MAX = 16,
        VEC_TAG_MAX = 16,
        VEC_CONTROL_MAX = 65536,       /* data of one control frame, bytes */
        VEC_ATTACH_TAG_SIZE = 32,      /* the guest's first bytes after READY, raw: docs/protocol.md, Attach */
        VEC_STREAMS_MAX = 8,           /* open streams of one key slot */
        VEC_BATCH_REQUESTS = 64,       /* one turn ends at whichever of these comes first */
        VEC_BATCH_BYTES = 262144,
        VEC_BATCH_NS = 1000000,
        VEC_PORT = 9750,               /* vsock port of the broker on CID 2 */
};

enum {
        VEC_F_REPLY = 1,
        VEC_F_FIRST = 2,               /* first part; a one shot has FIRST and LAST */
        VEC_F_LAST = 4,
        VEC_F_UNVERIFIED = 8,          /* reply: plaintext whose tag is not checked yet */
};

/* What a key may serve: the bits of `usage`, bound into kcv. */
enum {
        VEC_USE_ENCRYPT = 1,
        VEC_USE_DECRYPT = 2,
        VEC_USE_OWN_IV = 4,            /* the caller may bring its own IV; otherwise the card draws it */
        VEC_USE_ALL = 7,
};

/*
 * Data operations. X(name, number, in, out, usage bits needed or 0 for no key, may be streamed)
 * in: the attribute that puts the data in; out: the one that takes the result out (attribute.h).
 * An operation without a row, or a row without attributes, cannot be asked for.
 */
#define VEC_OPS(X)                                              \
        X(NULL,    0x01, VEC_A, VEC_R, 0,               0)      \
        X(RANDOM,  0x02, VEC_A, VEC_R, 0,               0)      \
        X(SHA256,  0x03, VEC_A, VEC_R, 0,               1)      \
        X(ENCRYPT, 0x04, VEC_A, VEC_R, VEC_USE_ENCRYPT, 1)      \
        X(DECRYPT, 0x05, VEC_A, VEC_R, VEC_USE_DECRYPT, 1)

enum vec_op {
#define VEC_OP_ENUM(name, number, in, out, usage, stream) VEC_OP_##name = number,
        VEC_OPS(VEC_OP_ENUM)
#undef VEC_OP_ENUM
};

/*
 * Key algorithms. X(name, number, text in protocol messages, key bytes, iv bytes, tag bytes, EVP name)
 * A drawn IV is 12 random bytes; for CTR 4 zero bytes (the block counter) follow.
 */
#define VEC_ALGS(X)                                                             \
        X(AES_128_GCM, 1, "AES-128-GCM", 16, 12, 16, "AES-128-GCM")             \
        X(AES_256_GCM, 2, "AES-256-GCM", 32, 12, 16, "AES-256-GCM")             \
        X(AES_128_CTR, 3, "AES-128-CTR", 16, 16, 0,  "AES-128-CTR")             \
        X(AES_256_CTR, 4, "AES-256-CTR", 32, 16, 0,  "AES-256-CTR")

enum vec_alg {
#define VEC_ALG_ENUM(name, number, text, key, iv, tag, evp) VEC_ALG_##name = number,
        VEC_ALGS(VEC_ALG_ENUM)
#undef VEC_ALG_ENUM
};

/*
 * The control half, guest to broker; a reply carries the same op with VEC_F_REPLY.
 * X(name, number, what the request's data is, what the reply's data is)
 * "message n" is docs/protocol.md's.
 */
#define VEC_CONTROLS(X)                                                                                 \
        X(HELLO,    0x80, "empty",     "JSON: broker, instances with their cards")                      \
        X(REGISTER, 0x81, "message 1 of registration", "message 4")                                     \
        X(VERIFY,   0x82, "message 1 of verification", "message 6")                                     \
        X(LOAD,     0x83, "message 7", "message 12")                                                    \
        X(KEY,      0x84, "a sealed key registration", "the authority's keyreg")                        \
        X(KEYREV,   0x85, "a sealed key revocation", "the authority's keyrev")                          \
        X(ATTACH,   0x86, "message attach", "READY, sent by the card process itself: empty data")       \
        X(RELEASE,  0x87, "enc(sid, instance): this session's instance lets go of its card (R6 c)", "empty")

enum vec_control {
#define VEC_CONTROL_ENUM(name, number, request, reply) VEC_CONTROL_##name = number,
        VEC_CONTROLS(VEC_CONTROL_ENUM)
#undef VEC_CONTROL_ENUM
};

/*
 * Why the data half refused, beside the status. A refused reply's data is
 * u8 rule (2 for R2, 0 where no rule applies) || u8 reason || the sentence, UTF-8.
 * X(name, number, rule, sentence)
 */
#define VEC_REASONS(X)                                                                                          \
        X(NONE,         0,  0,  "")                                                                             \
        X(M_LACKS_A,    1,  2,  "a (append) is not in M for this instance and card")                            \
        X(M_LACKS_R,    2,  4,  "r (read) is not in M for this instance and card")                              \
        X(NOT_CONNECTED,3,  1,  "the instance holds no c (trust) on the card: connect first")                   \
        X(RESCINDED,    4,  10, "a right of this instance on the card was withdrawn while the request ran")     \
        X(SLOT_LOST,    5,  12, "the card was switched to another instance while the request ran")              \
        X(NO_KEY,       6,  0,  "this instance has no loaded key of that number on this card")                  \
        X(ANY_KEY,      7,  0,  "an operation without a key needs one loaded key of this instance")             \
        X(WRONG_USE,    8,  0,  "the key was registered for other operations")                                  \
        X(OWN_IV,       9,  0,  "the key's usage has no own_iv: leave the IV to the card")                      \
        X(BAD_IV,      10,  0,  "the IV has not the algorithm's length")                                        \
        X(BAD_TAG,     11,  0,  "the tag does not belong to this data, IV and key")                             \
        X(BAD_LENGTH,  12,  0,  "a length in the header is beyond its limit or not allowed here")               \
        X(BAD_OP,      13,  0,  "no such operation")                                                            \
        X(BAD_HEADER,  14,  0,  "wrong magic, version, flags or a field that must be zero")                     \
        X(NO_STREAM,   15,  0,  "no open stream of that number on this key, or the part is out of order")       \
        X(STREAMS,     16,  0,  "this key has eight open streams already: finish one")                          \
        X(IV_LIMIT,    17,  0,  "the key has served its 2^32 drawn IVs: load a new key")                        \
        X(STREAM_LONG, 18,  0,  "the stream is longer than the algorithm allows under one IV")                  \
        X(CREDIT,      19,  0,  "no buffer is free: read your answers first")                                   \
        X(QUIESCED,    20,  0,  "the card waits for its guard: ask again")                                      \
        X(ENGINE,      21,  0,  "the engine failed; nothing was delivered")                                     \
        X(OUT_OF_SERVICE, 22, 0, "a wipe of the card could not be checked: it is out of service")               \
        X(ATTACH_TAG,  23,  0,  "the first bytes after READY are not the tag of this attachment")               \
        X(KEY_SLOTS,   24,  0,  "every key slot of this card is taken: release a key first")                    \
        X(NOT_RECORDED, 25, 0,  "the card cannot write its audit log, and works no further without: ask again") \
        X(SLOT_SIZE,   26,  0,  "share = strict: too long for a slot: send parts, or have slot_us raised")      \
        X(NO_SLOT,     27,  0,  "share = strict: M gives this instance no c on the card, so it has no slot")

enum vec_reason {
#define VEC_REASON_ENUM(name, number, rule, sentence) VEC_REASON_##name = number,
        VEC_REASONS(VEC_REASON_ENUM)
#undef VEC_REASON_ENUM
};

/*
 * The tables above as data, for what walks them (Python, tests). Each returns the first of *ret_count rows, which
 * live for ever.
 */
struct vec_op_row {
        const char *name;
        uint8_t number, in, out, usage, stream;
};

struct vec_alg_row {
        const char *name;
        uint8_t number;
        const char *text;              /* in protocol messages */
        uint8_t key, iv, tag;          /* bytes */
        const char *evp;
};

struct vec_control_row {
        const char *name;
        uint8_t number;
        const char *request, *reply;
};

struct vec_reason_row {
        const char *name;
        uint8_t number, rule;
        const char *sentence;
};

const struct vec_op_row *vec_op_rows(size_t *ret_count);
const struct vec_alg_row *vec_alg_rows(size_t *ret_count);
const struct vec_control_row *vec_control_rows(size_t *ret_count);
const struct vec_reason_row *vec_reason_rows(size_t *ret_count);

/* The row of a number, or NULL where the table has none. */
const struct vec_op_row *vec_op_find(uint8_t number);
const struct vec_alg_row *vec_alg_find(uint8_t number);

/* The header, decoded. */
struct vec_header {
        uint8_t op;
        uint8_t flags;
        uint8_t status;
        uint64_t request;
        uint64_t key;
        uint32_t stream;
        uint32_t sequence;
        uint32_t aad_len;
        uint32_t data_len;
        uint16_t iv_len;
        uint16_t tag_len;
};

/*
 * Decode and check one header against the tables; what is checked, in this order, and the status and reason of a
 * failure:
 *
 *   magic                                                            EMALFORMED  BAD_HEADER
 *   version                                                          EVERSION    BAD_HEADER
 *   reserved 0, known flags, status 0 in a request and a row of
 *   status.h in a reply                                              EMALFORMED  BAD_HEADER
 *   op is a row, except in a refusal, which echoes what was asked    EMALFORMED  BAD_OP
 *   data half: every length within its limit                         ETOOLARGE   BAD_LENGTH
 *   control half: data within VEC_CONTROL_MAX                        ETOOLARGE   BAD_LENGTH
 *                 no iv, aad or tag                                  EMALFORMED  BAD_LENGTH
 *                 no flag but REPLY; key, stream, sequence 0         EMALFORMED  BAD_HEADER
 *   data request: UNVERIFIED not set; FIRST exactly with sequence 0;
 *                 stream 0 exactly in a one shot (FIRST and LAST);
 *                 a stream only where the row allows one             EMALFORMED  BAD_HEADER
 *
 * Returns 0, or a negative status with *ret_reason set; *ret is written only on 0, except that a header whose
 * magic is right always yields op and request, so that a refusal can name them.
 */
int vec_header_parse(const uint8_t bytes[48], struct vec_header *ret, uint8_t *ret_reason);

/* Encode; the caller has checked the lengths. */
void vec_header_build(const struct vec_header *header, uint8_t ret_bytes[48]);

/* iv_len + aad_len + data_len + tag_len. */
size_t vec_body_size(const struct vec_header *header);

/* The rule and the sentence of a reason; rule 0 and "" for a number without a row. */
int vec_reason_rule(uint8_t reason);
const char *vec_reason_sentence(uint8_t reason);

#endif
