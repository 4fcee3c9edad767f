/* What the files of a turn share: turn.c, step.c, batch.c. */
#ifndef VEC_TURN_PARTS_H
#define VEC_TURN_PARTS_H

#include "pump_parts.h"

struct vec_turn {
        vec_pump *pump;
        struct vec_instance *instance;
        uint32_t i;                    /* its index */
        uint32_t count, works, done;   /* entries: all, to run, gone through */
        uint8_t ran, input_wiped, lowering;
        uint64_t since;                /* when it began */
        uint64_t room, ns;             /* strict: what is left of the slot, what of it the requests may take */
};

/* ---- step.c ---- */

struct vec_patience {
        uint64_t since;
        unsigned tries;
};

/* 1: ask again. 0: it has been too long, or there is nothing to wait for. */
int vec_still_patient(vec_pump *pump, struct vec_patience *patience);

#define PATIENTLY(pump, r, step)                                                                            \
        do {                                                                                                \
                struct vec_patience patience_ = { 0 };                                                          \
                do                                                                                          \
                        (r) = (step);                                                                       \
                while ((r) == -VEC_EBUSY && vec_still_patient((pump), &patience_));                             \
        } while (0)

/* -status, and the reason where it belongs. */
int vec_refused(int status, uint8_t reason, uint8_t *ret_reason);
/* Why a turn that had begun is over: `r` is what its last step said. */
int vec_lost(const vec_pump *pump, uint32_t i, int r, uint8_t *ret_reason);
/* A wipe failed. */
int vec_broken(vec_pump *pump, uint8_t *ret_reason);

/* R12. */
int vec_switch_to(vec_pump *pump, uint32_t next, uint8_t *ret_reason);
/* Raised, and the turn's requests announced: n of them, under a. */
int vec_begin_work(struct vec_turn *turn, uint32_t n, uint8_t needs, uint64_t *ret_generation, uint8_t *ret_reason);
/*
 * They have left, and the first half of R11 down is done: the engine and what it read are overwritten and read back.
 * With turn->lowering the second half is still to do, with *ret_seen, whatever is returned.
 */
int vec_end_work(struct vec_turn *turn, uint32_t n, uint64_t generation, uint64_t *ret_seen, uint8_t *ret_reason);
/* The second half: the card is in control. */
int vec_lower(struct vec_turn *turn, uint64_t seen, uint8_t *ret_reason);
/* The same, and then r is taken, and n requests announced under it. */
int vec_begin_reply(struct vec_turn *turn, uint32_t n, uint64_t seen, uint64_t *ret_generation, uint8_t *ret_reason);
/* They have left, and r is given back. What leave says. */
int vec_end_reply(struct vec_turn *turn, uint32_t n, uint64_t generation);

/* ---- batch.c ---- */

/* Complete frames of the instance's connections, one after the other, as far as VEC_BATCH_* allow. */
void vec_batch_fill(struct vec_turn *turn);
/*
 * The engine reads its input where the connections keep it, so that is what of the engine is private: overwritten,
 * and read back. Once a turn.
 */
int vec_input_wipe(struct vec_turn *turn);
/* Replies and refusals of the entries gone through. */
void vec_batch_deliver(struct vec_turn *turn);
/* Nothing of it may go out: every entry is refused. */
void vec_batch_discard(struct vec_turn *turn, int status, uint8_t reason);
/* Every connection moves on behind what was answered. */
void vec_batch_move_on(struct vec_turn *turn);

#endif
