/*
 * The allocator of the key arena (arena.h): size classes with a free list each, and a frontier behind which
 * nothing was ever handed out. Blocks are not merged: a card asks for few sizes, again and again.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>


#include "vec/arena.h"
#include "vec/status.h"

enum { UNIT = 16, HEAD = 16, MARK = 0x76454b41 };

/* Bytes a block of each class holds: two steps an octave. */
static const uint32_t class_size[] = {
        32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 32768,
};
enum { CLASSES = sizeof(class_size) / sizeof(class_size[0]) };

/* Stands before every block, and says on free what it is. */
struct head {
        uint32_t mark;
        uint32_t class;
        uint64_t live;
};

struct free_block {
        struct free_block *next;
};

static struct {
        pthread_mutex_t lock;
        char *base;
        size_t size, frontier, used;
        struct free_block *free[CLASSES];
        int secret, broken;
} arena = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local unsigned secret_depth;

void vec_secret_on(void)
{
        secret_depth++;
}

void vec_secret_off(void)
{
        secret_depth--;
}

int vec_arena_holds(const void *memory)
{
        return arena.base && (const char *)memory >= arena.base && (const char *)memory < arena.base + arena.size;
}

static struct head *head_of(void *memory)
{
        struct head *head = (struct head *)((char *)memory - HEAD);

        /* A stray pointer here is memory corruption: go on and keys leak. */
        if (head->mark != MARK || head->live != 1 || head->class >= CLASSES)
                abort();
        return head;
}

void *vec_arena_alloc(size_t size)
{
        struct head *head = NULL;
        uint32_t class = 0;

        while (class < CLASSES && class_size[class] < size)
                class++;
        if (class == CLASSES || !arena.base)
                return NULL;
        pthread_mutex_lock(&arena.lock);
        if (arena.free[class]) {
                struct free_block *block = arena.free[class];

                arena.free[class] = block->next;
                block->next = NULL;
                head = (struct head *)((char *)block - HEAD);
        } else if (arena.size - arena.frontier >= HEAD + class_size[class]) {
                head = (struct head *)(arena.base + arena.frontier);
                arena.frontier += HEAD + class_size[class];
        }
        if (head) {
                *head = (struct head){ .mark = MARK, .class = class, .live = 1 };
                arena.used += HEAD + class_size[class];
        }
        pthread_mutex_unlock(&arena.lock);
        return head ? (char *)head + HEAD : NULL;
}

void vec_arena_free(void *memory)
{
        struct free_block *block = memory;
        struct head *head;

        if (!memory)
                return;
        head = head_of(memory);
        vec_wipe(memory, class_size[head->class]);
        pthread_mutex_lock(&arena.lock);
        if (!vec_is_zero(memory, class_size[head->class]))
                arena.broken = 1;
        head->live = 0;
        arena.used -= HEAD + class_size[head->class];
        block->next = arena.free[head->class];
        arena.free[head->class] = block;
        pthread_mutex_unlock(&arena.lock);
}

int vec_arena_check(void)
{
        return __atomic_load_n(&arena.broken, __ATOMIC_RELAXED) ? -VEC_EINTEGRITY : 0;
}

void vec_arena_report(struct vec_arena_report *ret)
{
        pthread_mutex_lock(&arena.lock);
        *ret = (struct vec_arena_report){
                .base = (uintptr_t)arena.base, .size = arena.size, .used = arena.used, .frontier = arena.frontier,
                .secret = (uint8_t)arena.secret, .broken = (uint8_t)arena.broken,
        };
        pthread_mutex_unlock(&arena.lock);
}

/* ---- libcrypto's allocator ---- */

static void *crypto_malloc(size_t size, const char *file, int line)
{
        (void)file, (void)line;
        if (!size)
                return NULL;
        return secret_depth ? vec_arena_alloc(size) : malloc(size);
}

static void crypto_free(void *memory, const char *file, int line)
{
        (void)file, (void)line;
        if (vec_arena_holds(memory))
                vec_arena_free(memory);
        else
                free(memory);
}

static void *crypto_realloc(void *memory, size_t size, const char *file, int line)
{
        size_t old;
        void *grown;

        if (!memory)
                return crypto_malloc(size, file, line);
        if (!size) {
                crypto_free(memory, file, line);
                return NULL;
        }
        if (!vec_arena_holds(memory))
                return realloc(memory, size);
        /* What was secret stays in the arena, whoever makes it grow. */
        old = class_size[head_of(memory)->class];
        if (size <= old)
                return memory;
        grown = vec_arena_alloc(size);
        if (!grown)
                return NULL;
        memcpy(grown, memory, old);
        vec_arena_free(memory);
        return grown;
}

int vec_arena_prepare(size_t size)
{
        void *memory;
        int r = 0, secret;

        pthread_mutex_lock(&arena.lock);
        if (arena.base)
                goto out;
        r = vec_locked_map(size, &memory, &secret);
        if (r < 0)
                goto out;
        arena.base = memory;
        arena.size = size & ~(size_t)(UNIT - 1);
        arena.secret = secret;
        if (!CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free)) {
                arena.base = NULL;
                vec_locked_unmap(memory, size);
                r = -VEC_EEXISTS;
        }
out:
        pthread_mutex_unlock(&arena.lock);
        return r;
}
