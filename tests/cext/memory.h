/*
 * Memory as the explorer has it: which value a load may see, and when a store is seen by others.
 *
 *   SC    one memory; every access at once
 *   TSO   x86-TSO: each thread has a FIFO store buffer. A store goes into it (a seq_cst one drains it as well), a load
 *         sees its own buffer first, a locked instruction and a seq_cst fence drain it, and it drains at any other time
 *   RA    the operational form of C11 without consume and without loads that see the future (RC11 but for the order of
 *         seq_cst accesses, which are taken as acquire and release; seq_cst fences are there). Each location is a
 *         list of messages in modification order, each with the view of who wrote it; each thread has a view: per
 *         location the oldest message that it may still see. A load picks any message from there on; acquire joins
 *         the message's view; release puts one into the message; a read-modify-write reads a message, stands right
 *         behind it for ever, and carries its view on (release sequences)
 *
 * A plain location is for data that are no atomics: who writes it must have seen whoever wrote it before, otherwise it
 * is a race. Only RA sees that; the other two have no happens-before to look at.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdint.h>

enum memory_model { SC, TSO, RA };

enum { MEMORY_THREADS = 5, LOCATIONS_MAX = 14, MESSAGES_MAX = 64, BUFFER_MAX = 8 };

enum access_kind { NOTHING, LOAD, STORE, SWAP, FENCE };

/* What a thread is about to do. order of a swap is that of success, otherwise `failure`. */
struct access {
        enum access_kind kind;
        int location, order, failure;
        uint64_t value, expected;
};

struct view {
        uint8_t at[LOCATIONS_MAX];
};

struct message {
        uint64_t value;
        struct view view;
        uint8_t attached;              /* a read-modify-write of the one before it */
};

struct memory {
        int threads, locations;
        uint8_t count[LOCATIONS_MAX], plain[LOCATIONS_MAX], gone[MEMORY_THREADS];
        /* now: what it must respect. seen: what an acquire fence would add. given: what a release fence has fixed. */
        struct view now[MEMORY_THREADS], seen[MEMORY_THREADS], given[MEMORY_THREADS], fenced;
        struct {
                uint8_t count, location[BUFFER_MAX];
                uint64_t value[BUFFER_MAX];
        } buffer[MEMORY_THREADS];
        struct message message[LOCATIONS_MAX][MESSAGES_MAX];
};

/* "SC", "TSO", "RA": 1 and the model, or 0. */
int memory_named(const char *name, enum memory_model *ret_model);
/* Every location holds 0. fences: somebody uses fences, so what they would publish is part of the state. */
void memory_reset(enum memory_model model, int threads, int locations, int fences);
void memory_set(int location, uint64_t value);
void memory_set_plain(int location);
/* The last value in modification order, seen by everybody or not. */
uint64_t memory_latest(int location);

/* In how many ways the access can turn out now; and the one with this number, from 0. The value a load or swap saw. */
int memory_choices(int thread, const struct access *access);
uint64_t memory_perform(int thread, const struct access *access, int choice, int *ret_swapped);
/* A plain write: 0, or 1 for a race. */
int memory_touch(int thread, int location);

int memory_buffered(int thread);
void memory_flush(int thread);
/* Is there something newer than what this thread has seen? */
int memory_behind(int thread, int location);
/* It sees nothing any more: what only it could still see is forgotten. */
void memory_gone(int thread);

uint64_t memory_hash(uint64_t hash);
void memory_keep(struct memory *ret_copy);
void memory_put_back(const struct memory *copy);

#endif
