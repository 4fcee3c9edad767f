/*
 * The commands of the mailbox, and the interface to them (pump.h). What a command does is its row; a row says whether
 * it may be done in the middle of a turn, where the guard may be waiting for just that before it lets go of the card
 * word, and, where the card is shared strictly, in whose time: a revocation and a question at once, a key in a slot
 * of its instance, what is left in the tail of any slot.
 */
#include <stdlib.h>

#include "mailbox_parts.h"
#include "vec/arena.h"

/* ---- what is asked ---- */

static int serve_bind(vec_pump *pump, struct vec_command *c)
{
        const struct vec_matrices *matrices;
        vec_card_word *word;
        int r;

        if (c->card >= VEC_CARDS_MAX)
                return -VEC_EMALFORMED;
        if (pump->out_of_service)
                return -VEC_EHARDWARE;
        r = vec_matrices_open(c->fd, &matrices);
        if (r < 0)
                return r;
        r = vec_word_open(c->word_fd, &word);
        if (r < 0) {
                vec_matrices_unmap(matrices);
                return r;
        }
        if (pump->word) {
                vec_matrices_unmap(pump->matrices);
                vec_word_unmap(pump->word);
        }
        pump->matrices = matrices;
        pump->word = word;
        pump->card = c->card;
        pump->quiesced = 0;
        vec_record_begin(pump);
        r = vec_engine_wipe(pump);
        vec_record_end(pump, VEC_AUDIT_BIND, VEC_NONE, r < 0 ? VEC_AUDIT_CUT : 0);
        return r;
}

static int serve_quiesce(vec_pump *pump, struct vec_command *c)
{
        (void)c;
        if (pump->word && !pump->quiesced)
                vec_card_quiesce(pump->word);
        pump->quiesced = 1;
        vec_record_now(pump, VEC_AUDIT_QUIESCE, VEC_NONE, 0);
        return 0;
}

static struct vec_instance *known(const vec_pump *pump, uint32_t index)
{
        return index < VEC_INSTANCES_MAX ? pump->instance[index] : NULL;
}

static int no_slot(const vec_pump *pump, const struct vec_instance *instance, struct vec_command *c)
{
        if (!pump->grid.strict || instance->round)
                return 0;
        c->reason = VEC_REASON_NO_SLOT;
        return 1;
}

static int serve_attach(vec_pump *pump, struct vec_command *c)
{
        struct vec_instance *instance = vec_instance_get(pump, c->instance);

        if (c->instance >= VEC_INSTANCES_MAX)
                return -VEC_EMALFORMED;
        if (instance && no_slot(pump, instance, c))
                return -VEC_EDENIED;
        return instance ? vec_conn_attach(pump, c->fd, instance, c->tag, c->deadline_ms) : -VEC_EEXHAUSTED;
}

static int serve_load_key(vec_pump *pump, struct vec_command *c)
{
        struct vec_instance *instance = vec_instance_get(pump, c->instance);

        if (c->instance >= VEC_INSTANCES_MAX)
                return -VEC_EMALFORMED;
        if (!instance)
                return -VEC_EEXHAUSTED;
        if (no_slot(pump, instance, c))
                return -VEC_EDENIED;
        return vec_turn_load_key(pump, instance, c->number, c->alg, c->usage, c->handle, &c->reason);
}

/* After every destruction of keys: were they overwritten? */
static int destroyed(vec_pump *pump, struct vec_command *c)
{
        if (vec_arena_check() == 0)
                return 0;
        vec_pump_out_of_service(pump);
        c->reason = VEC_REASON_OUT_OF_SERVICE;
        return -VEC_EHARDWARE;
}

static int serve_drop_key(vec_pump *pump, struct vec_command *c)
{
        struct vec_instance *instance = known(pump, c->instance);

        if (!instance || vec_slot_destroy(pump, instance, c->number) < 0) {
                c->reason = VEC_REASON_NO_KEY;
                return -VEC_EKEY;
        }
        return destroyed(pump, c);
}

static int serve_drop_instance(vec_pump *pump, struct vec_command *c)
{
        struct vec_instance *instance = known(pump, c->instance);
        struct vec_conn *conn, *next;
        int r;

        if (!instance)
                return 0;
        if (pump->turn_of == c->instance)
                pump->discard = 1;
        for (conn = instance->conns; conn; conn = next) {
                next = conn->own_next;
                vec_conn_kill(pump, conn, VEC_REASON_RESCINDED);
        }
        vec_slots_destroy(pump, instance);
        r = destroyed(pump, c);
        vec_record_now(pump, VEC_AUDIT_DROP, c->instance, r < 0 ? VEC_AUDIT_WIPED : VEC_AUDIT_WIPED | VEC_AUDIT_READ_BACK);
        return r;
}

static int serve_rescind(vec_pump *pump, struct vec_command *c)
{
        struct vec_instance *instance = known(pump, c->instance);
        struct vec_conn *conn, *next;

        /* Every row of VEC_OPS puts in by a and takes out by r; neither goes without c. */
        if (!instance || !(c->attributes & (VEC_A | VEC_R | VEC_C)))
                return 0;
        if (pump->turn_of == c->instance)
                pump->discard = 1;
        for (conn = instance->conns; conn; conn = next) {
                next = conn->own_next;
                vec_conn_rescind(pump, conn);
        }
        return 0;
}

static int serve_clean(vec_pump *pump, struct vec_command *c)
{
        return vec_turn_clean(pump, &c->reason);
}

static int serve_residue(vec_pump *pump, struct vec_command *c)
{
        *(struct vec_residue *)c->ret = (struct vec_residue){ pump->context, pump->output };
        return 0;
}

static int serve_keys(vec_pump *pump, struct vec_command *c)
{
        struct vec_key_slot *ret = c->ret;
        uint32_t i, count = 0;

        for (i = 0; i < VEC_INSTANCES_MAX; i++) {
                const struct vec_slot *slot = pump->instance[i] ? pump->instance[i]->slots : NULL;

                for (; slot; slot = slot->next, count++)
                        if (count < c->most)
                                ret[count] = (struct vec_key_slot){
                                        .instance = i, .number = slot->number, .alg = slot->alg->number,
                                        .usage = slot->usage, .streams = vec_streams_open(slot->stream),
                                        .drawn = slot->drawn,
                                };
        }
        *c->ret_count = count;
        return 0;
}

static int serve_schedule(vec_pump *pump, struct vec_command *c)
{
        return vec_grid_set(pump, c->strict, c->slot_us, c->shares, c->count, c->round, c->slots);
}

static int serve_shares(vec_pump *pump, struct vec_command *c)
{
        const struct vec_grid *grid = &pump->grid;
        struct vec_share_report *ret = c->ret;
        uint64_t most = UINT64_MAX;
        uint32_t i, count = 0;
        uint8_t op;

        for (i = 0; i < VEC_INSTANCES_MAX; i++) {
                const struct vec_instance *one = pump->instance[i];

                if (!one || (!one->round && !one->turns))
                        continue;
                if (count++ < c->most)
                        ret[count - 1] = (struct vec_share_report){
                                .instance = i, .weight = one->weight, .slots = one->slots_had, .turns = one->turns,
                                .engine_ns = one->engine_ns,
                        };
        }
        for (op = 1; op < COSTS && grid->strict && grid->slots; op++)
                if (vec_cost_most(pump, op) < most)
                        most = vec_cost_most(pump, op);
        *c->ret_count = count;
        *c->ret_grid = (struct vec_grid_report){
                .strict = grid->strict, .slot_us = grid->slot_us, .round = grid->slots,
                .realtime = grid->realtime, .most = most < VEC_DATA_MAX ? (uint32_t)most : VEC_DATA_MAX,
                .slots = pump->counters.slots, .overruns = pump->counters.overruns, .missed = pump->counters.missed,
        };
        return 0;
}

static int serve_counters(vec_pump *pump, struct vec_command *c)
{
        *(struct vec_counters *)c->ret = pump->counters;
        return 0;
}

/* load_key, clean, bind and schedule need the card word, or change it under a turn: they wait for the end of it. */
static const struct vec_row bind_row = { serve_bind, 0, IN_THE_TAIL }, quiesce_row = { serve_quiesce, 1, AT_ONCE },
        schedule_row = { serve_schedule, 0, IN_THE_TAIL }, attach_row = { serve_attach, 1, IN_THE_TAIL },
        load_key_row = { serve_load_key, 0, IN_ITS_SLOT }, drop_key_row = { serve_drop_key, 1, AT_ONCE },
        drop_instance_row = { serve_drop_instance, 1, AT_ONCE }, rescind_row = { serve_rescind, 1, AT_ONCE },
        clean_row = { serve_clean, 0, IN_THE_TAIL }, residue_row = { serve_residue, 1, AT_ONCE },
        keys_row = { serve_keys, 1, AT_ONCE }, shares_row = { serve_shares, 1, AT_ONCE },
        counters_row = { serve_counters, 1, AT_ONCE };

/* ---- the interface (pump.h) ---- */

int vec_pump_bind(vec_pump *pump, int matrices_fd, int word_fd, uint32_t card, uint32_t timeout_ms,
                  uint8_t *ret_reason)
{
        struct vec_command c = { .fd = matrices_fd, .word_fd = word_fd, .card = card };

        return vec_mailbox_post(pump, &c, &bind_row, timeout_ms, ret_reason);
}

int vec_pump_quiesce(vec_pump *pump, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { 0 };

        return vec_mailbox_post(pump, &c, &quiesce_row, timeout_ms, ret_reason);
}

/* The slots of a round, or a negative status for shares that are none. */
static int64_t check_shares(uint32_t strict, uint32_t slot_us, const struct vec_share *shares, uint32_t count)
{
        uint8_t named[VEC_INSTANCES_MAX] = { 0 };
        int64_t slots = 0;
        uint32_t i;

        if (count > VEC_INSTANCES_MAX || (strict && (slot_us < VEC_SLOT_US_MIN || slot_us > VEC_SLOT_US_MAX)))
                return -VEC_EMALFORMED;
        for (i = 0; i < count; i++) {
                if (shares[i].instance >= VEC_NONE || !shares[i].weight || shares[i].weight > VEC_WEIGHT_MAX ||
                    named[shares[i].instance]++)
                        return -VEC_EMALFORMED;
                slots += shares[i].weight;
        }
        return strict && slots * slot_us > VEC_ROUND_US_MAX ? -VEC_EEXHAUSTED : slots;
}

int vec_pump_schedule(vec_pump *pump, uint32_t strict, uint32_t slot_us, const struct vec_share *shares,
                      uint32_t count, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .strict = strict, .slot_us = slot_us, .shares = shares, .count = count };
        int64_t slots = check_shares(strict, slot_us, shares, count);
        int r;

        *ret_reason = VEC_REASON_NONE;
        if (slots < 0)
                return (int)slots;
        if (strict && slots) {
                c.slots = (uint32_t)slots;
                c.round = malloc((size_t)slots * sizeof(*c.round));
                if (!c.round)
                        return -VEC_EEXHAUSTED;
                vec_round_build(shares, count, c.round, c.slots);
        }
        r = vec_mailbox_post(pump, &c, &schedule_row, timeout_ms, ret_reason);
        if (r < 0)
                free(c.round);
        return r;
}

int vec_pump_shares(vec_pump *pump, struct vec_grid_report *ret_grid, struct vec_share_report *ret, uint32_t most,
                    uint32_t *ret_count, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .ret_grid = ret_grid, .ret = ret, .most = most, .ret_count = ret_count };

        return vec_mailbox_post(pump, &c, &shares_row, timeout_ms, ret_reason);
}

int vec_pump_attach(vec_pump *pump, int fd, uint32_t instance, const uint8_t tag[32], uint32_t deadline_ms,
                    uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .fd = fd, .instance = instance, .tag = tag, .deadline_ms = deadline_ms };

        return vec_mailbox_post(pump, &c, &attach_row, timeout_ms, ret_reason);
}

int vec_pump_load_key(vec_pump *pump, uint32_t instance, uint64_t number, uint8_t alg, uint8_t usage,
                      uint64_t handle, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = {
                .instance = instance, .number = number, .alg = alg, .usage = usage, .handle = handle,
        };

        return vec_mailbox_post(pump, &c, &load_key_row, timeout_ms, ret_reason);
}

int vec_pump_drop_key(vec_pump *pump, uint32_t instance, uint64_t number, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .instance = instance, .number = number };

        return vec_mailbox_post(pump, &c, &drop_key_row, timeout_ms, ret_reason);
}

int vec_pump_drop_instance(vec_pump *pump, uint32_t instance, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .instance = instance };

        return vec_mailbox_post(pump, &c, &drop_instance_row, timeout_ms, ret_reason);
}

int vec_pump_rescind(vec_pump *pump, uint32_t instance, uint8_t attributes, uint32_t timeout_ms,
                     uint8_t *ret_reason)
{
        struct vec_command c = { .instance = instance, .attributes = attributes };

        return vec_mailbox_post(pump, &c, &rescind_row, timeout_ms, ret_reason);
}

int vec_pump_clean(vec_pump *pump, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { 0 };

        return vec_mailbox_post(pump, &c, &clean_row, timeout_ms, ret_reason);
}

int vec_pump_residue(vec_pump *pump, struct vec_residue *ret, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .ret = ret };

        return vec_mailbox_post(pump, &c, &residue_row, timeout_ms, ret_reason);
}

int vec_pump_keys(vec_pump *pump, struct vec_key_slot *ret, uint32_t most, uint32_t *ret_count,
                  uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .ret = ret, .most = most, .ret_count = ret_count };

        return vec_mailbox_post(pump, &c, &keys_row, timeout_ms, ret_reason);
}

int vec_pump_counters(vec_pump *pump, struct vec_counters *ret, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .ret = ret };

        return vec_mailbox_post(pump, &c, &counters_row, timeout_ms, ret_reason);
}
