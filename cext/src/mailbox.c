/*
 * Commands for the pump from other threads: a list under a lock, an eventfd that wakes the pump, a condition on
 * which the caller waits. commands.c has what they do.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "mailbox_parts.h"

enum { QUEUED, RUNNING, DONE, RUNNING_MS = 100, LOAD_NS = 500000 };

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

/* Strict: is it the time for it? Who has no slot is told so in anybody's tail. */
static int its_time(const vec_pump *pump, const struct vec_command *c)
{
        const struct vec_instance *instance;

        if (!pump->grid.strict || c->row->when == AT_ONCE)
                return 1;
        if (c->row->when == IN_THE_TAIL)
                return vec_grid_tail(pump);
        instance = c->instance < VEC_INSTANCES_MAX ? pump->instance[c->instance] : NULL;
        return instance && instance->round
                       ? vec_grid_lets(pump, instance) && vec_now_ns() + LOAD_NS < pump->grid.closes
                       : vec_grid_tail(pump);
}

/* Under the lock: the first command that may be done now, off the list. Without a pump, the first of all. */
static struct vec_command *take(struct vec_mailbox *box, const vec_pump *pump, int in_turn)
{
        struct vec_command **link, *before = NULL, *command;

        for (link = &box->first; (command = *link); before = command, link = &command->next)
                if (!pump || ((!in_turn || command->row->in_turn) && its_time(pump, command)))
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
        while ((command = take(box, pump, in_turn))) {
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
        while ((command = take(box, NULL, 0))) {
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

int vec_mailbox_post(vec_pump *pump, struct vec_command *command, const struct vec_row *row, uint32_t timeout_ms,
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
