/*
 * The steps of a turn on the card word, and what to say when one fails.
 *
 * A step that is busy finds the guard at work on the word: it is asked again for a while, and what the guard may
 * be waiting for is done meanwhile.
 */
#include <sched.h>
#include <time.h>

#include "turn_parts.h"
#include "vec/arena.h"

enum { YIELDS = 64, NAP_NS = 50000, MS = 1000000, ATTEMPTS = 4 };

/* ---- patience ---- */

int vec_still_patient(vec_pump *pump, struct vec_patience *patience)
{
        const struct timespec nap = { .tv_nsec = NAP_NS };
        uint64_t now = vec_now_ns();

        vec_mailbox_serve(pump, 1);
        if (pump->quiesced || atomic_load_explicit(&pump->stopping, memory_order_relaxed))
                return 0;
        if (!patience->since)
                patience->since = pump->busy_since ? pump->busy_since : now;
        if (now - patience->since > (uint64_t)pump->options.busy_ms * MS)
                return 0;
        if (pump->give_up_at && now >= pump->give_up_at) {
                pump->busy_since = patience->since;
                pump->later = 1;
                return 0;
        }
        if (patience->tries++ < YIELDS)
                sched_yield();
        else
                nanosleep(&nap, NULL);
        return 1;
}

/* ---- reasons ---- */

int vec_refused(int status, uint8_t reason, uint8_t *ret_reason)
{
        *ret_reason = reason;
        return -status;
}

/* What M and b say before anything starts: advisory, the steps decide. */
static int ask_cells(const vec_pump *pump, uint32_t i, uint8_t needs, uint8_t *ret_reason)
{
        uint8_t m = vec_cell_load(&pump->matrices->card_m[pump->card][i]);

        if (!(vec_cell_load(&pump->matrices->card_b[pump->card][i]) & VEC_C))
                return vec_refused(VEC_EDENIED, VEC_REASON_NOT_CONNECTED, ret_reason);
        if (needs & VEC_A & ~m)
                return vec_refused(VEC_EDENIED, VEC_REASON_M_LACKS_A, ret_reason);
        if (needs & VEC_R & ~m)
                return vec_refused(VEC_EDENIED, VEC_REASON_M_LACKS_R, ret_reason);
        return 0;
}

/* Why a turn that had begun is over. */
int vec_lost(const vec_pump *pump, uint32_t i, int r, uint8_t *ret_reason)
{
        struct vec_word w = vec_word_decode(vec_word_load(pump->word));

        if (r == -VEC_EBUSY || pump->quiesced)
                return vec_refused(VEC_EBUSY, VEC_REASON_QUIESCED, ret_reason);
        if (pump->discard || ask_cells(pump, i, VEC_A | VEC_R, ret_reason) < 0 || w.owner == i)
                return vec_refused(VEC_EDENIED, VEC_REASON_RESCINDED, ret_reason);
        return vec_refused(VEC_EDENIED, VEC_REASON_SLOT_LOST, ret_reason);
}

int vec_broken(vec_pump *pump, uint8_t *ret_reason)
{
        vec_pump_out_of_service(pump);
        return vec_refused(VEC_EHARDWARE, VEC_REASON_OUT_OF_SERVICE, ret_reason);
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

/* ---- the steps: in one change where that is possible, one by one where somebody came between ---- */

/* R12. The second half fails where a forced revocation cut it short: then the slot is nobody's, start over. */
int vec_switch_to(vec_pump *pump, uint32_t next, uint8_t *ret_reason)
{
        unsigned attempt;
        uint64_t seen;
        int r;

        for (attempt = 0; attempt < ATTEMPTS; attempt++) {
                PATIENTLY(pump, r, vec_card_switch_begin(pump->word, &seen));
                if (r == -VEC_EBUSY)
                        return vec_refused(VEC_EBUSY, VEC_REASON_QUIESCED, ret_reason);
                /* Free: nobody is connected. */
                if (r < 0)
                        return vec_refused(VEC_EDENIED, VEC_REASON_NOT_CONNECTED, ret_reason);
                if (vec_engine_wipe(pump) < 0)
                        return vec_broken(pump, ret_reason);
                pump->counters.switches++;
                if (vec_card_switch_end(pump->word, pump->matrices, pump->card, next, seen) == 0)
                        return 0;
        }
        return vec_refused(VEC_EBUSY, VEC_REASON_QUIESCED, ret_reason);
}

static int may_start(const vec_pump *pump, uint8_t *ret_reason)
{
        if (pump->out_of_service)
                return vec_refused(VEC_EHARDWARE, VEC_REASON_OUT_OF_SERVICE, ret_reason);
        if (vec_audit_held(pump->audit))
                return vec_refused(VEC_EBUSY, VEC_REASON_NOT_RECORDED, ret_reason);
        return pump->quiesced || !pump->word ? vec_refused(VEC_EBUSY, VEC_REASON_QUIESCED, ret_reason) : 0;
}

/* The instance owns the slot, holds a, and the card is using, step by step. */
static int raise(vec_pump *pump, uint32_t i, uint8_t needs, uint8_t *ret_reason)
{
        unsigned attempt;
        int r;

        for (attempt = 0; attempt < ATTEMPTS; attempt++) {
                struct vec_word w = vec_word_decode(vec_word_load(pump->word));

                /* A turn that was cut short left it using, or with r: R12 starts from anything. */
                if (w.owner != i || w.status != VEC_CONTROL || (w.held & (VEC_R | VEC_W))) {
                        r = vec_switch_to(pump, i, ret_reason);
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
                        return vec_refused(VEC_EBUSY, VEC_REASON_QUIESCED, ret_reason);
                /* Somebody stripped the slot in between: by which right, the cells tell. */
                r = ask_cells(pump, i, needs, ret_reason);
                if (r < 0)
                        return r;
        }
        return vec_refused(VEC_EDENIED, VEC_REASON_SLOT_LOST, ret_reason);
}

int vec_begin_work(struct vec_turn *turn, uint32_t n, uint8_t needs, uint64_t *ret_generation, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t seen;
        uint8_t other;
        int r = may_start(pump, ret_reason);

        if (r < 0)
                return r;
        if (vec_card_begin_work(pump->word, pump->matrices, pump->card, turn->i, needs, n, ret_generation) == 0)
                return 0;
        r = ask_cells(pump, turn->i, needs, ret_reason);
        if (r < 0)
                return r;
        r = raise(pump, turn->i, needs, ret_reason);
        if (r < 0)
                return r;
        PATIENTLY(pump, r, vec_card_enter(pump->word, turn->i, VEC_A, n, ret_generation));
        if (r == 0)
                return 0;
        r = vec_lost(pump, turn->i, r, ret_reason);
        /* Nobody entered, nothing ran. */
        turn->lowering = vec_card_down_begin(pump->word, turn->i, &seen) == 0;
        if (turn->lowering)
                vec_lower(turn, seen, &other);
        return r;
}

/* What of a request the engine may have left. */
static int wipe_work(struct vec_turn *turn, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;

        pump->driver->wipe(pump->engine);
        pump->counters.wipes++;
        if (vec_input_wipe(turn) < 0 || pump->driver->wipe_check(pump->engine) < 0) {
                turn->lowering = 0;
                return vec_broken(pump, ret_reason);
        }
        pump->context = VEC_NONE;
        return 0;
}

int vec_end_work(struct vec_turn *turn, uint32_t n, uint64_t generation, uint64_t *ret_seen, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint8_t other;
        int r = 0, down = 0, wiped;

        if (vec_card_end_work(pump->word, turn->i, n, generation, ret_seen) != 0) {
                r = vec_card_leave(pump->word, n, generation);
                if (r < 0)
                        r = vec_lost(pump, turn->i, r, ret_reason);
                PATIENTLY(pump, down, vec_card_down_begin(pump->word, turn->i, ret_seen));
                if (down < 0)
                        down = vec_lost(pump, turn->i, down, r < 0 ? &other : ret_reason);
        }
        if (down < 0)
                return r < 0 ? r : down;
        turn->lowering = 1;
        wiped = wipe_work(turn, r < 0 ? &other : ret_reason);
        return r < 0 ? r : wiped;
}

int vec_lower(struct vec_turn *turn, uint64_t seen, uint8_t *ret_reason)
{
        int r = vec_card_down_end(turn->pump->word, seen);

        turn->lowering = 0;
        return r < 0 ? vec_lost(turn->pump, turn->i, r, ret_reason) : 0;
}

int vec_begin_reply(struct vec_turn *turn, uint32_t n, uint64_t seen, uint64_t *ret_generation, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        int r;

        if (vec_card_begin_reply(pump->word, pump->matrices, pump->card, n, seen, ret_generation) == 0) {
                turn->lowering = 0;
                return 0;
        }
        r = vec_lower(turn, seen, ret_reason);
        if (r < 0)
                return r;
        PATIENTLY(pump, r, vec_card_take(pump->word, pump->matrices, pump->card, turn->i, VEC_R, ret_reason));
        if (r == 0)
                PATIENTLY(pump, r, vec_card_enter(pump->word, turn->i, VEC_R, n, ret_generation));
        /* A command that came in between may have taken the results away. */
        if (r == 0 && pump->discard) {
                vec_card_leave(pump->word, n, *ret_generation);
                r = -VEC_EDENIED;
        }
        return r < 0 ? vec_lost(pump, turn->i, r, ret_reason) : 0;
}

int vec_end_reply(struct vec_turn *turn, uint32_t n, uint64_t generation)
{
        vec_pump *pump = turn->pump;
        int r, back;

        if (vec_card_end_reply(pump->word, turn->i, n, generation) == 0)
                return 0;
        r = vec_card_leave(pump->word, n, generation);
        /* Where this fails the next turn finds r held, and switches. */
        PATIENTLY(pump, back, vec_card_give_back(pump->word, turn->i, VEC_R));
        return r;
}
