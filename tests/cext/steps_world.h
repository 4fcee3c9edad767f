/*
 * A small world of the rules in real memory: the table of steps_table.py, and what a card process and its guard do
 * around the steps of card.c (wipe, drop a key slot, store a cell, settle) as docs/shm.md says.
 */
#ifndef STEPS_WORLD_H
#define STEPS_WORLD_H

#include <stdint.h>

#include "vec/card.h"

/* The order is that of KINDS in steps_table.py. */
enum kind {
        TAKE, WRITE, GIVE_BACK, UP, DOWN, SWITCH, LOADKEY, SUBMIT, FETCH, CONFIG, PROCESS,
        CONNECT, RELEASE, RESCIND, GIVE, USER_CONNECT, USER_RELEASE, USER_RESCIND, USER_GIVE,
        KIND_COUNT,
};

enum { NOBODY = 0xFF, MOST = 3, PENDING = 2 };

struct operation {
        uint8_t kind, i, k, attribute, next, reserved[3];
};

/* What the rules say. */
extern struct table {
        uint32_t instances, cards, operations, states, stride;
        const struct operation *operation;
        const uint8_t *state;
        const uint32_t *answer;
} table;

/* Where the small world's instances and cards stand in the big one: the ends of the range are among them. */
extern const uint32_t index_of[MOST], card_of[MOST];

#define GENERATIONS (UINT64_C(1) << 34)
extern struct vec_matrices *matrices;
extern vec_card_word *words[MOST];
/* What the card process knows of itself, the generation that its word has to have, and who is inside. */
extern struct card {
        uint8_t context, output, keys;
        uint64_t generation;
        int inflight;
        struct {
                uint32_t n;
                uint64_t generation;
        } pending[PENDING];
} cards[MOST];

/* What a difference is told with, and what was done. */
extern uint32_t now_state, now_operation;
extern const char *now_what;
extern long checked, forced, written_off, waited;

void __attribute__((noreturn, format(printf, 1, 2))) differs(const char *format, ...);
const char *name_of(enum kind kind);

/* The table is there; -1 where the file is none. */
int open_table(const char *path);
/* State after | answer << 24 | causes << 26. */
uint32_t answer_at(uint32_t state, uint32_t operation);

/* The memory holds this state; another generation in each, across its wrap. */
void put(uint32_t state);
void put_word(uint32_t k, uint64_t value);
uint64_t word_of(uint32_t state, uint32_t k, uint64_t generation);
/* The memory has to hold this state, and the generations of `cards`. quiesced: a bit for each card that has q. */
void compare(uint32_t state, uint32_t quiesced);

int is_card_step(const struct operation *o);
/* The status of card.c; what the card does with its engine is done. *ret_why only where take gives one. */
int card_step(const struct operation *o, uint8_t *ret_why);
/* The reason of a refused take is one of the conditions that fail. */
void check_reason(const struct operation *o, uint8_t why, uint32_t causes);
uint32_t index_or_none(uint8_t i);

enum { BY_BEGIN, BY_FORCE };
/* What the guard does after the rule said yes. */
void guard_step(const struct operation *o, int how);
/* Everybody who is inside comes out; counts: whether the results do. */
void all_leave(uint32_t k, int counts);

#endif
