/*
 * The key arena: the only memory of a card process in which a key may stand.
 *
 * One mapping per process, taken from memfd_secret where the kernel has it (nobody can read such
 * pages, the kernel's own direct map and /proc/PID/mem included), otherwise anonymous; locked, never dumped,
 * not inherited by a child, with an inaccessible page before and behind. What is freed is overwritten and read back.
 *
 * libcrypto keeps key schedules in contexts that it allocates itself. So its allocator is replaced
 * before its first allocation: between vec_secret_on and vec_secret_off a thread's allocations come from the
 * arena; free and realloc decide by address. docs/cards.md, "Where a key is".
 */
#ifndef VEC_ARENA_H
#define VEC_ARENA_H

#include <stddef.h>
#include <stdint.h>

enum {
        VEC_ARENA_SIZE = 2097152,      /* default: with the engine's buffer below RLIMIT_MEMLOCK's 8 MiB */
        VEC_BLOB_MAX = 16384,          /* the largest secret one handle stands for */
        VEC_BLOBS_MAX = 1024,
};

struct vec_arena_report {
        uint64_t base;                 /* address and size of the mapping without its guard pages */
        uint64_t size;
        uint64_t used;                 /* bytes handed out now, headers included */
        uint64_t frontier;             /* bytes ever handed out: behind it nothing was written */
        uint8_t secret;                /* memfd_secret backs it */
        uint8_t broken;                /* a wipe was read back and was not zero */
};

/*
 * The arena of this process and libcrypto's allocator. Must come before anything in the process used libcrypto
 * (Python's hashlib does). 0, also when it was done before; -VEC_EEXHAUSTED with errno when memory cannot be locked;
 * -VEC_EEXISTS when libcrypto has allocated already.
 */
int vec_arena_prepare(size_t size);
void vec_arena_report(struct vec_arena_report *ret);

/* Zeroed memory of the arena, 16-byte aligned; NULL when it is full. */
void *vec_arena_alloc(size_t size);
/* Overwritten, read back, free again. NULL is allowed. */
void vec_arena_free(void *memory);
int vec_arena_holds(const void *memory);
/* 0, or -VEC_EINTEGRITY once any wipe of the arena could not be read back as zero. */
int vec_arena_check(void);

/* From here on libcrypto's allocations of this thread are the arena's. Nests. */
void vec_secret_on(void);
void vec_secret_off(void);

/* Overwrite; and is it all zero? Neither is ever optimised away. */
void vec_wipe(void *memory, size_t size);
int vec_is_zero(const void *memory, size_t size);
/* Overwrite what ended calls left on this thread's stack, 64 KiB deep, and in its vector registers. */
void vec_stack_wipe(void);

/*
 * A mapping of its own with the arena's properties (the engine's buffer). 0, or -VEC_EEXHAUSTED with errno set.
 */
int vec_locked_map(size_t size, void **ret_memory, int *ret_secret);
void vec_locked_unmap(void *memory, size_t size);

/* ---- the vault: secrets under handles ---- */

/* A copy in the arena. readable: vec_vault_peek may show it. -VEC_ETOOLARGE, -VEC_EEXHAUSTED. */
int vec_vault_stage(const void *secret, size_t size, int readable, uint64_t *ret_handle);
/* HMAC-SHA256 keyed by the secret. -VEC_EUNKNOWN without such a handle. */
int vec_vault_kcv(uint64_t handle, const void *data, size_t size, uint8_t ret_kcv[32]);
/* The secret where it stands, valid until drop. -VEC_EDENIED unless readable. */
int vec_vault_peek(uint64_t handle, const uint8_t **ret_secret, size_t *ret_size);
/* -VEC_EBUSY while pinned. */
int vec_vault_drop(uint64_t handle);
/* For the pump: the secret, which nobody can drop until unpin. */
int vec_vault_pin(uint64_t handle, const uint8_t **ret_secret, size_t *ret_size);
void vec_vault_unpin(uint64_t handle);

#endif
