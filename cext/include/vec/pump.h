/*
 * The pump: the data path of one card in one thread, from a guest's bytes to the card and back.
 *
 * vec_pump_run is that thread. It waits with epoll on every data connection and on a mailbox; between two
 * turns it does what the mailbox asks. A turn is the life cycle of docs/model.md for the instance whose turn
 * it is: switch if it does not own the slot, take a, up, enter, run the batch, leave, down, take r, enter, write the
 * replies, leave, give r back.
 * Whose turn it is: `fair` is deficit round robin on the time the card was an instance's (share.c), `strict` a
 * table of slots on a grid of time, idle ones too (grid.c). Connections of an instance take turns in a ring. Nothing on
 * the way of a request takes a lock or waits for another process; a step that finds q set (the guard is revoking)
 * is asked again for busy_ms, while the commands that the guard may be waiting for are served.
 *
 * Where data stand: a request in the buffer of its connection, which it never leaves (the engine reads it
 * there, and R11 down overwrites what it read), a result in the engine's buffer, what the guest did not take at
 * once in a buffer of its connection. docs/cards.md has the whole text.
 *
 * Every other function may be called from any thread and waits until the pump has done it, timeout_ms at most. They
 * return 0 or a negative status; *ret_reason is a row of VEC_REASONS, written always.
 */
#ifndef VEC_PUMP_H
#define VEC_PUMP_H

#include <stdint.h>

#include "vec/audit.h"
#include "vec/driver.h"

struct vec_pump_options {
        uint64_t credit;               /* bytes of buffers for large frames and replies, all connections together */
        uint32_t connections;          /* open at a time */
        uint32_t keys;                 /* key slots: keys loaded at a time, of all instances together */
        uint32_t stall_ms;             /* a frame, or an answer, that does not move for so long ends its connection */
        uint32_t busy_ms;              /* how long a step that finds the card quiesced is asked again */
        uint32_t idle_ms;              /* VEC_EVENT_IDLE after so long without a request */
        uint64_t iv_max;               /* IVs drawn per key */
        uint64_t stream_max;           /* bytes of a stream under one IV; the algorithm's own limit where it is less */
        uint32_t strict;               /* 1: nobody is served before vec_pump_schedule says in which slots */
};

/* What vec_pump_schedule takes. */
enum {
        VEC_WEIGHT_MAX = 100,
        VEC_SLOT_US_MIN = 2000,
        VEC_SLOT_US_MAX = 200000,
        VEC_ROUND_US_MAX = 2000000,    /* all slots of a round together: nobody waits longer for the next one */
};

struct vec_share {
        uint32_t instance;
        uint32_t weight;               /* 1 to VEC_WEIGHT_MAX: its part of the time, or its slots in a round */
};

/* How the card is shared, and what came of it. */
struct vec_share_report {
        uint32_t instance, weight;
        uint64_t slots;                /* strict: slots it has had, also those in which it asked for nothing */
        uint64_t turns;
        uint64_t engine_ns;            /* the card was its, from the start of a turn to the end of it */
};

struct vec_grid_report {
        uint32_t strict, slot_us;
        uint32_t round;                /* slots of a round; 0 without a schedule */
        uint32_t realtime;             /* strict: other programs of the machine do not take its slots */
        uint32_t most;                 /* bytes of the largest request that every operation can serve in one slot */
        uint64_t slots, overruns, missed;
};

/* The values docs/cards.md promises. */
void vec_pump_defaults(struct vec_pump_options *ret);

enum vec_event_kind {
        VEC_EVENT_CLOSED = 1,          /* value: connections of the instance left; reason: why */
        VEC_EVENT_ATTACHED = 2,        /* value: connections of the instance that proved their tag */
        VEC_EVENT_IDLE = 3,
        VEC_EVENT_OUT_OF_SERVICE = 4,
        VEC_EVENT_OVERRUN = 5,         /* strict: the slot of the instance ended `value` ns late */
};

struct vec_event {
        uint8_t kind;
        uint8_t reason;
        uint32_t instance;             /* or VEC_NONE */
        uint64_t value;
};

struct vec_residue {
        uint32_t context, output;      /* instance, or VEC_NONE */
};

struct vec_key_slot {
        uint32_t instance;
        uint64_t number;
        uint8_t alg, usage;
        uint32_t streams;
        uint64_t drawn;
};

struct vec_counters {
        uint64_t requests, refused, bytes_in, bytes_out, turns, switches, wipes, discarded, connections, keys;
        uint64_t slots, overruns, missed;      /* strict: begun; ended late; not begun at all, since the one before was so late */
};

typedef struct vec_pump vec_pump;

/* The driver's engine and the engine's buffer are made here; vec_arena_prepare came before. */
int vec_pump_new(const struct vec_driver *driver, const struct vec_pump_options *options, vec_pump **ret_pump);
/* Returns after vec_pump_stop. Everything of every instance is destroyed then. */
int vec_pump_run(vec_pump *pump);
/* Only when nobody runs it (any more). */
void vec_pump_free(vec_pump *pump);

/* Ask it to end, without waiting: whoever joins the thread waits. */
void vec_pump_stop(vec_pump *pump);

/* The guard's memory: maps both, forgets the former two, wipes the engine. The descriptors stay the caller's. */
int vec_pump_bind(vec_pump *pump, int matrices_fd, int word_fd, uint32_t card, uint32_t timeout_ms,
                  uint8_t *ret_reason);
/* The guard is gone: q, and EBUSY for everyone until the next bind. */
int vec_pump_quiesce(vec_pump *pump, uint32_t timeout_ms, uint8_t *ret_reason);

/*
 * Who shares the card, and how: fair with these weights (whoever is not named has 1), or strict, where exactly those
 * named have slots of slot_us, in this order, weight slots in a round, spread evenly. Slot n is the time from n to n + 1
 * times slot_us on CLOCK_MONOTONIC, and of row n % round of the table. -VEC_EMALFORMED for a weight, an instance or a
 * length out of range or named twice, -VEC_EEXHAUSTED for a round of more than VEC_ROUND_US_MAX, -VEC_ETOOLARGE
 * where not even a small frame fits into such a slot on this machine; what was scheduled before stays then.
 */
int vec_pump_schedule(vec_pump *pump, uint32_t strict, uint32_t slot_us, const struct vec_share *shares,
                      uint32_t count, uint32_t timeout_ms, uint8_t *ret_reason);
/* The round of such a schedule, slot by slot: at ret, as many instances as their weights together make slots. */
void vec_round_build(const struct vec_share *shares, uint32_t count, uint16_t *ret, uint32_t slots);
/* Up to `most` instances that are named in the schedule or had a turn; *ret_count is how many there are. */
int vec_pump_shares(vec_pump *pump, struct vec_grid_report *ret_grid, struct vec_share_report *ret, uint32_t most,
                    uint32_t *ret_count, uint32_t timeout_ms, uint8_t *ret_reason);

/*
 * Serve a connected stream socket for the instance once it sent `tag`. Owns fd after 0. -VEC_EMALFORMED for a
 * descriptor that is not a stream socket of AF_UNIX or AF_VSOCK, -VEC_EEXHAUSTED beyond options.connections (strict:
 * beyond the instance's part of them), -VEC_EDENIED for an instance without a slot.
 */
int vec_pump_attach(vec_pump *pump, int fd, uint32_t instance, const uint8_t tag[32], uint32_t deadline_ms,
                    uint32_t timeout_ms, uint8_t *ret_reason);
/* loadkey in a turn of its own; uses up the handle after 0. -VEC_EEXISTS where the instance has that number. */
int vec_pump_load_key(vec_pump *pump, uint32_t instance, uint64_t number, uint8_t alg, uint8_t usage,
                      uint64_t handle, uint32_t timeout_ms, uint8_t *ret_reason);
int vec_pump_drop_key(vec_pump *pump, uint32_t instance, uint64_t number, uint32_t timeout_ms, uint8_t *ret_reason);
int vec_pump_drop_instance(vec_pump *pump, uint32_t instance, uint32_t timeout_ms, uint8_t *ret_reason);
int vec_pump_rescind(vec_pump *pump, uint32_t instance, uint8_t attributes, uint32_t timeout_ms,
                     uint8_t *ret_reason);
/* R12(none). -VEC_EHARDWARE: the wipe could not be checked, the card is out of service. */
int vec_pump_clean(vec_pump *pump, uint32_t timeout_ms, uint8_t *ret_reason);
int vec_pump_residue(vec_pump *pump, struct vec_residue *ret, uint32_t timeout_ms, uint8_t *ret_reason);
/* Up to `most` key slots; *ret_count is how many there are. */
int vec_pump_keys(vec_pump *pump, struct vec_key_slot *ret, uint32_t most, uint32_t *ret_count,
                  uint32_t timeout_ms, uint8_t *ret_reason);
int vec_pump_counters(vec_pump *pump, struct vec_counters *ret, uint32_t timeout_ms, uint8_t *ret_reason);

/* Where its turns are recorded; it lives as long as the pump. */
vec_audit *vec_pump_audit(const vec_pump *pump);

/* Readable while there are events. */
int vec_pump_event_fd(const vec_pump *pump);
/* The next event, or -VEC_EUNKNOWN when there is none. Never waits. */
int vec_pump_event(vec_pump *pump, struct vec_event *ret);

#endif
