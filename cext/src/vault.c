/* The vault: secrets of the card process under handles, each a block of the arena (arena.h). */
#include <pthread.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "vec/arena.h"
#include "vec/status.h"

enum { INDEX_BITS = 10, INDEX_MASK = (1 << INDEX_BITS) - 1 };
_Static_assert(VEC_BLOBS_MAX == 1 << INDEX_BITS, "a handle names every blob");

/* A handle is the blob's place and its age, so that the handle of a dropped blob never means the next one. */
static struct {
        pthread_mutex_t lock;
        struct blob {
                uint8_t *secret;
                size_t size;
                uint64_t age;
                uint32_t pinned;
                uint8_t readable;
        } blob[VEC_BLOBS_MAX];
} vault = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct blob *find(uint64_t handle)
{
        struct blob *blob = &vault.blob[handle & INDEX_MASK];

        return blob->secret && blob->age == handle >> INDEX_BITS ? blob : NULL;
}

int vec_vault_stage(const void *secret, size_t size, int readable, uint64_t *ret_handle)
{
        struct blob *blob = NULL;
        int r = -VEC_EEXHAUSTED;
        unsigned i;

        if (!size || size > VEC_BLOB_MAX)
                return -VEC_ETOOLARGE;
        pthread_mutex_lock(&vault.lock);
        for (i = 0; i < VEC_BLOBS_MAX && !blob; i++)
                if (!vault.blob[i].secret)
                        blob = &vault.blob[i];
        if (blob && (blob->secret = vec_arena_alloc(size))) {
                memcpy(blob->secret, secret, size);
                blob->size = size;
                blob->age++;
                blob->pinned = 0;
                blob->readable = (uint8_t)!!readable;
                *ret_handle = blob->age << INDEX_BITS | (uint64_t)(blob - vault.blob);
                r = 0;
        }
        pthread_mutex_unlock(&vault.lock);
        return r;
}

int vec_vault_pin(uint64_t handle, const uint8_t **ret_secret, size_t *ret_size)
{
        struct blob *blob;
        int r = -VEC_EUNKNOWN;

        pthread_mutex_lock(&vault.lock);
        blob = find(handle);
        if (blob) {
                blob->pinned++;
                *ret_secret = blob->secret;
                *ret_size = blob->size;
                r = 0;
        }
        pthread_mutex_unlock(&vault.lock);
        return r;
}

void vec_vault_unpin(uint64_t handle)
{
        pthread_mutex_lock(&vault.lock);
        find(handle)->pinned--;
        pthread_mutex_unlock(&vault.lock);
}

int vec_vault_peek(uint64_t handle, const uint8_t **ret_secret, size_t *ret_size)
{
        struct blob *blob;
        int r = -VEC_EUNKNOWN;

        pthread_mutex_lock(&vault.lock);
        blob = find(handle);
        if (blob && !blob->readable) {
                r = -VEC_EDENIED;
        } else if (blob) {
                *ret_secret = blob->secret;
                *ret_size = blob->size;
                r = 0;
        }
        pthread_mutex_unlock(&vault.lock);
        return r;
}

int vec_vault_drop(uint64_t handle)
{
        struct blob *blob;
        int r = -VEC_EUNKNOWN;

        pthread_mutex_lock(&vault.lock);
        blob = find(handle);
        if (blob && blob->pinned) {
                r = -VEC_EBUSY;
        } else if (blob) {
                vec_arena_free(blob->secret);
                blob->secret = NULL;
                r = vec_arena_check();
        }
        pthread_mutex_unlock(&vault.lock);
        return r;
}

/* HMAC with every copy of the key in the arena: the context keeps the key and both padded forms of it. */
static int hmac(EVP_MAC *mac, const uint8_t *key, size_t key_size, const void *data, size_t size, uint8_t ret[32])
{
        char digest[] = "SHA256";
        OSSL_PARAM params[] = { OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END };
        EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
        size_t length = 0;
        int ok;

        ok = context && EVP_MAC_init(context, key, key_size, params) && EVP_MAC_update(context, data, size) &&
             EVP_MAC_final(context, ret, &length, 32) && length == 32;
        EVP_MAC_CTX_free(context);
        return ok ? 0 : -VEC_EINTERNAL;
}

static EVP_MAC *hmac_ready(void)
{
        static EVP_MAC *mac;
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        uint8_t first[32];
        EVP_MAC *now;

        pthread_mutex_lock(&lock);
        if (!mac) {
                now = EVP_MAC_fetch(NULL, "HMAC", NULL);
                /* Once outside the arena, so that what libcrypto caches for good does not fill it. */
                if (now && hmac(now, (const uint8_t *)"warm", 4, "", 0, first) == 0)
                        mac = now;
        }
        now = mac;
        pthread_mutex_unlock(&lock);
        ERR_clear_error();
        return now;
}

int vec_vault_kcv(uint64_t handle, const void *data, size_t size, uint8_t ret_kcv[32])
{
        EVP_MAC *mac = hmac_ready();
        const uint8_t *secret;
        uint8_t kcv[32];
        size_t length;
        int r;

        if (!mac)
                return -VEC_EINTERNAL;
        r = vec_vault_pin(handle, &secret, &length);
        if (r < 0)
                return r;
        vec_secret_on();
        r = hmac(mac, secret, length, data, size, kcv);
        vec_secret_off();
        vec_vault_unpin(handle);
        /* SHA-256's message schedule was the padded key. */
        vec_stack_wipe();
        if (r == 0)
                memcpy(ret_kcv, kcv, sizeof(kcv));
        return r;
}
