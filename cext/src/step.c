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

/* ---- the steps ---- */

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

int vec_raise(vec_pump *pump, uint32_t i, uint8_t needs, uint8_t *ret_reason)
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

int vec_lower(struct vec_turn *turn, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t seen;
        int r;

        PATIENTLY(pump, r, vec_card_down_begin(pump->word, turn->i, &seen));
        if (r < 0)
                return vec_lost(pump, turn->i, r, ret_reason);
        pump->driver->wipe(pump->engine);
        pump->counters.wipes++;
        if (vec_input_wipe(turn) < 0 || pump->driver->wipe_check(pump->engine) < 0)
                return vec_broken(pump, ret_reason);
        pump->context = VEC_NONE;
        r = vec_card_down_end(pump->word, seen);
        return r < 0 ? vec_lost(pump, turn->i, r, ret_reason) : 0;
}
