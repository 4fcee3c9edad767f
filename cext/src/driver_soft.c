/*
 * The soft card: libcrypto's EVP as an engine (driver.h).
 *
 * A key slot has two prepared contexts, so that a one shot pays for its IV alone; a stream has a context of
 * its own, which simply stays in the arena between two turns. Methods are fetched once, outside the arena. What an
 * operation is, a row of `ops` says; how an algorithm is called, its row of VEC_ALGS.
 */
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "vec/arena.h"
#include "vec/driver.h"
#include "vec/status.h"
#include "vec/wire.h"

enum { DECRYPTING, ENCRYPTING, DIRECTIONS };
enum { ALGS = 5, DIGEST_SIZE = 32, IV_RANDOM = 12, IV_POOL = 4080, KEY_MAX = 32 };
_Static_assert(IV_POOL % IV_RANDOM == 0, "the pool gives whole IVs");

/* Where an algorithm has a tag it is GCM: authenticated, with additional data. */
struct soft_key {
        const struct vec_alg_row *row;
        EVP_CIPHER_CTX *context[DIRECTIONS];
        uint8_t key[KEY_MAX];
};

struct soft_stream {
        EVP_CIPHER_CTX *cipher;
        EVP_MD_CTX *digest;
};

struct soft {
        EVP_CIPHER *cipher[ALGS];
        EVP_MD *sha256;
        EVP_MD_CTX *digest;
        int hashed;                    /* `digest` has the state of a request */
        unsigned iv_left;
        uint8_t iv_pool[IV_POOL];
};

static int engine_failed(uint8_t *ret_reason)
{
        ERR_clear_error();
        *ret_reason = VEC_REASON_ENGINE;
        return -VEC_EHARDWARE;
}

static void soft_close(void *engine)
{
        struct soft *soft = engine;
        size_t i;

        if (!soft)
                return;
        for (i = 0; i < ALGS; i++)
                EVP_CIPHER_free(soft->cipher[i]);
        EVP_MD_CTX_free(soft->digest);
        EVP_MD_free(soft->sha256);
        vec_arena_free(soft);
}

/* One use of everything outside the arena: libcrypto then caches for good what it would else cache in there. */
static int warm_up(struct soft *soft)
{
        uint8_t zero[KEY_MAX] = { 0 }, out[DIGEST_SIZE];
        EVP_MD_CTX *digest = EVP_MD_CTX_new();
        int ok = digest && EVP_DigestInit_ex(digest, soft->sha256, NULL) && EVP_DigestFinal_ex(digest, out, NULL);
        size_t i;

        EVP_MD_CTX_free(digest);
        for (i = 1; i < ALGS && ok; i++) {
                EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

                ok = context && EVP_CipherInit_ex(context, soft->cipher[i], NULL, zero, zero, 1);
                EVP_CIPHER_CTX_free(context);
        }
        return ok && RAND_bytes(out, sizeof(out)) == 1 ? 0 : -VEC_EHARDWARE;
}

static int soft_open(void **ret_engine)
{
        struct soft *soft = vec_arena_alloc(sizeof(*soft));
        int r = -VEC_EHARDWARE;
        size_t i;

        if (!soft)
                return -VEC_EEXHAUSTED;
        memset(soft, 0, sizeof(*soft));
        soft->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        for (i = 1; i < ALGS; i++)
                soft->cipher[i] = EVP_CIPHER_fetch(NULL, vec_alg_find((uint8_t)i)->evp, NULL);
        for (i = 1; i < ALGS; i++)
                if (!soft->cipher[i])
                        goto fail;
        if (!soft->sha256 || warm_up(soft) < 0)
                goto fail;
        vec_secret_on();
        soft->digest = EVP_MD_CTX_new();
        vec_secret_off();
        if (!soft->digest)
                goto fail;
        *ret_engine = soft;
        return 0;
fail:
        ERR_clear_error();
        soft_close(soft);
        return r;
}

static EVP_CIPHER_CTX *context_new(struct soft *soft, const struct soft_key *key, int direction)
{
        EVP_CIPHER_CTX *context;

        vec_secret_on();
        context = EVP_CIPHER_CTX_new();
        if (context && !EVP_CipherInit_ex(context, soft->cipher[key->row->number], NULL, key->key, NULL, direction)) {
                EVP_CIPHER_CTX_free(context);
                context = NULL;
        }
        vec_secret_off();
        ERR_clear_error();
        return context;
}

static void soft_key_destroy(void *engine, void *prepared)
{
        struct soft_key *key = prepared;

        (void)engine;
        EVP_CIPHER_CTX_free(key->context[DECRYPTING]);
        EVP_CIPHER_CTX_free(key->context[ENCRYPTING]);
        vec_arena_free(key);
}

static int soft_key_prepare(void *engine, uint8_t alg, const uint8_t *bytes, size_t size, void **ret_key)
{
        const struct vec_alg_row *row = vec_alg_find(alg);
        struct soft_key *key;

        if (!row || size != row->key)
                return -VEC_EMALFORMED;
        key = vec_arena_alloc(sizeof(*key));
        if (!key)
                return -VEC_EEXHAUSTED;
        memset(key, 0, sizeof(*key));
        key->row = row;
        memcpy(key->key, bytes, size);
        key->context[DECRYPTING] = context_new(engine, key, DECRYPTING);
        key->context[ENCRYPTING] = context_new(engine, key, ENCRYPTING);
        vec_stack_wipe();
        if (!key->context[DECRYPTING] || !key->context[ENCRYPTING]) {
                soft_key_destroy(engine, key);
                return -VEC_EEXHAUSTED;
        }
        *ret_key = key;
        return 0;
}

static void soft_stream_destroy(void *engine, void *state)
{
        struct soft_stream *stream = state;

        (void)engine;
        EVP_CIPHER_CTX_free(stream->cipher);
        EVP_MD_CTX_free(stream->digest);
        vec_arena_free(stream);
}

static struct soft_stream *stream_new(void)
{
        struct soft_stream *stream = vec_arena_alloc(sizeof(*stream));

        if (stream)
                memset(stream, 0, sizeof(*stream));
        return stream;
}

/* IVs are public, so drawing them many at a time tells nobody anything; none is given out twice. */
static int draw_iv(struct soft *soft, uint8_t *ret_iv, size_t size)
{
        uint8_t *drawn;

        if (!soft->iv_left) {
                if (RAND_bytes(soft->iv_pool, IV_POOL) != 1)
                        return -VEC_EHARDWARE;
                soft->iv_left = IV_POOL;
        }
        drawn = soft->iv_pool + IV_POOL - soft->iv_left;
        memset(ret_iv, 0, size);
        memcpy(ret_iv, drawn, IV_RANDOM);
        memset(drawn, 0, IV_RANDOM);
        soft->iv_left -= IV_RANDOM;
        return 0;
}

/* One part through a context that is ready for it; the wrong tag is the one failure that is the caller's. */
static int cipher_part(EVP_CIPHER_CTX *context, const struct soft_key *key, const struct vec_work *work, int direction,
                       uint8_t *ret_reason)
{
        int done = 0, tagged = key->row->tag && work->last;

        if (work->aad_len && !EVP_CipherUpdate(context, NULL, &done, work->aad, (int)work->aad_len))
                return engine_failed(ret_reason);
        if (work->in_len && !EVP_CipherUpdate(context, work->ret_out, &done, work->in, (int)work->in_len))
                return engine_failed(ret_reason);
        if (!tagged)
                return 0;
        if (direction == DECRYPTING &&
            !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, key->row->tag, (void *)(uintptr_t)work->tag))
                return engine_failed(ret_reason);
        if (!EVP_CipherFinal_ex(context, work->ret_out + work->in_len, &done)) {
                if (direction == ENCRYPTING)
                        return engine_failed(ret_reason);
                ERR_clear_error();
                *ret_reason = VEC_REASON_BAD_TAG;
                return -VEC_ETAG;
        }
        if (direction == ENCRYPTING &&
            !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, key->row->tag, work->ret_tag))
                return engine_failed(ret_reason);
        return 0;
}

static int run_cipher(struct soft *soft, const struct vec_work *work, int direction, uint8_t *ret_reason)
{
        struct soft_key *key = work->key;
        EVP_CIPHER_CTX *context = key->context[direction];
        struct soft_stream *stream = NULL;

        if (work->stream && work->first) {
                stream = stream_new();
                if (!stream)
                        return engine_failed(ret_reason);
                *work->stream = stream;
                stream->cipher = context_new(soft, key, direction);
                vec_stack_wipe();
                if (!stream->cipher)
                        return engine_failed(ret_reason);
        }
        if (work->stream)
                context = ((struct soft_stream *)*work->stream)->cipher;
        if (work->first) {
                const uint8_t *iv = work->iv;

                if (work->draw) {
                        if (draw_iv(soft, work->ret_iv, key->row->iv) < 0)
                                return engine_failed(ret_reason);
                        iv = work->ret_iv;
                }
                if (!EVP_CipherInit_ex(context, NULL, NULL, NULL, iv, -1))
                        return engine_failed(ret_reason);
        }
        return cipher_part(context, key, work, direction, ret_reason);
}

static int run_encrypt(struct soft *soft, const struct vec_work *work, uint8_t *ret_reason)
{
        return run_cipher(soft, work, ENCRYPTING, ret_reason);
}

static int run_decrypt(struct soft *soft, const struct vec_work *work, uint8_t *ret_reason)
{
        return run_cipher(soft, work, DECRYPTING, ret_reason);
}

static int run_null(struct soft *soft, const struct vec_work *work, uint8_t *ret_reason)
{
        (void)soft, (void)ret_reason;
        memcpy(work->ret_out, work->in, work->in_len);
        return 0;
}

static int run_random(struct soft *soft, const struct vec_work *work, uint8_t *ret_reason)
{
        (void)soft;
        return RAND_bytes(work->ret_out, (int)work->out_len) == 1 ? 0 : engine_failed(ret_reason);
}

static int run_sha256(struct soft *soft, const struct vec_work *work, uint8_t *ret_reason)
{
        EVP_MD_CTX *context = soft->digest;

        if (work->stream && work->first) {
                struct soft_stream *stream = stream_new();

                if (!stream)
                        return engine_failed(ret_reason);
                *work->stream = stream;
                vec_secret_on();
                stream->digest = EVP_MD_CTX_new();
                vec_secret_off();
                if (!stream->digest)
                        return engine_failed(ret_reason);
        }
        if (work->stream)
                context = ((struct soft_stream *)*work->stream)->digest;
        else
                soft->hashed = 1;
        vec_secret_on();
        if ((work->first && !EVP_DigestInit_ex(context, soft->sha256, NULL)) ||
            !EVP_DigestUpdate(context, work->in, work->in_len) ||
            (work->last && !EVP_DigestFinal_ex(context, work->ret_out, NULL))) {
                vec_secret_off();
                return engine_failed(ret_reason);
        }
        vec_secret_off();
        return 0;
}

static int (*const ops[])(struct soft *, const struct vec_work *, uint8_t *) = {
        [VEC_OP_NULL] = run_null,
        [VEC_OP_RANDOM] = run_random,
        [VEC_OP_SHA256] = run_sha256,
        [VEC_OP_ENCRYPT] = run_encrypt,
        [VEC_OP_DECRYPT] = run_decrypt,
};

static int soft_run(void *engine, const struct vec_work *work, uint8_t *ret_reason)
{
        int r;

        if (work->op >= sizeof(ops) / sizeof(ops[0]) || !ops[work->op]) {
                *ret_reason = VEC_REASON_BAD_OP;
                return -VEC_EMALFORMED;
        }
        r = ops[work->op](engine, work, ret_reason);
        if (r < 0)
                vec_wipe(work->ret_out, work->out_len);
        if (work->stream && *work->stream && (r < 0 || work->last)) {
                soft_stream_destroy(engine, *work->stream);
                *work->stream = NULL;
        }
        return r;
}

/* Of a request nothing stays but the hash of a one shot: libcrypto clears what it copied, contexts are key slots. */
static void soft_wipe(void *engine)
{
        struct soft *soft = engine;

        if (soft->hashed)
                EVP_MD_CTX_reset(soft->digest);
        soft->hashed = 0;
}

/* A reset frees the state, and the arena reads back what it frees. */
static int soft_wipe_check(void *engine)
{
        (void)engine;
        return vec_arena_check();
}

const struct vec_driver *vec_driver_soft(void)
{
        static const struct vec_driver driver = {
                .name = "soft",
                .open = soft_open,
                .close = soft_close,
                .key_prepare = soft_key_prepare,
                .key_destroy = soft_key_destroy,
                .run = soft_run,
                .stream_destroy = soft_stream_destroy,
                .wipe = soft_wipe,
                .wipe_check = soft_wipe_check,
        };

        return &driver;
}
