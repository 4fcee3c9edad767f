/*
 * Commands for the pump from other threads: a list under a lock, an eventfd that wakes the pump, a condition on
 * which the caller waits. What a command does is its row; a row says whether it may be done in the middle of
 * a turn, where the guard may be waiting for just that before it lets go of the card word.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "pump_parts.h"
#include "vec/arena.h"

enum { QUEUED, RUNNING, DONE, RUNNING_MS = 100 };

struct vec_command {
        struct vec_command *next;
        const struct row *row;
        uint32_t instance, card, deadline_ms, most;
        uint64_t number, handle;
        int fd, word_fd, status, state;
        uint8_t alg, usage, attributes, reason;
        const uint8_t *tag;
        void *ret;
        uint32_t *ret_count;
};

struct row {
        int (*serve)(vec_pump *pump, struct vec_command *command);
        uint8_t in_turn;
};

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

static int serve_attach(vec_pump *pump, struct vec_command *c)
{
        struct vec_instance *instance = vec_instance_get(pump, c->instance);

        if (c->instance >= VEC_INSTANCES_MAX)
                return -VEC_EMALFORMED;
        return instance ? vec_conn_attach(pump, c->fd, instance, c->tag, c->deadline_ms) : -VEC_EEXHAUSTED;
}

static int serve_load_key(vec_pump *pump, struct vec_command *c)
{
        struct vec_instance *instance = vec_instance_get(pump, c->instance);

        if (c->instance >= VEC_INSTANCES_MAX)
                return -VEC_EMALFORMED;
        if (!instance)
                return -VEC_EEXHAUSTED;
        return vec_turn_load_key(pump, instance, c->number, c->alg, c->usage, c->handle, &c->reason);
}

static struct vec_instance *known(const vec_pump *pump, uint32_t index)
{
        return index < VEC_INSTANCES_MAX ? pump->instance[index] : NULL;
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
        for (conn = pump->conns; conn; conn = next) {
                next = conn->next;
                if (conn->instance == instance)
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
        for (conn = pump->conns; conn; conn = next) {
                next = conn->next;
                if (conn->instance == instance)
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

static int serve_counters(vec_pump *pump, struct vec_command *c)
{
        *(struct vec_counters *)c->ret = pump->counters;
        return 0;
}

/* load_key, clean and bind need the card word, or change it under a turn: they wait for the end of it. */
static const struct row bind_row = { serve_bind, 0 }, quiesce_row = { serve_quiesce, 1 },
        attach_row = { serve_attach, 1 }, load_key_row = { serve_load_key, 0 }, drop_key_row = { serve_drop_key, 1 },
        drop_instance_row = { serve_drop_instance, 1 }, rescind_row = { serve_rescind, 1 },
        clean_row = { serve_clean, 0 }, residue_row = { serve_residue, 1 }, keys_row = { serve_keys, 1 },
        counters_row = { serve_counters, 1 };

/* ---- the box ---- */

int vec_mailbox_open(struct vec_mailbox *box)
{
        pthread_condattr_t monotonic;

        box->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (box->wake < 0)
                return -VEC_EFAILED;
        pthread_mutex_init(&box->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&box->done, &monotonic);
        pthread_condattr_destroy(&monotonic);
        return 0;
}

void vec_mailbox_close(struct vec_mailbox *box)
{
        close(box->wake);
        pthread_cond_destroy(&box->done);
        pthread_mutex_destroy(&box->lock);
}

/* Under the lock: the first command that may be done now, off the list. */
static struct vec_command *take(struct vec_mailbox *box, int in_turn)
{
        struct vec_command **link, *before = NULL, *command;

        for (link = &box->first; (command = *link); before = command, link = &command->next)
                if (!in_turn || command->row->in_turn)
                        break;
        if (!command)
                return NULL;
        *link = command->next;
        if (box->last == command)
                box->last = before;
        return command;
}

void vec_mailbox_serve(vec_pump *pump, int in_turn)
{
        struct vec_mailbox *box = &pump->mailbox;
        struct vec_command *command;

        if (!atomic_load_explicit(&box->posted, memory_order_acquire))
                return;
        pthread_mutex_lock(&box->lock);
        while ((command = take(box, in_turn))) {
                command->state = RUNNING;
                pthread_mutex_unlock(&box->lock);
                command->status = command->row->serve(pump, command);
                pthread_mutex_lock(&box->lock);
                command->state = DONE;
                atomic_fetch_sub(&box->posted, 1);
                pthread_cond_broadcast(&box->done);
        }
        pthread_mutex_unlock(&box->lock);
}

void vec_mailbox_end(struct vec_mailbox *box)
{
        struct vec_command *command;

        pthread_mutex_lock(&box->lock);
        box->ended = 1;
        while ((command = take(box, 0))) {
                command->status = -VEC_EGONE;
                command->state = DONE;
                atomic_fetch_sub(&box->posted, 1);
        }
        pthread_cond_broadcast(&box->done);
        pthread_mutex_unlock(&box->lock);
}

static struct timespec in_ms(uint32_t ms)
{
        struct timespec at;

        clock_gettime(CLOCK_MONOTONIC, &at);
        at.tv_sec += ms / 1000;
        at.tv_nsec += (long)(ms % 1000) * 1000000;
        if (at.tv_nsec >= 1000000000) {
                at.tv_sec++;
                at.tv_nsec -= 1000000000;
        }
        return at;
}

/* Off the list, if nobody began with it. */
static int withdraw(struct vec_mailbox *box, struct vec_command *command)
{
        struct vec_command **link, *before = NULL;

        if (command->state != QUEUED)
                return 0;
        for (link = &box->first; *link != command; link = &(*link)->next)
                before = *link;
        *link = command->next;
        if (box->last == command)
                box->last = before;
        atomic_fetch_sub(&box->posted, 1);
        return 1;
}

/* Put it in the box and wait. What the pump has begun it ends soon, so that is waited for: nothing is done twice. */
static int post(vec_pump *pump, struct vec_command *command, const struct row *row, uint32_t timeout_ms,
                uint8_t *ret_reason)
{
        struct vec_mailbox *box = &pump->mailbox;
        struct timespec until = in_ms(timeout_ms);
        const uint64_t one = 1;

        command->row = row;
        *ret_reason = VEC_REASON_NONE;
        pthread_mutex_lock(&box->lock);
        if (box->ended) {
                pthread_mutex_unlock(&box->lock);
                return -VEC_EGONE;
        }
        if (box->last)
                box->last->next = command;
        else
                box->first = command;
        box->last = command;
        atomic_fetch_add(&box->posted, 1);
        /* Only a full counter fails, and then it is readable anyway. */
        if (write(box->wake, &one, sizeof(one)) < 0)
                errno = 0;
        while (command->state != DONE) {
                if (pthread_cond_timedwait(&box->done, &box->lock, &until) != ETIMEDOUT)
                        continue;
                if (withdraw(box, command)) {
                        pthread_mutex_unlock(&box->lock);
                        return -VEC_ETIMEOUT;
                }
                until = in_ms(RUNNING_MS);
        }
        pthread_mutex_unlock(&box->lock);
        *ret_reason = command->reason;
        return command->status;
}

/* ---- the interface (pump.h) ---- */

int vec_pump_bind(vec_pump *pump, int matrices_fd, int word_fd, uint32_t card, uint32_t timeout_ms,
                  uint8_t *ret_reason)
{
        struct vec_command c = { .fd = matrices_fd, .word_fd = word_fd, .card = card };

        return post(pump, &c, &bind_row, timeout_ms, ret_reason);
}

int vec_pump_quiesce(vec_pump *pump, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { 0 };

        return post(pump, &c, &quiesce_row, timeout_ms, ret_reason);
}

int vec_pump_attach(vec_pump *pump, int fd, uint32_t instance, const uint8_t tag[32], uint32_t deadline_ms,
                    uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .fd = fd, .instance = instance, .tag = tag, .deadline_ms = deadline_ms };

        return post(pump, &c, &attach_row, timeout_ms, ret_reason);
}

int vec_pump_load_key(vec_pump *pump, uint32_t instance, uint64_t number, uint8_t alg, uint8_t usage,
                      uint64_t handle, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = {
                .instance = instance, .number = number, .alg = alg, .usage = usage, .handle = handle,
        };

        return post(pump, &c, &load_key_row, timeout_ms, ret_reason);
}

int vec_pump_drop_key(vec_pump *pump, uint32_t instance, uint64_t number, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .instance = instance, .number = number };

        return post(pump, &c, &drop_key_row, timeout_ms, ret_reason);
}

int vec_pump_drop_instance(vec_pump *pump, uint32_t instance, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .instance = instance };

        return post(pump, &c, &drop_instance_row, timeout_ms, ret_reason);
}

int vec_pump_rescind(vec_pump *pump, uint32_t instance, uint8_t attributes, uint32_t timeout_ms,
                     uint8_t *ret_reason)
{
        struct vec_command c = { .instance = instance, .attributes = attributes };

        return post(pump, &c, &rescind_row, timeout_ms, ret_reason);
}

int vec_pump_clean(vec_pump *pump, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { 0 };

        return post(pump, &c, &clean_row, timeout_ms, ret_reason);
}

int vec_pump_residue(vec_pump *pump, struct vec_residue *ret, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .ret = ret };

        return post(pump, &c, &residue_row, timeout_ms, ret_reason);
}

int vec_pump_keys(vec_pump *pump, struct vec_key_slot *ret, uint32_t most, uint32_t *ret_count,
                  uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .ret = ret, .most = most, .ret_count = ret_count };

        return post(pump, &c, &keys_row, timeout_ms, ret_reason);
}

int vec_pump_counters(vec_pump *pump, struct vec_counters *ret, uint32_t timeout_ms, uint8_t *ret_reason)
{
        struct vec_command c = { .ret = ret };

        return post(pump, &c, &counters_row, timeout_ms, ret_reason);
}
