/*
 * The allocator of the key arena (arena.h): size classes with a free list each, and a frontier behind which nothing
 * is handed out. A card asks for few sizes, again and again, so what is freed waits for the next one of its class;
 * only when nothing else is left are neighbours merged into runs, from which any class is cut.
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

/* Stands before every block and run; one lies behind the other from the base to the frontier. */
struct head {
        uint32_t mark;
        uint16_t class;
        uint16_t live;
        uint64_t size;                 /* of what follows the head */
};
_Static_assert(sizeof(struct head) == HEAD && HEAD % UNIT == 0, "blocks stay aligned");

/* In the memory of a free block or run. */
struct free_block {
        struct free_block *next;
};

static struct {
        pthread_mutex_t lock;
        char *base;
        size_t size, frontier, used;
        struct free_block *free[CLASSES], *runs;
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
        if (head->mark != MARK || !head->live)
                abort();
        return head;
}

static struct head *head_at(size_t offset)
{
        return (struct head *)(arena.base + offset);
}

static struct free_block *block_of(struct head *head)
{
        return (struct free_block *)((char *)head + HEAD);
}

static void push(struct free_block **list, struct head *head)
{
        struct free_block *block = block_of(head);

        block->next = *list;
        *list = block;
}

static struct head *pop(struct free_block **list)
{
        struct free_block *block = *list;

        *list = block->next;
        block->next = NULL;
        return (struct head *)((char *)block - HEAD);
}

static struct head *from_frontier(uint32_t class)
{
        struct head *head = head_at(arena.frontier);

        if (arena.size - arena.frontier < HEAD + class_size[class])
                return NULL;
        head->size = class_size[class];
        arena.frontier += HEAD + class_size[class];
        return head;
}

/* The start of the first run that is long enough; its rest is a run again, unless it is too short to be of use. */
static struct head *from_runs(uint32_t class)
{
        size_t need = class_size[class];
        struct free_block **link;

        for (link = &arena.runs; *link; link = &(*link)->next) {
                struct head *head = (struct head *)((char *)*link - HEAD), *rest;

                if (head->size < need)
                        continue;
                pop(link);
                if (head->size - need >= HEAD + class_size[0]) {
                        rest = (struct head *)((char *)head + HEAD + need);
                        *rest = (struct head){ .mark = MARK, .size = head->size - need - HEAD };
                        head->size = need;
                        push(&arena.runs, rest);
                }
                return head;
        }
        return NULL;
}

/* Neighbours that are free become one run; the last one goes back behind the frontier. */
static void merge(void)
{
        size_t at = 0, start, end;

        memset(arena.free, 0, sizeof(arena.free));
        arena.runs = NULL;
        while (at < arena.frontier) {
                start = at;
                while (at < arena.frontier && !head_at(at)->live)
                        at += HEAD + head_at(at)->size;
                end = at;
                if (end > start)
                        vec_wipe(head_at(start), end - start);
                if (end > start && end == arena.frontier) {
                        arena.frontier = start;
                } else if (end > start) {
                        *head_at(start) = (struct head){ .mark = MARK, .size = end - start - HEAD };
                        push(&arena.runs, head_at(start));
                }
                if (at < arena.frontier)
                        at += HEAD + head_at(at)->size;
        }
}

static struct head *find(uint32_t class)
{
        struct head *head;

        if (arena.free[class])
                return pop(&arena.free[class]);
        head = from_runs(class);
        return head ? head : from_frontier(class);
}

void *vec_arena_alloc(size_t size)
{
        uint32_t class = 0;
        struct head *head;

        while (class < CLASSES && class_size[class] < size)
                class++;
        if (class == CLASSES || !arena.base)
                return NULL;
        pthread_mutex_lock(&arena.lock);
        head = find(class);
        if (!head) {
                merge();
                head = find(class);
        }
        if (head) {
                head->mark = MARK;
                head->class = (uint16_t)class;
                head->live = 1;
                arena.used += HEAD + head->size;
        }
        pthread_mutex_unlock(&arena.lock);
        return head ? block_of(head) : NULL;
}

void vec_arena_free(void *memory)
{
        struct head *head;

        if (!memory)
                return;
        head = head_of(memory);
        vec_wipe(memory, head->size);
        pthread_mutex_lock(&arena.lock);
        if (!vec_is_zero(memory, head->size))
                __atomic_store_n(&arena.broken, 1, __ATOMIC_RELAXED);
        head->live = 0;
        arena.used -= HEAD + head->size;
        push(&arena.free[head->class], head);
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
        old = head_of(memory)->size;
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
