/*
 * A turn ("Life cycle" in docs/model.md), for one instance and a batch of its requests.
 *
 *   raise   R12 if it does not own a clean slot, R2 take a, R11 up
 *   work    enter under a, run the batch into the engine's buffer, leave
 *   lower   R11 down: the engine and what it read are overwritten and read back
 *   fetch   R4 take r, enter under r, write the replies, leave, R6 give r back
 *
 * What follows each other on the card word is one change of it where nobody comes between (step.c): four in a turn.
 *
 * A step that fails ends the turn: what has run is discarded and every request is refused with the reason.
 */
#include "turn_parts.h"
#include "vec/arena.h"

static void work(struct vec_turn *turn)
{
        vec_pump *pump = turn->pump;
        uint64_t until = vec_now_ns() + VEC_BATCH_NS;

        pump->context = pump->output = turn->i;
        if (pump->grid.strict && pump->grid.closes < until)
                until = pump->grid.closes;
        for (turn->done = 0; turn->done < turn->count; turn->done++) {
                struct vec_entry *entry = &pump->entry[turn->done];

                if (entry->status < 0)
                        continue;
                /* At least one, or nobody gets anywhere. */
                if (turn->ran && vec_now_ns() + entry->ns > until)
                        break;
                turn->ran = 1;
                if (entry->out + entry->out_room > pump->out_dirty)
                        pump->out_dirty = entry->out + entry->out_room;
                vec_request_run(pump, turn->instance, entry, pump->out + entry->out);
        }
}

static int fetch(struct vec_turn *turn, uint64_t seen, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t generation;
        uint32_t n;
        int r = vec_begin_reply(turn, turn->works, seen, &generation, ret_reason);

        if (r < 0)
                return r;
        vec_batch_deliver(turn);
        if (vec_end_reply(turn, turn->works, generation) < 0)
                for (n = 0; n < turn->done; n++)
                        vec_conn_rescind(pump, pump->entry[n].conn);
        return 0;
}

static int any_result(const struct vec_turn *turn)
{
        uint32_t n;

        for (n = 0; n < turn->done; n++)
                if (turn->pump->entry[n].status == 0)
                        return 1;
        return 0;
}

static void begin(struct vec_turn *turn)
{
        turn->pump->turn_of = turn->i;
        turn->pump->discard = 0;
        turn->since = vec_now_ns();
        vec_record_begin(turn->pump);
}

/* The card was the instance's for so long. */
static void account(struct vec_turn *turn)
{
        uint64_t now = vec_now_ns();

        turn->instance->turns++;
        turn->instance->engine_ns += now - turn->since;
        turn->instance->deficit -= (int64_t)(now - turn->since);
        turn->pump->last_request = now;
}

static void end(struct vec_turn *turn, enum vec_audit_kind kind, int r)
{
        turn->pump->turn_of = VEC_NONE;
        turn->pump->discard = 0;
        turn->pump->counters.turns++;
        account(turn);
        vec_record_end(turn->pump, kind, turn->i,
                       (turn->ran ? VEC_AUDIT_WORKED : 0) | (r < 0 ? VEC_AUDIT_CUT : 0));
}

/* Before anything ran a turn can wait for the next slot; after that it is waited for. */
static int begin_batch(struct vec_turn *turn, uint64_t *ret_generation, uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        int r;

        pump->give_up_at = pump->grid.strict ? pump->grid.closes : 0;
        pump->later = 0;
        r = vec_begin_work(turn, turn->works, VEC_A | VEC_R, ret_generation, ret_reason);
        pump->give_up_at = 0;
        if (!pump->later)
                pump->busy_since = 0;
        return r;
}

static int run_batch(struct vec_turn *turn, uint8_t *ret_reason)
{
        uint64_t generation, seen;
        uint8_t reason;
        int r = begin_batch(turn, &generation, ret_reason), lowered = 0;

        if (r < 0)
                return r;
        work(turn);
        r = vec_end_work(turn, turn->works, generation, &seen, ret_reason);
        /* Refusals alone are no output of the card. */
        if (r == 0 && !turn->pump->discard && any_result(turn))
                return fetch(turn, seen, ret_reason);
        if (turn->lowering)
                lowered = vec_lower(turn, seen, r < 0 ? &reason : ret_reason);
        if (r < 0)
                return r;
        if (lowered < 0)
                return lowered;
        if (turn->pump->discard)
                return vec_lost(turn->pump, turn->i, -VEC_EDENIED, ret_reason);
        vec_batch_deliver(turn);
        return 0;
}

/* Strict: what is left of the slot for requests. */
static uint64_t room_of(const vec_pump *pump)
{
        uint64_t used = vec_now_ns() + pump->cost.turn;

        return pump->grid.closes > used ? pump->grid.closes - used : 0;
}

int vec_turn(vec_pump *pump, struct vec_instance *instance)
{
        struct vec_turn turn = { .pump = pump, .instance = instance, .i = instance->index };
        uint8_t reason = VEC_REASON_NONE;
        int r = 0;

        /* What the steps will look at is fetched while the batch is put together: it lies in pages of its own. */
        if (pump->word) {
                __builtin_prefetch(pump->word, 1);
                __builtin_prefetch(&pump->matrices->card_m[pump->card][turn.i]);
        }
        if (pump->grid.strict)
                turn.room = room_of(pump);
        vec_batch_fill(&turn);
        if (!turn.count)
                return 0;
        begin(&turn);
        turn.done = turn.count;
        if (turn.works)
                r = run_batch(&turn, &reason);
        else
                vec_batch_deliver(&turn);
        if (r == -VEC_EBUSY && pump->later) {
                /* Nothing of it was done; the connections keep what they have. */
                turn.done = 0;
        } else if (r < 0) {
                vec_batch_discard(&turn, r, reason);
                turn.done = turn.count;
                turn.input_wiped = 0;
                vec_batch_deliver(&turn);
        }
        vec_batch_move_on(&turn);
        end(&turn, VEC_AUDIT_TURN, r);
        r = pump->later == 0;
        pump->later = 0;
        return r;
}

/* ---- loadkey, clean ---- */

static int check_load(const vec_pump *pump, const struct vec_instance *instance, uint64_t number, uint8_t alg,
                      uint8_t usage, uint8_t *ret_reason)
{
        *ret_reason = VEC_REASON_NONE;
        if (!number || !vec_alg_find(alg) || !(usage & (VEC_USE_ENCRYPT | VEC_USE_DECRYPT)) || (usage & ~VEC_USE_ALL))
                return -VEC_EMALFORMED;
        if (vec_slot_find(instance, number))
                return -VEC_EEXISTS;
        if (pump->counters.keys >= pump->options.keys)
                return vec_refused(VEC_EEXHAUSTED, VEC_REASON_KEY_SLOTS, ret_reason);
        return 0;
}

static int load_key(struct vec_turn *turn, uint8_t alg, const uint8_t *secret, size_t size, void **ret_key,
                    uint8_t *ret_reason)
{
        vec_pump *pump = turn->pump;
        uint64_t generation, seen;
        void *key = NULL;
        uint8_t reason;
        int r, prepared = 0, lowered = 0;

        r = vec_begin_work(turn, 1, VEC_A, &generation, ret_reason);
        if (r < 0)
                return r;
        pump->context = turn->i;
        turn->ran = 1;
        prepared = pump->driver->key_prepare(pump->engine, alg, secret, size, &key);
        r = vec_end_work(turn, 1, generation, &seen, ret_reason);
        if (turn->lowering)
                lowered = vec_lower(turn, seen, r < 0 ? &reason : ret_reason);
        if (r == 0)
                r = lowered;
        if (r == 0 && pump->discard)
                r = vec_lost(pump, turn->i, -VEC_EDENIED, ret_reason);
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
        struct vec_turn turn = { .pump = pump, .instance = instance, .i = instance->index };
        const uint8_t *secret;
        size_t size;
        void *key = NULL;
        int r = check_load(pump, instance, number, alg, usage, ret_reason);

        if (r == 0)
                r = vec_vault_pin(handle, &secret, &size);
        if (r < 0)
                return r;
        begin(&turn);
        pump->later = 0;
        r = load_key(&turn, alg, secret, size, &key, ret_reason);
        end(&turn, VEC_AUDIT_KEY, r);
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

static int clean(vec_pump *pump, uint8_t *ret_reason)
{
        *ret_reason = VEC_REASON_NONE;
        if (pump->out_of_service)
                return vec_refused(VEC_EHARDWARE, VEC_REASON_OUT_OF_SERVICE, ret_reason);
        /* Without an owner in the word there is nothing to switch, but what is in the engine goes all the same. */
        if (!pump->word || pump->quiesced || vec_word_decode(vec_word_load(pump->word)).status == VEC_FREE)
                return vec_engine_wipe(pump) < 0 ? vec_broken(pump, ret_reason) : 0;
        return vec_switch_to(pump, VEC_NONE, ret_reason);
}

void vec_turn_close(vec_pump *pump)
{
        uint64_t busy_since = pump->busy_since;
        uint8_t reason;

        if (pump->out_of_service || (!pump->out_dirty && pump->context == VEC_NONE && pump->output == VEC_NONE))
                return;
        vec_record_begin(pump);
        /* Where the guard has q at the moment, the switch is left to the next turn, and the wipe is not. */
        pump->give_up_at = pump->grid.ends;
        if (clean(pump, &reason) < 0 && !pump->out_of_service)
                vec_engine_wipe(pump);
        pump->give_up_at = 0;
        pump->later = 0;
        pump->busy_since = busy_since;
        vec_record_end(pump, VEC_AUDIT_CLEAN, VEC_NONE, pump->out_of_service ? VEC_AUDIT_CUT : 0);
}

int vec_turn_clean(vec_pump *pump, uint8_t *ret_reason)
{
        int r;

        vec_record_begin(pump);
        r = clean(pump, ret_reason);
        vec_record_end(pump, VEC_AUDIT_CLEAN, VEC_NONE, r < 0 ? VEC_AUDIT_CUT : 0);
        return r;
}
