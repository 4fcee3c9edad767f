/*
 * The matrices' memfd: made and sealed by the guard, checked and mapped for reading by everybody else; the cells and
 * the seqlock (shm.h has the layout, docs/shm.md the picture).
 *
 * The order in vec_matrices_create is the point of it. The writable mapping comes first, then F_SEAL_FUTURE_WRITE:
 * from then on the kernel refuses every further writable mapping and every write(2), to the guard as well, and
 * F_SEAL_SEAL keeps it so. The file's mode goes to 0400, so that no other user can even reopen it for writing, and
 * the descriptor the guard keeps and passes on is one opened for reading only.
 */
#include "vec/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memfd.h"
#include "vec/status.h"

enum { SEALS = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

_Static_assert(sizeof(struct vec_entity) == 40, "docs/shm.md has the layout");
_Static_assert(offsetof(struct vec_matrices, user) == 64, "docs/shm.md has the layout");
_Static_assert(sizeof(struct vec_matrices) % sizeof(uint64_t) == 0, "the snapshot copies by words");

int vec_matrices_create(uint64_t generation, uint32_t levels, int *ret_fd, struct vec_matrices **ret_map)
{
        struct vec_matrices *map;
        int fd, reading;

        if (levels < 4 || levels > VEC_LEVELS_MAX) {
                errno = EINVAL;
                return -VEC_EMALFORMED;
        }
        fd = vec_memfd_new("vecd-matrices", sizeof *map);
        if (fd < 0)
                return -VEC_EFAILED;
        map = vec_memfd_map(fd, sizeof *map, PROT_READ | PROT_WRITE);
        if (!map)
                goto fail;
        reading = fcntl(fd, F_ADD_SEALS, SEALS) < 0 || fchmod(fd, 0400) < 0 ? -1 : vec_memfd_reopen(fd, O_RDONLY);
        if (reading < 0)
                goto fail_map;
        /* Nobody else has the descriptor yet: these are plain stores. Indices that nobody owns are VEC_NONE. */
        map->magic = VEC_SHM_MAGIC;
        map->version = VEC_SHM_VERSION;
        map->size = sizeof *map;
        map->generation = generation;
        map->levels = levels;
        for (size_t at = 0; at < VEC_USERS_MAX; at++)
                map->user[at].owner = VEC_NONE;
        for (size_t at = 0; at <= VEC_INSTANCES_MAX; at++)
                map->instance[at].owner = VEC_NONE;
        for (size_t at = 0; at < VEC_CARDS_MAX; at++)
                map->card[at].owner = VEC_NONE;
        close(fd);
        *ret_fd = reading;
        *ret_map = map;
        return 0;

fail_map:
        vec_memfd_unmap(map, sizeof *map);
fail:
        vec_memfd_close(fd);
        return -VEC_EFAILED;
}

int vec_matrices_open(int fd, const struct vec_matrices **ret_map)
{
        const struct vec_matrices *map;
        int r = vec_memfd_check(fd, sizeof *map, SEALS, 0);

        if (r < 0)
                return r;
        map = vec_memfd_map(fd, sizeof *map, PROT_READ);
        if (!map)
                return -VEC_EFAILED;
        if (map->magic != VEC_SHM_MAGIC || map->size != sizeof *map || map->levels < 4 ||
            map->levels > VEC_LEVELS_MAX)
                r = -VEC_EINTEGRITY;
        else if (map->version != VEC_SHM_VERSION)
                r = -VEC_EVERSION;
        if (r < 0) {
                vec_matrices_unmap(map);
                errno = EINVAL;
                return r;
        }
        *ret_map = map;
        return 0;
}

void vec_matrices_unmap(const struct vec_matrices *map)
{
        vec_memfd_unmap((void *)map, sizeof *map);
}

void vec_cell_store(uint8_t *cell, uint8_t value)
{
        __atomic_store_n(cell, value, __ATOMIC_RELEASE);
}

uint8_t vec_cell_load(const uint8_t *cell)
{
        return __atomic_load_n(cell, __ATOMIC_ACQUIRE);
}

void vec_entity_store(struct vec_entity *entity, const struct vec_entity *value)
{
        uint32_t *to = (uint32_t *)(void *)entity;
        const uint32_t *from = (const uint32_t *)(const void *)value;

        for (size_t at = 0; at < sizeof *entity / sizeof *to; at++)
                __atomic_store_n(&to[at], from[at], __ATOMIC_RELEASE);
}

void vec_matrices_begin(struct vec_matrices *map)
{
        /* One writer: no read-modify-write needed. The fence keeps the changes after the odd number. */
        __atomic_store_n(&map->seq, map->seq + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
}

void vec_matrices_end(struct vec_matrices *map)
{
        __atomic_store_n(&map->seq, map->seq + 1, __ATOMIC_RELEASE);
}

int vec_matrices_snapshot(const struct vec_matrices *map, struct vec_matrices *ret_copy, unsigned tries)
{
        const uint64_t *from = (const uint64_t *)(const void *)map;
        uint64_t *to = (uint64_t *)(void *)ret_copy;

        while (tries--) {
                uint64_t seq = __atomic_load_n(&map->seq, __ATOMIC_ACQUIRE);

                if (seq & 1)
                        continue;
                for (size_t at = 0; at < sizeof *map / sizeof *from; at++)
                        to[at] = __atomic_load_n(&from[at], __ATOMIC_RELAXED);
                __atomic_thread_fence(__ATOMIC_ACQUIRE);
                if (__atomic_load_n(&map->seq, __ATOMIC_RELAXED) == seq)
                        return 0;
        }
        return -VEC_EBUSY;
}
