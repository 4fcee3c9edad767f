/*
 * The card word: everything that must change in one atomic step when a card is used or a right is taken away.
 *
 * One 64-bit atomic per card, alone on a page of a memfd of its own that the
 * guard and that one card process write (model.md, section 5):
 *
 *   bits  0-4   b of the slot owner (r 1, w 2, a 4, c 8, e* 16)
 *   bit   5     q: quiesced, nothing may enter
 *   bits  6-7   status: 0 free, 1 control, 2 using
 *   bits  8-17  requests in flight
 *   bits 18-29  slot owner's instance index, 0xFFF for none
 *   bits 30-63  generation: one more at every forced removal, change of owner and abort
 *
 * Steps of the card process, the manager's delegate for its own card: take (R2, R4), up and down (R11), give
 * back (R6), switch (R12), enter and leave. A step loads the word, then reads M, then does its
 * compare-and-swap on that very word. Everything else is the guard's: connect (R1), revoke (R6 c, R10), settle.
 * All return 0 or a negative status and never block; -VEC_EBUSY means: q is set or the word
 * moved, look again. `why` outputs are a row of VEC_REASONS (wire.h).
 */
#ifndef VEC_CARD_H
#define VEC_CARD_H

#include <stdatomic.h>
#include <stdint.h>

#include "vec/shm.h"

enum {
        VEC_WORD_Q = 1 << 5,
        VEC_WORD_STATUS_SHIFT = 6,
        VEC_WORD_INFLIGHT_SHIFT = 8,
        VEC_WORD_OWNER_SHIFT = 18,
        VEC_WORD_GENERATION_SHIFT = 30,
        VEC_INFLIGHT_MAX = 1023,
        VEC_WORD_PAGE = 4096,          /* size of the memfd */
};

enum vec_card_status {
        VEC_FREE = 0,
        VEC_CONTROL = 1,
        VEC_USING = 2,
};

/* The word, decoded. */
struct vec_word {
        uint8_t held;                  /* bits 0-4 */
        uint8_t quiesced;
        uint8_t status;
        uint16_t inflight;
        uint16_t owner;                /* VEC_NONE for none */
        uint64_t generation;
};

typedef struct vec_card_word vec_card_word;    /* opaque to Python; the atomic itself */

struct vec_word vec_word_decode(uint64_t word);
uint64_t vec_word_encode(const struct vec_word *word);

/* Is this a word some rule allows? 0, or -VEC_EINTEGRITY with a sentence that says what is wrong. */
int vec_word_check(uint64_t word, const char **ret_why);

/* A new word (free, no owner) in a sealed (SHRINK|GROW|SEAL) memfd; and a mapping of one that was passed. */
int vec_word_create(uint64_t generation, int *ret_fd, vec_card_word **ret_map);
int vec_word_open(int fd, vec_card_word **ret_map);
void vec_word_unmap(vec_card_word *map);
uint64_t vec_word_load(const vec_card_word *word);

/* ---- the card process ---- */

/* R2 (VEC_A) or R4 (VEC_R) for the slot owner i: needs the attribute in MK[card][i], c held, and R4 status control. */
int vec_card_take(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t i, uint8_t attribute,
                  uint8_t *ret_why);
/* R6 of r, w or a by its holder. */
int vec_card_give_back(vec_card_word *word, uint32_t i, uint8_t attribute);
/* R11 control -> using: refused while anybody holds r or w, or requests are in flight. */
int vec_card_up(vec_card_word *word, uint32_t i);
/* R11 using -> control, first half: q is set, nothing in flight. The caller wipes the engine, then calls the second. */
int vec_card_down_begin(vec_card_word *word, uint32_t i, uint64_t *ret_seen);
int vec_card_down_end(vec_card_word *word, uint64_t seen);
/*
 * R12, first half: q set, the owner's bits cleared, nothing in flight. The caller wipes everything of the
 * engine and reads it back, then calls the second half, which checks that `next` holds c (else it is none).
 */
int vec_card_switch_begin(vec_card_word *word, uint64_t *ret_seen);
int vec_card_switch_end(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t next,
                        uint64_t seen);
/* A wipe failed: q stays set for good; the guard sees it and takes the card out of service. */
/* The advisory question: may i do `attribute` on this card now? One load. */
int vec_card_allows(uint64_t word, uint32_t i, uint8_t attribute);
/* The authoritative one: check and announce n requests in one step. */
int vec_card_enter(vec_card_word *word, uint32_t i, uint8_t attribute, uint32_t n, uint64_t *ret_generation);
/* 0: the results count. -VEC_EDENIED: the generation moved, discard the results and touch nothing. */
int vec_card_leave(vec_card_word *word, uint32_t n, uint64_t generation);
/* The guard is gone: set q, whatever else stands there. */
void vec_card_quiesce(vec_card_word *word);

/* ---- the guard ---- */

/* R1 i->k after the matrices were changed: free -> control, otherwise unchanged. */
int vec_card_connect(vec_card_word *word);
/*
 * Revocation, after M and b were changed in the matrices. begin: -VEC_EBUSY while the card is in a step of its
 * own (q set by it); then always a locked change: q set, and if i owns the slot the attributes in `lost`
 * cleared (c among them: all of them, and owner none). From here no enter succeeds under the old right.
 */
int vec_card_revoke_begin(vec_card_word *word, uint32_t i, uint8_t lost, uint64_t *ret_seen);
/* 0 when nothing is in flight any more, -VEC_EBUSY before. */
int vec_card_drained(const vec_card_word *word);
/* Nothing in flight by force: generation + 1, in flight 0, q stays set. What runs still is discarded on leave. */
void vec_card_abort(vec_card_word *word);
/* q cleared and generation + 1, in flight must be 0. */
int vec_card_revoke_end(vec_card_word *word);
/* settle: no owner, not quiesced, nothing in flight; the caller knows that map, ctx and out are empty. */
int vec_card_settle(vec_card_word *word);

#endif
