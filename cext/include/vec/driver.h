/*
 * What the pump needs of an engine: a table of functions, one table per kind of card.
 *
 * The pump decides nothing about a request after it was shaped: it hands over `vec_work`, one request or one
 * part of a stream, whose lengths and usage are checked and whose buffers are its own. All calls come from the
 * pump's thread; run and key_prepare between up and down of the slot owner's turn. A driver keeps secrets in the
 * arena alone (arena.h). docs/cards.md tells how to write one.
 */
#ifndef VEC_DRIVER_H
#define VEC_DRIVER_H

#include <stddef.h>
#include <stdint.h>

struct vec_work {
        uint8_t op;                    /* a row of VEC_OPS */
        uint8_t first, last;           /* both in a one shot */
        uint8_t draw;                  /* first part: the card draws the IV and writes it to ret_iv */
        void *key;                     /* of key_prepare; NULL for an operation without key */
        /*
         * NULL in a one shot. Otherwise where the state of the stream stands between two parts: made by the first,
         * NULL again after the last and after a part that failed.
         */
        void **stream;
        const uint8_t *iv;             /* first part without draw; as long as the algorithm's row says */
        const uint8_t *aad;            /* first part */
        const uint8_t *in;
        const uint8_t *tag;            /* last part of a decryption, where the algorithm has one */
        uint32_t aad_len, in_len;
        uint8_t *ret_iv;
        uint8_t *ret_out;              /* out_len bytes; all of them zero after a failure */
        uint8_t *ret_tag;              /* last part of an encryption, where the algorithm has one */
        uint32_t out_len;
};

struct vec_driver {
        const char *name;

        /* The engine, ready. 0 or a negative status. */
        int (*open)(void **ret_engine);
        /* Everything it allocated is freed. NULL is allowed. */
        void (*close)(void *engine);

        /* A key slot's contexts from the key bytes (`alg` is a row of VEC_ALGS, the size is the row's). */
        int (*key_prepare)(void *engine, uint8_t alg, const uint8_t *key, size_t size, void **ret_key);
        void (*key_destroy)(void *engine, void *key);

        /*
         * Do it. 0, or a negative status with a row of VEC_REASONS in *ret_reason: nothing was delivered then,
         * and the stream is gone. A decryption in one shot delivers nothing unless the tag is right.
         */
        int (*run)(void *engine, const struct vec_work *work, uint8_t *ret_reason);
        /* Forget an unfinished stream. */
        void (*stream_destroy)(void *engine, void *stream);

        /* R11 down and R12: overwrite whatever of a request is left in the engine itself; then read it back. */
        void (*wipe)(void *engine);
        int (*wipe_check)(void *engine);
};

/* OpenSSL's EVP in this process; vec_arena_prepare comes first. */
const struct vec_driver *vec_driver_soft(void);

#endif
