/*
 * The audit chain of a card: audit.h.
 *
 * The ring has one producer, the pump, and one consumer at a time: whoever holds the lock. The consumer hashes. A
 * producer that finds the ring full becomes the consumer for once, and leaves what it hashed in blocks that
 * the next taker empties first.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "vec/audit.h"
#include "vec/shm.h"
#include "vec/status.h"

enum { LINE = 64, BLOCK_RECORDS = 4096 };

_Static_assert(sizeof(struct vec_audit_facts) == VEC_AUDIT_FACTS, "the facts have no holes");
_Static_assert(VEC_AUDIT_FACTS + VEC_AUDIT_VALUE == VEC_AUDIT_RECORD, "a record is its facts and its chain value");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a record is little endian");

/* Hashed records that nobody took yet. */
struct block {
        struct block *next;
        uint32_t start, end;
        uint8_t record[BLOCK_RECORDS][VEC_AUDIT_RECORD];
};

struct vec_audit {
        _Alignas(LINE) _Atomic uint64_t head;  /* written by the pump */
        uint64_t tail_seen;                    /* the pump's last look at tail */
        _Alignas(LINE) _Atomic uint64_t tail;  /* written by the consumer */
        _Alignas(LINE) _Atomic uint8_t on, held;
        _Atomic uint64_t lost;

        pthread_mutex_t lock;                  /* of everything below, and of the consumer's end of the ring */
        uint64_t sequence;                     /* of the next record */
        uint8_t value[VEC_AUDIT_VALUE];
        EVP_MD *sha256;
        EVP_MD_CTX *hash;
        struct block *block, *block_last;

        struct vec_audit_facts ring[VEC_AUDIT_RING];
};

static uint64_t clock_ns(void)
{
        struct timespec now;

        /* A few nanoseconds, where the exact clock takes thirty: this is on the way of every turn. */
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int vec_audit_new(vec_audit **ret_audit)
{
        struct vec_audit *audit = aligned_alloc(LINE, (sizeof(*audit) + LINE - 1) / LINE * LINE);

        if (!audit)
                return -VEC_EEXHAUSTED;
        /* Not the ring: its pages come when they are used. */
        memset(audit, 0, offsetof(struct vec_audit, ring));
        audit->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        audit->hash = EVP_MD_CTX_new();
        if (!audit->sha256 || !audit->hash || !EVP_DigestInit_ex2(audit->hash, audit->sha256, NULL)) {
                EVP_MD_CTX_free(audit->hash);
                EVP_MD_free(audit->sha256);
                free(audit);
                return -VEC_EFAILED;
        }
        pthread_mutex_init(&audit->lock, NULL);
        *ret_audit = audit;
        return 0;
}

void vec_audit_free(vec_audit *audit)
{
        struct block *block, *next;

        if (!audit)
                return;
        for (block = audit->block; block; block = next) {
                next = block->next;
                free(block);
        }
        EVP_MD_CTX_free(audit->hash);
        EVP_MD_free(audit->sha256);
        pthread_mutex_destroy(&audit->lock);
        free(audit);
}

int vec_audit_open(vec_audit *audit, uint64_t sequence, const uint8_t value[VEC_AUDIT_VALUE])
{
        int r = -VEC_EEXISTS;

        pthread_mutex_lock(&audit->lock);
        if (!atomic_load(&audit->on)) {
                audit->sequence = sequence;
                memcpy(audit->value, value, VEC_AUDIT_VALUE);
                atomic_store(&audit->on, 1);
                r = 0;
        }
        pthread_mutex_unlock(&audit->lock);
        return r;
}

/* ---- the consumer's end, under the lock ---- */

/* The facts become the next record of the chain. 0 where libcrypto fails: nothing was changed. */
static int append(struct vec_audit *audit, struct vec_audit_facts *facts, uint8_t *to)
{
        uint8_t value[VEC_AUDIT_VALUE];

        facts->sequence = audit->sequence;
        if (!EVP_DigestInit_ex2(audit->hash, NULL, NULL) ||
            !EVP_DigestUpdate(audit->hash, audit->value, VEC_AUDIT_VALUE) ||
            !EVP_DigestUpdate(audit->hash, facts, VEC_AUDIT_FACTS) || !EVP_DigestFinal_ex(audit->hash, value, NULL))
                return 0;
        audit->sequence++;
        memcpy(audit->value, value, VEC_AUDIT_VALUE);
        memcpy(to, facts, VEC_AUDIT_FACTS);
        memcpy(to + VEC_AUDIT_FACTS, value, VEC_AUDIT_VALUE);
        return 1;
}

/* Room for one more record in the blocks, or NULL. */
static uint8_t *room(struct vec_audit *audit)
{
        struct block *last = audit->block_last;

        if (!last || last->end == BLOCK_RECORDS) {
                last = malloc(sizeof(*last));
                if (!last)
                        return NULL;
                last->next = NULL;
                last->start = last->end = 0;
                if (audit->block_last)
                        audit->block_last->next = last;
                else
                        audit->block = last;
                audit->block_last = last;
        }
        return last->record[last->end];
}

static int into_blocks(struct vec_audit *audit, struct vec_audit_facts *facts)
{
        uint8_t *to = room(audit);

        if (!to || !append(audit, facts, to)) {
                atomic_fetch_add(&audit->lost, 1);
                return -VEC_EEXHAUSTED;
        }
        audit->block_last->end++;
        return 0;
}

/* What is missing is on record before anything that came after it. */
static int tell_lost(struct vec_audit *audit)
{
        uint64_t lost = atomic_exchange(&audit->lost, 0);
        struct vec_audit_facts facts = {
                .time = clock_ns(), .word = lost, .instance = VEC_NONE, .kind = VEC_AUDIT_LOST,
        };
        uint8_t *to = lost ? room(audit) : NULL;

        if (!lost)
                return 0;
        if (!to || !append(audit, &facts, to)) {
                atomic_fetch_add(&audit->lost, lost);
                return -VEC_EEXHAUSTED;
        }
        audit->block_last->end++;
        return 0;
}

static void ring_into_blocks(struct vec_audit *audit)
{
        uint64_t head = atomic_load_explicit(&audit->head, memory_order_acquire);
        uint64_t tail = atomic_load_explicit(&audit->tail, memory_order_relaxed);

        tell_lost(audit);
        for (; tail != head; tail++)
                into_blocks(audit, &audit->ring[tail % VEC_AUDIT_RING]);
        atomic_store_explicit(&audit->tail, tail, memory_order_release);
}

static uint32_t from_blocks(struct vec_audit *audit, uint8_t *to, uint32_t most)
{
        uint32_t taken = 0;

        while (audit->block && taken < most) {
                struct block *block = audit->block;
                uint32_t n = block->end - block->start;

                if (n > most - taken)
                        n = most - taken;
                memcpy(to + (size_t)taken * VEC_AUDIT_RECORD, block->record[block->start],
                       (size_t)n * VEC_AUDIT_RECORD);
                block->start += n;
                taken += n;
                if (block->start < block->end)
                        break;
                audit->block = block->next;
                if (!audit->block)
                        audit->block_last = NULL;
                free(block);
        }
        return taken;
}

uint32_t vec_audit_take(vec_audit *audit, uint8_t *to, uint32_t most)
{
        uint64_t head, tail;
        uint32_t taken;

        pthread_mutex_lock(&audit->lock);
        if (atomic_load_explicit(&audit->lost, memory_order_relaxed))
                tell_lost(audit);
        taken = from_blocks(audit, to, most);
        head = atomic_load_explicit(&audit->head, memory_order_acquire);
        tail = atomic_load_explicit(&audit->tail, memory_order_relaxed);
        /* The ring comes after the blocks: where some of those are left, `to` is full. */
        for (; tail != head && taken < most; tail++, taken++)
                if (!append(audit, &audit->ring[tail % VEC_AUDIT_RING], to + (size_t)taken * VEC_AUDIT_RECORD))
                        break;
        atomic_store_explicit(&audit->tail, tail, memory_order_release);
        pthread_mutex_unlock(&audit->lock);
        return taken;
}

int vec_audit_add(vec_audit *audit, uint8_t kind, uint8_t flags, uint64_t word)
{
        struct vec_audit_facts facts = {
                .time = clock_ns(), .word = word, .instance = VEC_NONE, .kind = kind, .flags = flags,
        };
        int r;

        pthread_mutex_lock(&audit->lock);
        ring_into_blocks(audit);
        r = into_blocks(audit, &facts);
        pthread_mutex_unlock(&audit->lock);
        return r;
}

void vec_audit_rewind(vec_audit *audit, uint64_t sequence, const uint8_t value[VEC_AUDIT_VALUE], uint64_t lost)
{
        struct vec_audit_facts facts;
        struct block *old, *next;
        uint32_t n;

        pthread_mutex_lock(&audit->lock);
        audit->sequence = sequence;
        memcpy(audit->value, value, VEC_AUDIT_VALUE);
        atomic_fetch_add(&audit->lost, lost);
        old = audit->block;
        audit->block = audit->block_last = NULL;
        tell_lost(audit);
        for (; old; old = next) {
                for (n = old->start; n < old->end; n++) {
                        memcpy(&facts, old->record[n], VEC_AUDIT_FACTS);
                        into_blocks(audit, &facts);
                }
                next = old->next;
                free(old);
        }
        pthread_mutex_unlock(&audit->lock);
}

void vec_audit_hold(vec_audit *audit, int held)
{
        atomic_store(&audit->held, held != 0);
}

int vec_audit_held(const vec_audit *audit)
{
        return atomic_load_explicit(&audit->held, memory_order_relaxed);
}

/* ---- the pump's end ---- */

static void make_room(struct vec_audit *audit)
{
        pthread_mutex_lock(&audit->lock);
        ring_into_blocks(audit);
        audit->tail_seen = atomic_load_explicit(&audit->tail, memory_order_relaxed);
        pthread_mutex_unlock(&audit->lock);
}

void vec_audit_note(vec_audit *audit, const struct vec_audit_facts *facts)
{
        uint64_t head = atomic_load_explicit(&audit->head, memory_order_relaxed);
        struct vec_audit_facts *slot = &audit->ring[head % VEC_AUDIT_RING];

        if (!atomic_load_explicit(&audit->on, memory_order_acquire))
                return;
        if (vec_audit_held(audit) && !(facts->flags & VEC_AUDIT_WORKED) && facts->kind == VEC_AUDIT_TURN) {
                atomic_fetch_add_explicit(&audit->lost, 1, memory_order_relaxed);
                return;
        }
        if (head - audit->tail_seen == VEC_AUDIT_RING) {
                audit->tail_seen = atomic_load_explicit(&audit->tail, memory_order_acquire);
                if (head - audit->tail_seen == VEC_AUDIT_RING)
                        make_room(audit);
        }
        *slot = *facts;
        slot->time = clock_ns();
        atomic_store_explicit(&audit->head, head + 1, memory_order_release);
}
