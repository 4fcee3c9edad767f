/*
 * What the files of the pump share; nobody else includes this. pump.h has the picture.
 *
 *   pump.c     life, the loop, events          mailbox.c  commands from other threads: commands.c
 *   conn.c     one connection: its life        receive.c  its bytes in; send.c: its bytes out
 *   credit.c   buffers for large frames        slot.c     key slots, streams, instances
 *   turn.c     a turn (docs/cards.md)          step.c     its steps on the card word
 *   batch.c    its requests                    request.c  one of them against its rows
 *   record.c   what the audit chain is told of it
 *   share.c    whose turn it is, fair          grid.c     the same, strict; cost.c: what fits into a slot
 */
#ifndef VEC_PUMP_PARTS_H
#define VEC_PUMP_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vec/audit.h"
#include "vec/card.h"
#include "vec/driver.h"
#include "vec/pump.h"
#include "vec/shm.h"
#include "vec/status.h"
#include "vec/wire.h"

enum {
        RX_SIZE = 32768,               /* frames up to this size never need credit */
        TX_SIZE = 49152,               /* answers that a connection may keep without credit */
        REFUSAL_SIZE = 192,            /* header, rule, reason and the longest sentence */
        REPLY_OVERHEAD = VEC_HEADER_SIZE + VEC_IV_MAX + VEC_TAG_MAX,
        /* The engine's buffer: the largest single reply, or a batch of small ones. */
        OUT_SIZE = VEC_DATA_MAX + VEC_BATCH_REQUESTS * REFUSAL_SIZE,
        SLOT_IO = 65536,               /* strict: bytes that one read or write moves */
        BUFFER_SMALL = 131072,
        BUFFER_LARGE = VEC_DATA_MAX + 2 * VEC_AAD_MAX,
};

_Static_assert(TX_SIZE >= RX_SIZE + VEC_BATCH_REQUESTS * REPLY_OVERHEAD, "small frames have small answers");
_Static_assert(TX_SIZE >= VEC_BATCH_REQUESTS * REFUSAL_SIZE, "a turn's refusals fit");
_Static_assert(BUFFER_LARGE >= VEC_DATA_MAX + VEC_AAD_MAX + VEC_IV_MAX + VEC_TAG_MAX, "the largest body fits");

/* ---- slot.c ---- */

struct vec_conn;

/* An unfinished multi-part operation: what the pump knows of it, and the driver's state. */
struct vec_stream {
        uint32_t id;                   /* 0: not open */
        uint32_t sequence;             /* of the next part */
        uint64_t bytes;
        uint8_t op;
        const struct vec_conn *conn;   /* that opened it: it goes with that connection */
        void *state;
};

struct vec_slot {
        struct vec_slot *next;
        uint64_t number;               /* N_K */
        uint64_t drawn;
        const struct vec_alg_row *alg;
        void *key;                     /* the driver's */
        uint8_t usage;
        struct vec_stream stream[VEC_STREAMS_MAX];
};

struct vec_instance {
        uint32_t index;
        uint32_t connections, attached;
        struct vec_slot *slots;
        struct vec_stream digest[VEC_STREAMS_MAX];   /* streams of operations without key */
        struct vec_conn *conns;                      /* all of its own */
        struct vec_conn *ready, *ready_last;         /* connections with a complete frame */
        struct vec_instance *ring_next;
        uint8_t ringed;
        uint64_t credit;
        int epoll;                                   /* strict: its connections, looked at in its slots; or -1 */
        uint32_t weight, round;                      /* its slots in a round: 0 without one */
        int64_t deficit;                             /* fair: ns it may still take before the others; below 0 a debt */
        uint64_t left_at;                            /* fair: when it had nothing to ask for any more */
        uint64_t slots_had, turns, engine_ns;
};

struct vec_instance *vec_instance_get(vec_pump *pump, uint32_t index);
struct vec_slot *vec_slot_find(const struct vec_instance *instance, uint64_t number);
int vec_slot_add(vec_pump *pump, struct vec_instance *instance, uint64_t number, const struct vec_alg_row *alg,
                 uint8_t usage, void *key);
int vec_slot_destroy(vec_pump *pump, struct vec_instance *instance, uint64_t number);
/* Every key slot and stream of the instance. */
void vec_slots_destroy(vec_pump *pump, struct vec_instance *instance);
/* The open streams among which `id` is looked for: the slot's, or without one the instance's. */
struct vec_stream *vec_streams(struct vec_instance *instance, struct vec_slot *slot);
struct vec_stream *vec_stream_find(struct vec_stream *streams, uint32_t id);
void vec_stream_close(vec_pump *pump, struct vec_stream *stream);
/* Those that this connection opened. */
void vec_streams_close_of(vec_pump *pump, struct vec_instance *instance, const struct vec_conn *conn);
uint32_t vec_streams_open(const struct vec_stream *streams);

/* ---- credit.c ---- */

struct vec_buffer {
        uint8_t *data;
        size_t size;
};

/* Bytes that a buffer of at least `need` bytes counts for. */
size_t vec_credit_class(size_t need);
/* Take it from the pool and from the instance's half of it; 0 when there is not enough now. */
int vec_credit_take(vec_pump *pump, struct vec_instance *instance, size_t bytes);
void vec_credit_give(vec_pump *pump, struct vec_instance *instance, size_t bytes);
/* Memory for credit that was taken; NULL when the machine has none. */
struct vec_buffer *vec_buffer_get(vec_pump *pump, size_t need);
/* Overwritten up to `dirty`. NULL is allowed. */
void vec_buffer_put(vec_pump *pump, struct vec_buffer *buffer, size_t dirty);
void vec_buffers_free(vec_pump *pump);

/* ---- conn.c ---- */

enum conn_state {
        CONN_ATTACHING,                /* READY is out, the tag is awaited */
        CONN_OPEN,
        CONN_CLOSING,                  /* takes nothing any more; closed once its answers are out */
        CONN_DEAD,                     /* descriptor closed; freed when the loop comes round */
};

/* What a connection is waiting for; each has a deadline. */
enum conn_wait { WAIT_NOTHING, WAIT_TAG, WAIT_FRAME, WAIT_READER, WAIT_CREDIT };

struct vec_conn {
        struct vec_conn *prev, *next;          /* all connections */
        struct vec_conn *own_prev, *own_next;  /* those of its instance */
        struct vec_conn *ready_next;
        struct vec_conn *starved_next;
        struct vec_instance *instance;
        int fd, epoll;                         /* epoll: the set it is in */
        uint8_t state, wait, queued, starved, proved, eof, why;
        uint32_t interest;                     /* epoll events asked for */
        uint32_t attach_ms;
        uint64_t deadline;
        uint8_t tag[VEC_ATTACH_TAG_SIZE];

        uint8_t *rx;                           /* RX_SIZE */
        uint32_t rx_start, rx_end;
        struct vec_header head;                /* of the large frame */
        struct vec_buffer *large;              /* its body */
        uint32_t large_have, large_need;
        uint64_t skip;                         /* bytes of a refused body still to come */
        size_t charge;                         /* credit this connection holds */

        uint8_t *tx;                           /* answers not taken yet: TX_SIZE, or the memory of tx_large */
        struct vec_buffer *tx_large;
        uint32_t tx_start, tx_end;
        uint32_t tx_frame;                     /* start of the first frame of which nothing was sent */
};

/* One complete frame, where it stands in its connection. */
struct vec_frame {
        struct vec_header header;
        uint8_t *body;
        uint32_t size;                         /* bytes of the connection's buffer it takes up */
        int status;                            /* of the header; negative: refuse */
        uint8_t reason;
        uint8_t fatal;                         /* the connection cannot be read any further */
        uint64_t skip;                         /* bytes of body to throw away after a refusal */
};

int vec_conn_attach(vec_pump *pump, int fd, struct vec_instance *instance, const uint8_t tag[32],
                    uint32_t deadline_ms);
void vec_conn_event(vec_pump *pump, struct vec_conn *conn, uint32_t events);
/* The complete frame at *offset (0 for the first; moved behind it), or 0 when there is none. */
int vec_conn_frame(struct vec_conn *conn, uint32_t *offset, struct vec_frame *ret);
/* The frames up to `offset` are done with. */
void vec_conn_consume(vec_pump *pump, struct vec_conn *conn, uint32_t offset, uint64_t skip, int fatal);
/* Look again at what has arrived: queue the connection if a frame is complete, arm events and deadline. */
void vec_conn_look(vec_pump *pump, struct vec_conn *conn);
/* Answers go out; what the peer does not take now is kept. `iov` is used up. */
void vec_conn_send(vec_pump *pump, struct vec_conn *conn, struct iovec *iov, unsigned count);
/* Unsent results are replaced by refusals; half a result ends the connection. */
void vec_conn_rescind(vec_pump *pump, struct vec_conn *conn);
void vec_conn_kill(vec_pump *pump, struct vec_conn *conn, uint8_t why);
void vec_conn_reap(vec_pump *pump);
void vec_conn_reap_one(vec_pump *pump);
void vec_conn_deadlines(vec_pump *pump, uint64_t now);
/* The same for one instance. */
void vec_conn_deadlines_of(vec_pump *pump, struct vec_instance *instance, uint64_t now);
/* Somebody gave credit back; only: to connections of this instance alone, or NULL. */
void vec_conn_feed(vec_pump *pump, const struct vec_instance *only);
/* The connection is in the epoll set of how the card is shared now. 0, or -VEC_EEXHAUSTED. */
int vec_conn_watch(vec_pump *pump, struct vec_conn *conn);

/* A refusal of the request `of` at `to` (REFUSAL_SIZE bytes); its length. */
uint32_t vec_refusal_build(const vec_pump *pump, const struct vec_header *of, int status, uint8_t reason, uint8_t *to);

/* ---- request.c ---- */

/* One request of a batch, from its frame to its reply. */
struct vec_entry {
        struct vec_conn *conn;
        struct vec_frame frame;
        uint32_t end;                          /* of the frame, as an offset in its connection */
        uint32_t out, out_room;                /* its part of the engine's buffer */
        uint32_t length;                       /* of the reply that stands there */
        uint64_t ns;                           /* strict: what it may cost */
        int status;                            /* 0: the reply counts */
        uint8_t reason;
};

/* Upper bound of the reply to a frame, header included. */
uint32_t vec_reply_room(const struct vec_frame *frame);
/* Check against rows and key slots, run, write the reply into `out`. Entry's status and reason say how it went. */
void vec_request_run(vec_pump *pump, struct vec_instance *instance, struct vec_entry *entry, uint8_t *out);
/* The stream that a part names is over, if the part's connection opened it. */
void vec_request_end_stream(vec_pump *pump, struct vec_instance *instance, const struct vec_entry *entry);

/* ---- turn.c ---- */

/* One turn of an instance that has frames waiting. 0: nothing was done, it has to wait (strict). */
int vec_turn(vec_pump *pump, struct vec_instance *instance);
/* What the last owner left in the engine is overwritten, and the slot nobody's: R12(none), where there is anything. */
void vec_turn_close(vec_pump *pump);
/* loadkey, in a turn of its own. */
int vec_turn_load_key(vec_pump *pump, struct vec_instance *instance, uint64_t number, uint8_t alg, uint8_t usage,
                      uint64_t handle, uint8_t *ret_reason);
/* R12(none). */
int vec_turn_clean(vec_pump *pump, uint8_t *ret_reason);
/* Overwrite the engine and its buffer and read back; out of service when that fails. */
int vec_engine_wipe(vec_pump *pump);

/* ---- record.c ---- */

/* What happens between the two is one record of the audit chain. `flags`: what the counters do not tell. */
void vec_record_begin(vec_pump *pump);
void vec_record_end(vec_pump *pump, enum vec_audit_kind kind, uint32_t instance, unsigned flags);
/* A record of its own, also in the middle of a turn. */
void vec_record_now(vec_pump *pump, enum vec_audit_kind kind, uint32_t instance, unsigned flags);

/* ---- share.c ---- */

/* The instance has a connection with a complete frame: it gets a turn. */
void vec_ring_add(vec_pump *pump, struct vec_instance *instance);
/* The instance whose deficit lets it go first, or NULL. */
struct vec_instance *vec_fair_next(vec_pump *pump);
/* It had its turn: stays first, goes to the end, or leaves the ring. */
void vec_fair_done(vec_pump *pump, struct vec_instance *instance);

/* ---- cost.c ---- */

enum { COSTS = VEC_OP_DECRYPT + 1 };

/* What work takes on this machine, measured before anybody's data come, with room to spare. */
struct vec_cost {
        uint8_t measured;
        uint64_t turn, wipe;                   /* ns: of a turn without its requests; of the whole engine's buffer */
        uint64_t request[COSTS], mib[COSTS];   /* ns: of a request, of a mebibyte of it */
};

int vec_cost_measure(vec_pump *pump);
uint64_t vec_cost_of_frame(const vec_pump *pump, const struct vec_frame *frame);
/* Is a slot long enough for it? What does not fit now may fit into the next one. */
int vec_cost_fits(const vec_pump *pump, const struct vec_frame *frame);
/* How many bytes of data of a request of this operation fit into a slot. */
uint64_t vec_cost_most(const vec_pump *pump, uint8_t op);

/* ---- grid.c ---- */

struct vec_grid {
        uint8_t strict;
        uint8_t open;                          /* the slot is its owner's; otherwise its tail, which is nobody's */
        uint8_t full, fresh, realtime;
        uint64_t turns;                        /* counted when the slot began */
        int timer;
        uint16_t *round;                       /* instances, slot by slot; NULL without a schedule */
        uint32_t slots;
        uint32_t instances;                    /* that have slots */
        uint32_t slot_us;
        uint64_t slot_ns, tail_ns;
        uint64_t number, closes, ends;         /* the slot it is */
        struct vec_instance *owner;
};

int vec_grid_open(vec_pump *pump);
void vec_grid_close(vec_pump *pump);
/* The schedule counts from here; owns `round`. 0 or a negative status with nothing changed, `round` still the caller's. */
int vec_grid_set(vec_pump *pump, uint32_t strict, uint32_t slot_us, const struct vec_share *shares, uint32_t count,
                 uint16_t *round, uint32_t slots);
/* In the pump's thread: it has the priority that its way to share asks for, where it may. */
void vec_grid_hurry(vec_pump *pump);
/* Once round the loop. */
int vec_grid_step(vec_pump *pump);
/* Strict: bytes of this instance may move now. Fair: always. */
int vec_grid_lets(const vec_pump *pump, const struct vec_instance *instance);
/* Strict: something small may begin in the tail of the slot. Fair, or without a schedule: always. */
int vec_grid_tail(const vec_pump *pump);

/* ---- mailbox.c ---- */

struct vec_command;
struct vec_mailbox {
        pthread_mutex_t lock;
        pthread_cond_t done;
        struct vec_command *first, *last;
        _Atomic uint32_t posted;               /* commands waiting: a look without the lock */
        uint8_t ended;
        int wake;                              /* eventfd */
};

int vec_mailbox_open(struct vec_mailbox *box);
void vec_mailbox_close(struct vec_mailbox *box);
/* Do what is asked; in the middle of a turn only what does not need the card word, and strict also by the slot. */
void vec_mailbox_serve(vec_pump *pump, int in_turn);
/* Nobody will be served any more. */
void vec_mailbox_end(struct vec_mailbox *box);

/* ---- pump.c ---- */

struct vec_event_node {
        struct vec_event_node *next;
        struct vec_event event;
};

struct vec_pump {
        const struct vec_driver *driver;
        struct vec_pump_options options;
        void *engine;
        int epoll;
        _Atomic int stopping;

        const struct vec_matrices *matrices;   /* NULL before the first bind */
        vec_card_word *word;
        uint32_t card;
        uint8_t quiesced, out_of_service;
        uint8_t discard;                       /* the running turn's results must not be delivered */
        uint8_t later;                         /* strict: q stood until the slot was over */
        uint32_t turn_of;                      /* instance of the running turn, or VEC_NONE */
        uint64_t give_up_at, busy_since;       /* strict: no step is asked again after; q stands since */

        uint8_t *out;                          /* the engine's buffer, OUT_SIZE bytes */
        uint32_t out_dirty;
        uint32_t context, output;              /* residue: instance, or VEC_NONE */
        struct vec_entry entry[VEC_BATCH_REQUESTS];
        uint8_t refusal[VEC_BATCH_REQUESTS][REFUSAL_SIZE];

        struct vec_instance *instance[VEC_INSTANCES_MAX];
        struct vec_instance *ring, *ring_last;
        struct vec_grid grid;
        struct vec_cost cost;
        struct vec_conn *conns, *dead, *starved, *starved_last;
        int64_t credit_left;                   /* fair; strict it may be below 0 */
        struct vec_buffer *cache[2][8];
        unsigned cached[2];

        uint64_t now, last_request;
        uint8_t idle_told;
        uint32_t waiting;                      /* connections with a deadline */
        struct vec_counters counters;
        vec_audit *audit;
        struct vec_counters before;            /* the running turn */
        uint8_t broken_before;
        struct vec_mailbox mailbox;

        pthread_mutex_t event_lock;
        struct vec_event_node *event, *event_last;
        int event_fd;
};

uint64_t vec_now_ns(void);
void vec_pump_tell(vec_pump *pump, enum vec_event_kind kind, uint32_t instance, uint64_t value, uint8_t reason);
void vec_pump_out_of_service(vec_pump *pump);
void vec_pump_drain_wake(const vec_pump *pump);

#endif
