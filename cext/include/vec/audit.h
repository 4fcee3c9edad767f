/*
 * The card's audit chain: one record of 64 bytes for each turn, each hashed into the next (docs/audit.md).
 *
 *   chain value n = SHA-256(chain value n - 1 || the 32 bytes of facts n), before the first: 32 bytes of zero
 *
 * The pump hands the facts over at the end of a turn: one store into a ring, no lock, no hash, no system call. Whoever
 * takes records (another thread, some times a second) hashes them. A ring that is full the pump hashes itself, so
 * that no turn is without its record. A record is little endian, as both our machines are.
 *
 * Until vec_audit_open nothing is recorded.
 */
#ifndef VEC_AUDIT_H
#define VEC_AUDIT_H

#include <stdint.h>

enum {
        VEC_AUDIT_FACTS = 32,
        VEC_AUDIT_VALUE = 32,
        VEC_AUDIT_RECORD = 64,
        VEC_AUDIT_RING = 32768,        /* facts that may wait for their hash; a power of two */
};

/* What a record is about. */
enum vec_audit_kind {
        VEC_AUDIT_TURN = 1,            /* a batch of requests of one instance */
        VEC_AUDIT_KEY = 2,             /* loadkey, in a turn of its own */
        VEC_AUDIT_CLEAN = 3,           /* R12(none): wiped, the slot is nobody's */
        VEC_AUDIT_BIND = 4,            /* the card has the memory of a guard, and was wiped */
        VEC_AUDIT_QUIESCE = 5,         /* the guard is gone */
        VEC_AUDIT_DROP = 6,            /* an instance went: its key slots were destroyed */
        VEC_AUDIT_START = 16,          /* a card process begins; word: its start id */
        VEC_AUDIT_STOP = 17,           /* it ends, by will */
        VEC_AUDIT_REMOVED = 18,        /* old records were removed; word: the first sequence that is left */
        VEC_AUDIT_LOST = 19,           /* turns without a record; word: how many */
};

enum {
        VEC_AUDIT_SWITCHED = 1,        /* R12 came first: engine and buffer were overwritten and read back */
        VEC_AUDIT_WORKED = 2,          /* the engine ran, or took a key in */
        VEC_AUDIT_WIPED = 4,           /* afterwards what was private was overwritten (R11 down; key slots) */
        VEC_AUDIT_READ_BACK = 8,       /* ... and read back as zero */
        VEC_AUDIT_CUT = 16,            /* a step failed: nothing of this turn was delivered as a result */
        VEC_AUDIT_OUT_OF_SERVICE = 32, /* the card serves nobody any more */
        VEC_AUDIT_ANEW = 64,           /* of START: a new chain, nothing before it is continued */
        VEC_AUDIT_UNCLEAN = 128,       /* of START: the process before did not end by will */
};

struct vec_audit_facts {
        uint64_t sequence;             /* one more than the record before */
        uint64_t time;                 /* nanoseconds since 1970, of a clock that ticks every few milliseconds */
        uint64_t word;                 /* the card word after it (docs/shm.md, "Card word") */
        uint16_t instance;             /* whose turn it was: its index, or 0xFFF for nobody's */
        uint8_t kind;
        uint8_t flags;
        uint16_t requests;             /* of the batch, answered or refused */
        uint16_t refused;              /* of these, refused */
};

typedef struct vec_audit vec_audit;

int vec_audit_new(vec_audit **ret_audit);
void vec_audit_free(vec_audit *audit);

/* Everything from here on is recorded, the first one with this sequence and behind this chain value. Once. */
int vec_audit_open(vec_audit *audit, uint64_t sequence, const uint8_t value[VEC_AUDIT_VALUE]);
/*
 * Hashed records, oldest first, up to `most` of them into `to`; how many. They are the caller's from then on: whatever
 * it does not keep is missing.
 */
uint32_t vec_audit_take(vec_audit *audit, uint8_t *to, uint32_t most);
/* A record of another thread than the pump's, behind everything that the pump noted before. */
int vec_audit_add(vec_audit *audit, uint8_t kind, uint8_t flags, uint64_t word);
/*
 * What was taken behind this sequence and chain value could not be kept: the chain goes on from there, and its next
 * record says how many are missing (VEC_AUDIT_LOST). What was not taken yet is hashed anew.
 */
void vec_audit_rewind(vec_audit *audit, uint64_t sequence, const uint8_t value[VEC_AUDIT_VALUE], uint64_t lost);
/*
 * Records cannot be kept for the time being: the pump starts no turn, and answers EBUSY. A turn that was refused for
 * that reason alone leaves no record but its number (VEC_AUDIT_LOST).
 */
void vec_audit_hold(vec_audit *audit, int held);
int vec_audit_held(const vec_audit *audit);

/* The pump: note what happened; sequence and time are filled in here. */
void vec_audit_note(vec_audit *audit, const struct vec_audit_facts *facts);

#endif
