/*
 * The card word: everything that must change in one atomic step when a card is used or a right is taken away.
 *
 * One 64-bit atomic per card, alone on a page of a memfd of its own that the
 * guard and that one card process write (docs/shm.md, "Card word"):
 *
 *   bits  0-4   b of the slot owner (r 1, w 2, a 4, c 8, e* 16)
 *   bit   5     q: quiesced, nothing may enter
 *   bits  6-7   status: 0 free, 1 control, 2 using
 *   bits  8-17  requests in flight
 *   bits 18-29  slot owner's instance index, 0xFFF for none
 *   bits 30-63  generation: one more at every revocation, change of owner, abort and settle
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

/*
 * R2 (VEC_A) or R4 (VEC_R) for the slot owner i: needs the attribute in MK[card][i], c held, and R4 status control.
 * Held already: 0. *ret_why is written on refusal alone; VEC_REASON_NONE is r outside control, a mistake of the caller.
 */
int vec_card_take(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t i, uint8_t attribute,
                  uint8_t *ret_why);
/* R6 of r, w or a by its holder. -VEC_EBUSY while requests are in flight: nothing runs under a right given back. */
int vec_card_give_back(vec_card_word *word, uint32_t i, uint8_t attribute);
/* R11 control -> using: refused while anybody holds r or w, or requests are in flight. */
int vec_card_up(vec_card_word *word, uint32_t i);
/*
 * R11 using -> control, first half: q is set; -VEC_EBUSY and nothing changed while requests are in flight. The
 * caller wipes the engine, then calls the second with *ret_seen. -VEC_EDENIED from the second: the guard cut the step
 * short, nothing was changed, start over.
 */
int vec_card_down_begin(vec_card_word *word, uint32_t i, uint64_t *ret_seen);
int vec_card_down_end(vec_card_word *word, uint64_t seen);
/*
 * R12, first half: q set, no owner and no bits from here; -VEC_EBUSY and nothing changed while requests are in
 * flight, -VEC_EDENIED on a free card. The caller wipes everything of the engine and reads it back, then calls
 * the second half, which checks that `next` holds c in bK (else it is none): the owner of the word says who got the
 * slot. -VEC_EDENIED from the second as above. A wipe failed: leave it out. q stays set for good; the guard
 * sees it and takes the card out of service.
 */
int vec_card_switch_begin(vec_card_word *word, uint64_t *ret_seen);
int vec_card_switch_end(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t next,
                        uint64_t seen);
/* The advisory question: may i do `attribute` on this card now? One load. */
int vec_card_allows(uint64_t word, uint32_t i, uint8_t attribute);
/*
 * The authoritative one: check and announce n requests (1 to VEC_INFLIGHT_MAX) in one step. a in using, r and w in
 * control. -VEC_EDENIED where i may not, -VEC_EBUSY where q is set or too many are in flight.
 */
int vec_card_enter(vec_card_word *word, uint32_t i, uint8_t attribute, uint32_t n, uint64_t *ret_generation);
/*
 * 0: the results count. -VEC_EDENIED: the generation moved, discard the results; nothing was touched.
 * -VEC_EINTEGRITY: more leave than have entered.
 */
int vec_card_leave(vec_card_word *word, uint32_t n, uint64_t generation);
/*
 * Steps that follow each other in a turn, in one change: what they do one after the other when nobody comes between them.
 * Each tries once. 0: done. 1: not now, nothing was changed; whoever goes step by step then learns why.
 *
 *   begin_work   take a, up, enter a; only if M has all of `needs`, which a turn asks before it begins
 *   end_work     leave, the first half of down; nothing else may be in flight
 *   begin_reply  the second half of down (`seen`), take r, enter r
 *   end_reply    leave, give back r; nothing else may be in flight
 */
int vec_card_begin_work(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t i, uint8_t needs,
                        uint32_t n, uint64_t *ret_generation);
int vec_card_end_work(vec_card_word *word, uint32_t i, uint32_t n, uint64_t generation, uint64_t *ret_seen);
int vec_card_begin_reply(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t n, uint64_t seen,
                         uint64_t *ret_generation);
int vec_card_end_reply(vec_card_word *word, uint32_t i, uint32_t n, uint64_t generation);
/*
 * The guard is gone: whatever stands there, q is set and the generation moves, so that no leave of a request still
 * running counts any more. For good: the next guard brings a new word.
 */
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
/*
 * The same by force, when the card does not finish its own step (hung, or its process has ended): begin and abort
 * in one change. The card's second half will fail, q is the guard's. *ret_seen of both is the word as it stood
 * before.
 */
int vec_card_revoke_force(vec_card_word *word, uint32_t i, uint8_t lost, uint64_t *ret_seen);
/* 0 when nothing is in flight any more, -VEC_EBUSY before. */
int vec_card_drained(const vec_card_word *word);
/*
 * Nothing in flight by force: generation + 1, in flight 0, q set. What runs still is discarded on leave; a thread
 * that is writing a reply is not stopped by it, so the process is ended first (card.c, Abort).
 */
void vec_card_abort(vec_card_word *word);
/* q cleared and generation + 1; -VEC_EBUSY while requests are in flight. Only for the q of begin, force and abort. */
int vec_card_revoke_end(vec_card_word *word);
/*
 * settle: free, generation + 1. -VEC_EDENIED while the slot has an owner, -VEC_EBUSY while q is set or requests are
 * in flight; the caller knows that map, ctx and out are empty.
 */
int vec_card_settle(vec_card_word *word);

#endif
