/*
 * The shared matrices: M and b of the model, levels, virtual classifications and ownership.
 *
 * One memfd, written by the guard alone: the guard maps it writable, then seals
 * it F_SEAL_FUTURE_WRITE|SHRINK|GROW|SEAL, so that the kernel refuses any other
 * writable mapping, its own included. Rebuilt at every start of the guard,
 * never found stale. docs/shm.md has the picture.
 *
 * Only two kinds of cells are legal beside the manager's, so only those are stored:
 * user on own instance (MU, bU) and instance on card (MK, bK). One byte a cell:
 * r 1, w 2, a 4, c 8, e* 16. Of a card's cells bK holds c alone: r, w and a of
 * the slot owner live in the card word (card.h).
 *
 * `seq` is a seqlock for display: even when nothing is being changed. It gives a
 * consistent snapshot and authorises nothing; who acts must enter() (card.h).
 */
#ifndef VEC_SHM_H
#define VEC_SHM_H

#include <stdint.h>

#include "vec/attribute.h"

enum {
        VEC_SHM_MAGIC = 0x7645434d,    /* "vECM" */
        VEC_SHM_VERSION = 1,
        VEC_USERS_MAX = 1024,
        VEC_INSTANCES_MAX = 4095,      /* 0xFFF means none in a card word */
        VEC_CARDS_MAX = 64,
        VEC_LEVELS_MAX = 16,
        VEC_NONE = 0xFFF,
};

struct vec_entity {
        uint8_t id[16];
        uint8_t live;
        uint8_t level;                     /* f: 1 is L1, the highest; 0 when not live */
        uint8_t may[VEC_LEVELS_MAX];       /* f_v as a bool array: may[l - 1] is 1 where level l may be taken */
        uint8_t reserved[2];
        uint32_t owner;                    /* of an instance: its user's index; otherwise VEC_NONE */
};

struct vec_matrices {
        uint32_t magic;
        uint32_t version;
        uint64_t size;                     /* sizeof(struct vec_matrices) */
        uint64_t generation;               /* of this guard's start: differs from every earlier one */
        uint64_t seq;                      /* seqlock, see above; accessed atomically */
        uint32_t levels;                   /* p */
        uint32_t reserved;
        uint8_t reserved_line[24];

        struct vec_entity user[VEC_USERS_MAX];
        struct vec_entity instance[VEC_INSTANCES_MAX + 1];
        struct vec_entity card[VEC_CARDS_MAX];

        uint8_t user_m[VEC_INSTANCES_MAX + 1];                     /* MU[i]: own(i) on i */
        uint8_t user_b[VEC_INSTANCES_MAX + 1];                     /* bU[i] */
        uint8_t card_m[VEC_CARDS_MAX][VEC_INSTANCES_MAX + 1];      /* MK[k][i]: i on k */
        uint8_t card_b[VEC_CARDS_MAX][VEC_INSTANCES_MAX + 1];      /* bK[k][i]: c alone */

        /* e* of the manager, one byte 0 or 16 an entity: M and b. */
        uint8_t manager_user_m[VEC_USERS_MAX], manager_user_b[VEC_USERS_MAX];
        uint8_t manager_instance_m[VEC_INSTANCES_MAX + 1], manager_instance_b[VEC_INSTANCES_MAX + 1];
        uint8_t manager_card_m[VEC_CARDS_MAX], manager_card_b[VEC_CARDS_MAX];
};

/*
 * Make the matrices: a memfd of the right size, mapped writable here and then sealed for everybody else,
 * MADV_DONTFORK and MADV_DONTDUMP. Returns 0, the mapping, and a descriptor opened for reading only that may be
 * passed on as it is; the caller owns both (vec_matrices_unmap, close). Or a negative status with errno set.
 * levels: 4 to VEC_LEVELS_MAX.
 */
int vec_matrices_create(uint64_t generation, uint32_t levels, int *ret_fd, struct vec_matrices **ret_map);

/*
 * Map somebody's matrices for reading only, after checking seals, size, magic and version. -VEC_EINTEGRITY where
 * they are not matrices, -VEC_EVERSION where they are of another version; the descriptor stays the caller's.
 */
int vec_matrices_open(int fd, const struct vec_matrices **ret_map);
void vec_matrices_unmap(const struct vec_matrices *map);

/* One byte cell, stored with release; the guard's only way to change a cell. */
void vec_cell_store(uint8_t *cell, uint8_t value);
uint8_t vec_cell_load(const uint8_t *cell);

/* One entity, stored by words; inside the bracket. */
void vec_entity_store(struct vec_entity *entity, const struct vec_entity *value);

/* Writer's seqlock bracket, and a reader's consistent copy (0, or -VEC_EBUSY after `tries`). */
void vec_matrices_begin(struct vec_matrices *map);
void vec_matrices_end(struct vec_matrices *map);
int vec_matrices_snapshot(const struct vec_matrices *map, struct vec_matrices *ret_copy, unsigned tries);

#endif
