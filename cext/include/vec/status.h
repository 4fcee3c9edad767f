/*
 * Every outcome that crosses a boundary of this project, in one table.
 *
 * X(name, wire number, exit code of vecctl, PKCS#11 return value, sentence)
 *
 * The wire number travels in a reply's header (wire.h) and between our own
 * processes; vecd/base/errors.py has one class per row and a test holds the two
 * equal. C functions return 0 or the negative wire number.
 */
#ifndef VEC_STATUS_H
#define VEC_STATUS_H

#include <stddef.h>
#include <stdint.h>

#define VEC_STATUSES(X)                                                                              \
        X(OK,           0,  0, 0x00000000, "done")                                                   \
        X(EFAILED,      1,  1, 0x00000006, "failed")                                                 \
        X(EMALFORMED,   2,  2, 0x00000007, "the request is not well formed")                         \
        X(EVERSION,     3,  2, 0x00000054, "the protocol version is not spoken here")                \
        X(EUNKNOWN,     4,  4, 0x00000082, "no such thing")                                          \
        X(EDENIED,      5,  5, 0x0000001B, "refused by the reference monitor")                       \
        X(ECALLER,      6,  6, 0x00000101, "the caller is not allowed to ask this")                  \
        X(EINTEGRITY,   7,  7, 0x00000005, "an integrity check failed")                              \
        X(EBUSY,        8,  8, 0x00000200, "busy, try again")                                        \
        X(EHARDWARE,    9,  9, 0x00000030, "the card failed")                                        \
        X(ETIMEOUT,    10, 10, 0x00000030, "timed out")                                              \
        X(EUNREACHABLE,11,  3, 0x000000E0, "the daemon cannot be reached")                           \
        X(ETOOLARGE,   12,  2, 0x00000021, "the request is larger than the limit")                   \
        X(EKEY,        13,  4, 0x00000060, "no such key number on this connection")                  \
        X(ETAG,        14,  7, 0x00000040, "the authentication tag is wrong")                        \
        X(EUSAGE,      15,  5, 0x00000068, "the key may not be used for this operation")             \
        X(ESTREAM,     16,  1, 0x00000091, "the stream is unknown, or the part out of order")        \
        X(EEXHAUSTED,  17,  8, 0x00000031, "a limit is reached")                                     \
        X(EPROTOCOL,   18,  7, 0x00000063, "a check of the protocol failed")                         \
        X(ECONFIG,     19,  2, 0x00000007, "the configuration is wrong")                             \
        X(EGONE,       20,  3, 0x00000032, "the peer went away before it answered")                  \
        X(EEXISTS,     21,  1, 0x00000007, "it exists already")                                      \
        X(EINTERNAL,   70,  1, 0x00000005, "our own mistake")

enum vec_status {
#define VEC_STATUS_ENUM(name, number, exit_code, ckr, sentence) VEC_##name = number,
        VEC_STATUSES(VEC_STATUS_ENUM)
#undef VEC_STATUS_ENUM
};

/* The table as data: the first of *ret_count rows, which live for ever. */
struct vec_status_row {
        const char *name;
        uint8_t number;
        int exit_code;
        uint32_t ckr;
        const char *sentence;
};

const struct vec_status_row *vec_status_rows(size_t *ret_count);

/* The sentence of a status, positive or negative; never NULL. */
const char *vec_status_sentence(int status);

#endif
