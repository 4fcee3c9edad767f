/*
 * A turn: model.md 3a, for one instance and a batch of its requests.
 *
 *   raise   R12 if it does not own a clean slot, R2 take a, R11 up
 *   work    enter under a, run the batch into the engine's buffer, leave
 *   lower   R11 down: the engine and what it read are overwritten and read back
 *   fetch   R4 take r, enter under r, write the replies, leave, R6 give r back
 *
 * A step that fails ends the turn: what has run is discarded, its streams are closed (their next part would not fit),
 * and every request is refused with the reason. A step that is busy finds the guard at work on the card word: it is
 * asked again, and what the guard may be waiting for is done meanwhile.
 */
#include <sched.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "pump_parts.h"
#include "vec/arena.h"

enum { YIELDS = 64, NAP_NS = 50000, MS = 1000000, ATTEMPTS = 4 };

struct turn {
        vec_pump *pump;
        struct vec_instance *instance;
        uint32_t i;                    /* its index */
        uint32_t count, works, done;   /* entries: all, to run, gone through */
        uint8_t ran, input_wiped;
};

/* ---- patience ---- */

struct patience {
        uint64_t since;
        unsigned tries;
};

/* 1: ask again. 0: it has been too long, or there is nothing to wait for. */
static int still_patient(vec_pump *pump, struct patience *patience)
{
        const struct timespec nap = { .tv_nsec = NAP_NS };
        uint64_t now = vec_now_ns();

        vec_mailbox_serve(pump, 1);
        if (pump->quiesced || atomic_load_explicit(&pump->stopping, memory_order_relaxed))
                return 0;
        if (!patience->since)
                patience->since = now;
        if (now - patience->since > (uint64_t)pump->options.busy_ms * MS)
                return 0;
        if (patience->tries++ < YIELDS)
                sched_yield();
        else
                nanosleep(&nap, NULL);
        return 1;
}

#define PATIENTLY(pump, r, step)                                                                            \
        do {                                                                                                \
                struct patience patience_ = { 0 };                                                          \
                do                                                                                          \
                        (r) = (step);                                                                       \
                while ((r) == -VEC_EBUSY && still_patient((pump), &patience_));                             \
        } while (0)

/* ---- reasons ---- */

static int refused(int status, uint8_t reason, uint8_t *ret_reason)
{
        *ret_reason = reason;
        return -status;
}

static int busy(uint8_t *ret_reason)
{
        return refused(VEC_EBUSY, VEC_REASON_QUIESCED, ret_reason);
}

/* What M and b say before anything starts: advisory, the steps decide. */
static int ask_cells(const vec_pump *pump, uint32_t i, uint8_t needs, uint8_t *ret_reason)
{
        uint8_t m = vec_cell_load(&pump->matrices->card_m[pump->card][i]);

        if (!(vec_cell_load(&pump->matrices->card_b[pump->card][i]) & VEC_C))
                return refused(VEC_EDENIED, VEC_REASON_NOT_CONNECTED, ret_reason);
        if (needs & VEC_A & ~m)
                return refused(VEC_EDENIED, VEC_REASON_M_LACKS_A, ret_reason);
        if (needs & VEC_R & ~m)
                return refused(VEC_EDENIED, VEC_REASON_M_LACKS_R, ret_reason);
        return 0;
}

/* Why a turn that had begun is over. */
static int lost(const vec_pump *pump, uint32_t i, int r, uint8_t *ret_reason)
{
        struct vec_word w = vec_word_decode(vec_word_load(pump->word));

        if (r == -VEC_EBUSY || pump->quiesced)
                return busy(ret_reason);
        if (pump->discard || ask_cells(pump, i, VEC_A | VEC_R, ret_reason) < 0 || w.owner == i)
                return refused(VEC_EDENIED, VEC_REASON_RESCINDED, ret_reason);
        return refused(VEC_EDENIED, VEC_REASON_SLOT_LOST, ret_reason);
}

static int broken(vec_pump *pump, uint8_t *ret_reason)
{
        vec_pump_out_of_service(pump);
        return refused(VEC_EHARDWARE, VEC_REASON_OUT_OF_SERVICE, ret_reason);
}

/* ---- the engine ---- */

int vec_engine_wipe(vec_pump *pump)
{
        pump->driver->wipe(pump->engine);
        vec_wipe(pump->out, pump->out_dirty);
        pump->counters.wipes++;
        if (pump->driver->wipe_check(pump->engine) < 0 || !vec_is_zero(pump->out, pump->out_dirty)) {
                vec_pump_out_of_service(pump);
                return -VEC_EHARDWARE;
        }
        pump->out_dirty = 0;
        pump->context = pump->output = VEC_NONE;
        return 0;
}

/* The engine read its input where the connections keep it, so that is what of the engine is private now. */
static int input_wipe(struct turn *turn)
{
        uint32_t n;
        int clean = 1;

        for (n = 0; n < turn->done && !turn->input_wiped; n++) {
                struct vec_frame *frame = &turn->pump->entry[n].frame;
                size_t size = vec_body_size(&frame->header);

                if (!frame->body)
                        continue;
                vec_wipe(frame->body, size);
                clean &= vec_is_zero(frame->body, size);
        }
        turn->input_wiped = 1;
        return clean ? 0 : -VEC_EINTEGRITY;
}

/* ---- the steps ---- */

/* R12. The second half fails where a forced revocation cut it short: then the slot is nobody's, start over. */
static int switch_to(vec_pump *pump, uint32_t next, uint8_t *ret_reason)
{
        unsigned attempt;
        uint64_t seen;
        int r;

        for (attempt = 0; attempt < ATTEMPTS; attempt++) {
                PATIENTLY(pump, r, vec_card_switch_begin(pump->word, &seen));
                if (r == -VEC_EBUSY)
                        return busy(ret_reason);
                /* Free: nobody is connected. */
                if (r < 0)
                        return refused(VEC_EDENIED, VEC_REASON_NOT_CONNECTED, ret_reason);
                if (vec_engine_wipe(pump) < 0)
                        return broken(pump, ret_reason);
                pump->counters.switches++;
                if (vec_card_switch_end(pump->word, pump->matrices, pump->card, next, seen) == 0)
                        return 0;
        }
        return busy(ret_reason);
}

static int may_start(const vec_pump *pump, uint8_t *ret_reason)
{
        if (pump->out_of_service)
                return refused(VEC_EHARDWARE, VEC_REASON_OUT_OF_SERVICE, ret_reason);
        return pump->quiesced || !pump->word ? busy(ret_reason) : 0;
}

static int raise_card(vec_pump *pump, uint32_t i, uint8_t needs, uint8_t *ret_reason)
{
        unsigned attempt;
        int r = may_start(pump, ret_reason);

        if (r == 0)
                r = ask_cells(pump, i, needs, ret_reason);
        if (r < 0)
                return r;
        for (attempt = 0; attempt < ATTEMPTS; attempt++) {
                struct vec_word w = vec_word_decode(vec_word_load(pump->word));

                /* A turn that was cut short left it using, or with r: R12 starts from anything. */
                if (w.owner != i || w.status != VEC_CONTROL || (w.held & (VEC_R | VEC_W))) {
                        r = switch_to(pump, i, ret_reason);
                        if (r < 0)
                                return r;
                }
                PATIENTLY(pump, r, vec_card_take(pump->word, pump->matrices, pump->card, i, VEC_A, ret_reason));
                if (r == 0)
                        PATIENTLY(pump, r, vec_card_up(pump->word, i));
                else if (*ret_reason != VEC_REASON_SLOT_LOST && r == -VEC_EDENIED)
                        return r;
                if (r == 0)
                        return 0;
                if (r == -VEC_EBUSY)
                        return busy(ret_reason);
                /* Somebody stripped the slot in between: by which right, the cells tell. */
                r = ask_cells(pump, i, needs, ret_reason);
                if (r < 0)
                        return r;
        }
        return refused(VEC_EDENIED, VEC_REASON_SLOT_LOST, ret_reason);
}

static int lower_card(struct turn *turn, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t seen;
        int r;

        PATIENTLY(pump, r, vec_card_down_begin(pump->word, turn->i, &seen));
        if (r < 0)
                return lost(pump, turn->i, r, ret_reason);
        pump->driver->wipe(pump->engine);
        pump->counters.wipes++;
        if (input_wipe(turn) < 0 || pump->driver->wipe_check(pump->engine) < 0)
                return broken(pump, ret_reason);
        pump->context = VEC_NONE;
        r = vec_card_down_end(pump->word, seen);
        return r < 0 ? lost(pump, turn->i, r, ret_reason) : 0;
}

static int work(struct turn *turn, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t generation, until;
        int r;

        PATIENTLY(pump, r, vec_card_enter(pump->word, turn->i, VEC_A, turn->works, &generation));
        if (r < 0)
                return lost(pump, turn->i, r, ret_reason);
        pump->context = pump->output = turn->i;
        until = vec_now_ns() + VEC_BATCH_NS;
        for (turn->done = 0; turn->done < turn->count; turn->done++) {
                struct vec_entry *entry = &pump->entry[turn->done];

                if (entry->status < 0)
                        continue;
                /* At least one, or nobody gets anywhere. */
                if (turn->ran && vec_now_ns() > until)
                        break;
                turn->ran = 1;
                if (entry->out + entry->out_room > pump->out_dirty)
                        pump->out_dirty = entry->out + entry->out_room;
                vec_request_run(pump, turn->instance, entry, pump->out + entry->out);
        }
        r = vec_card_leave(pump->word, turn->works, generation);
        return r < 0 ? lost(pump, turn->i, r, ret_reason) : 0;
}

/* ---- replies ---- */

static void deliver(struct turn *turn)
{
        vec_pump *pump = turn->pump;
        struct iovec iov[VEC_BATCH_REQUESTS];
        uint32_t n = 0, first;

        while (n < turn->done) {
                struct vec_conn *conn = pump->entry[n].conn;

                for (first = n; n < turn->done && pump->entry[n].conn == conn; n++) {
                        struct vec_entry *entry = &pump->entry[n];

                        pump->counters.requests++;
                        if (entry->status == 0) {
                                iov[n - first] = (struct iovec){ pump->out + entry->out, entry->length };
                                continue;
                        }
                        pump->counters.refused++;
                        iov[n - first] = (struct iovec){
                                pump->refusal[n],
                                vec_refusal_build(&entry->frame.header, entry->status, entry->reason,
                                                  pump->refusal[n]),
                        };
                }
                vec_conn_send(pump, conn, iov, n - first);
        }
}

static int fetch(struct turn *turn, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t generation;
        uint32_t n;
        int r;

        PATIENTLY(pump, r, vec_card_take(pump->word, pump->matrices, pump->card, turn->i, VEC_R, ret_reason));
        if (r == 0)
                PATIENTLY(pump, r, vec_card_enter(pump->word, turn->i, VEC_R, turn->works, &generation));
        /* A command that came in between may have taken the results away. */
        if (r == 0 && pump->discard) {
                vec_card_leave(pump->word, turn->works, generation);
                r = -VEC_EDENIED;
        }
        if (r < 0)
                return lost(pump, turn->i, r, ret_reason);
        deliver(turn);
        if (vec_card_leave(pump->word, turn->works, generation) < 0)
                for (n = 0; n < turn->done; n++)
                        vec_conn_rescind(pump, pump->entry[n].conn);
        /* Where this fails the next turn finds r held, and switches. */
        PATIENTLY(pump, r, vec_card_give_back(pump->word, turn->i, VEC_R));
        return 0;
}

/* Results that must not go out. A stream that has swallowed a part whose answer nobody gets is of no use any more. */
static void discard(struct turn *turn, int status, uint8_t reason)
{
        vec_pump *pump = turn->pump;
        uint32_t n;

        for (n = 0; n < turn->count; n++) {
                struct vec_entry *entry = &pump->entry[n];
                const struct vec_header *h = &entry->frame.header;
                struct vec_slot *slot = h->key ? vec_slot_find(turn->instance, h->key) : NULL;
                struct vec_stream *stream = NULL;

                if (entry->status < 0)
                        continue;
                entry->status = status;
                entry->reason = reason;
                if (!turn->ran || n >= turn->done)
                        continue;
                pump->counters.discarded++;
                if (h->stream && (slot || !h->key))
                        stream = vec_stream_find(vec_streams(turn->instance, slot), h->stream);
                if (stream)
                        vec_stream_close(pump, stream);
        }
}

/* ---- the batch ---- */

/* Only RANDOM has an answer that is large and a request that is not; it is charged here, or refused. */
static int charge(vec_pump *pump, struct vec_conn *conn, uint32_t room)
{
        size_t bytes = vec_credit_class(room);

        if (room <= TX_SIZE || conn->charge)
                return 1;
        if (!vec_credit_take(pump, conn->instance, bytes))
                return 0;
        conn->charge = bytes;
        return 1;
}

/* Frames of one connection, as long as the batch has room and its answers have; 1: take from the next one as well. */
static int take_frames(struct turn *turn, struct vec_conn *conn, uint32_t *bytes)
{
        vec_pump *pump = turn->pump;
        uint32_t offset = 0, taken = 0, kept = 0;

        while (turn->count < VEC_BATCH_REQUESTS) {
                struct vec_entry *entry = &pump->entry[turn->count];
                uint32_t cost, room;

                *entry = (struct vec_entry){ .conn = conn, .out = 0 };
                if (!vec_conn_frame(conn, &offset, &entry->frame))
                        return 1;
                room = vec_reply_room(&entry->frame);
                cost = (uint32_t)vec_body_size(&entry->frame.header);
                cost = cost > room ? cost : room;
                if ((turn->count && *bytes + cost > VEC_BATCH_BYTES) || (taken && kept + room > TX_SIZE))
                        return 0;
                entry->end = offset;
                entry->status = entry->frame.status;
                entry->reason = entry->frame.reason;
                if (entry->status == 0 && !charge(pump, conn, room)) {
                        entry->status = -VEC_EEXHAUSTED;
                        entry->reason = VEC_REASON_CREDIT;
                        room = REFUSAL_SIZE;
                }
                entry->out = turn->count ? entry[-1].out + entry[-1].out_room : 0;
                entry->out_room = room;
                turn->works += entry->status == 0;
                turn->count++;
                *bytes += cost;
                kept += room;
                taken++;
                /* Where the next frame starts is known once the refused body is skipped. */
                if (entry->frame.status < 0)
                        return 1;
        }
        return 0;
}

static void fill(struct turn *turn)
{
        struct vec_instance *instance = turn->instance;
        uint32_t bytes = 0, before;
        int more = 1;

        while (more && instance->ready && turn->count < VEC_BATCH_REQUESTS) {
                struct vec_conn *conn = instance->ready;

                before = turn->count;
                more = take_frames(turn, conn, &bytes);
                /* No room was left for its first frame: it stays first. */
                if (!more && turn->count == before)
                        break;
                instance->ready = conn->ready_next;
                if (!instance->ready)
                        instance->ready_last = NULL;
                conn->queued = 0;
        }
}

/* Every connection moves on behind what was answered. */
static void move_on(struct turn *turn)
{
        vec_pump *pump = turn->pump;
        uint32_t n;

        input_wipe(turn);
        for (n = 0; n < turn->count; n++) {
                struct vec_entry *entry = &pump->entry[n];
                int last_of_conn = n + 1 == turn->count || entry[1].conn != entry->conn;

                if (n < turn->done && (n + 1 == turn->done || last_of_conn))
                        vec_conn_consume(pump, entry->conn, entry->end, entry->frame.skip, entry->frame.fatal);
                if (last_of_conn)
                        vec_conn_look(pump, entry->conn);
        }
}

static int any_result(const struct turn *turn)
{
        uint32_t n;

        for (n = 0; n < turn->done; n++)
                if (turn->pump->entry[n].status == 0)
                        return 1;
        return 0;
}

static void begin(struct turn *turn)
{
        turn->pump->turn_of = turn->i;
        turn->pump->discard = 0;
}

static void end(struct turn *turn)
{
        turn->pump->turn_of = VEC_NONE;
        turn->pump->discard = 0;
        turn->pump->counters.turns++;
}

static int run_batch(struct turn *turn, uint8_t *ret_reason)
{
        uint8_t reason;
        int r, lowered;

        r = raise_card(turn->pump, turn->i, VEC_A | VEC_R, ret_reason);
        if (r < 0)
                return r;
        r = work(turn, ret_reason);
        lowered = lower_card(turn, r < 0 ? &reason : ret_reason);
        if (r < 0)
                return r;
        if (lowered < 0)
                return lowered;
        if (turn->pump->discard)
                return lost(turn->pump, turn->i, -VEC_EDENIED, ret_reason);
        /* Refusals alone are no output of the card. */
        if (any_result(turn))
                return fetch(turn, ret_reason);
        deliver(turn);
        return 0;
}

void vec_turn(vec_pump *pump, struct vec_instance *instance)
{
        struct turn turn = { .pump = pump, .instance = instance, .i = instance->index };
        uint8_t reason = VEC_REASON_NONE;
        int r = 0;

        fill(&turn);
        if (!turn.count)
                return;
        begin(&turn);
        turn.done = turn.count;
        if (turn.works)
                r = run_batch(&turn, &reason);
        else
                deliver(&turn);
        if (r < 0) {
                discard(&turn, r, reason);
                turn.done = turn.count;
                turn.input_wiped = 0;
                deliver(&turn);
        }
        move_on(&turn);
        end(&turn);
}

/* ---- loadkey, clean ---- */

static int check_load(const struct vec_instance *instance, uint64_t number, uint8_t alg, uint8_t usage,
                      uint8_t *ret_reason)
{
        *ret_reason = VEC_REASON_NONE;
        if (!number || !vec_alg_find(alg) || !(usage & (VEC_USE_ENCRYPT | VEC_USE_DECRYPT)) || (usage & ~VEC_USE_ALL))
                return -VEC_EMALFORMED;
        return vec_slot_find(instance, number) ? -VEC_EEXISTS : 0;
}

static int load_key(struct turn *turn, uint8_t alg, const uint8_t *secret, size_t size, void **ret_key,
                    uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t generation;
        void *key = NULL;
        uint8_t reason;
        int r, prepared = 0, lowered;

        r = raise_card(pump, turn->i, VEC_A, ret_reason);
        if (r < 0)
                return r;
        PATIENTLY(pump, r, vec_card_enter(pump->word, turn->i, VEC_A, 1, &generation));
        if (r == 0) {
                pump->context = turn->i;
                prepared = pump->driver->key_prepare(pump->engine, alg, secret, size, &key);
                r = vec_card_leave(pump->word, 1, generation);
        }
        if (r < 0)
                r = lost(pump, turn->i, r, ret_reason);
        lowered = lower_card(turn, r < 0 ? &reason : ret_reason);
        if (r == 0)
                r = lowered;
        if (r == 0 && pump->discard)
                r = lost(pump, turn->i, -VEC_EDENIED, ret_reason);
        if (r == 0 && prepared < 0) {
                *ret_reason = VEC_REASON_NONE;
                r = prepared;
        }
        if (r < 0 && key)
                pump->driver->key_destroy(pump->engine, key);
        if (r == 0)
                *ret_key = key;
        return r;
}

int vec_turn_load_key(vec_pump *pump, struct vec_instance *instance, uint64_t number, uint8_t alg, uint8_t usage,
                      uint64_t handle, uint8_t *ret_reason)
{
        struct turn turn = { .pump = pump, .instance = instance, .i = instance->index };
        const uint8_t *secret;
        size_t size;
        void *key = NULL;
        int r = check_load(instance, number, alg, usage, ret_reason);

        if (r == 0)
                r = vec_vault_pin(handle, &secret, &size);
        if (r < 0)
                return r;
        begin(&turn);
        r = load_key(&turn, alg, secret, size, &key, ret_reason);
        end(&turn);
        vec_vault_unpin(handle);
        if (r < 0)
                return r;
        r = vec_slot_add(pump, instance, number, vec_alg_find(alg), usage, key);
        if (r < 0) {
                pump->driver->key_destroy(pump->engine, key);
                return r;
        }
        return vec_vault_drop(handle);
}

int vec_turn_clean(vec_pump *pump, uint8_t *ret_reason)
{
        *ret_reason = VEC_REASON_NONE;
        if (pump->out_of_service)
                return refused(VEC_EHARDWARE, VEC_REASON_OUT_OF_SERVICE, ret_reason);
        /* Without an owner in the word there is nothing to switch, but what is in the engine goes all the same. */
        if (!pump->word || pump->quiesced || vec_word_decode(vec_word_load(pump->word)).status == VEC_FREE)
                return vec_engine_wipe(pump) < 0 ? broken(pump, ret_reason) : 0;
        return switch_to(pump, VEC_NONE, ret_reason);
}
