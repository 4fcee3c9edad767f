/*
 * share = "strict": turns on a grid of time, which nobody can move.
 *
 * Slot n is the time from n to n + 1 slot lengths on CLOCK_MONOTONIC and belongs to row n % slots of the round, whoever
 * has something to do. So when a slot begins depends on the clock and the schedule alone. In it:
 *
 *   begins ........................ closes .......................... ends
 *   the owner's: its connections    its residue is wiped (R12);       the next one begins
 *   are read, it has turns and      then nobody's: commands that
 *   keys are loaded, answers go     belong to no slot, ended
 *   out                             connections are freed
 *
 * Only the owner's connections are looked at (an epoll set for each instance), and nothing is begun that may not end
 * before the slot closes (cost.c). What it left is wiped in its own slot. If that ends late all the same, it is
 * counted as an overrun: the next slot has begun by the clock and ends when it would have, so only its owner loses
 * time, and nobody after it.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "pump_parts.h"

enum { EVENTS = 64, TAIL_NS = 300000, SMALL_NS = 100000, READING = 1, JUDGING };

/* ---- life ---- */

int vec_grid_open(vec_pump *pump)
{
        struct epoll_event event = { .events = EPOLLIN };

        pump->grid.strict = (uint8_t)!!pump->options.strict;
        pump->grid.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (pump->grid.timer < 0 || epoll_ctl(pump->epoll, EPOLL_CTL_ADD, pump->grid.timer, &event) < 0)
                return -VEC_EFAILED;
        return pump->grid.strict ? vec_cost_measure(pump) : 0;
}

/*
 * The kernel is fair, too: beside other programs it would make up in the next slot for what a busy owner used in this
 * one, and so let it show. With a real-time priority nobody's use is held against the next one.
 */
void vec_grid_hurry(vec_pump *pump)
{
        const struct sched_param first = { .sched_priority = pump->grid.strict };

        pump->grid.realtime =
                pthread_setschedparam(pthread_self(), pump->grid.strict ? SCHED_RR : SCHED_OTHER, &first) == 0 &&
                pump->grid.strict;
}

void vec_grid_close(vec_pump *pump)
{
        if (pump->grid.timer >= 0)
                close(pump->grid.timer);
        free(pump->grid.round);
}

/* ---- the schedule ---- */

/* An absolute time that is past fires at once; 0 never does. */
static void wake_at(const vec_pump *pump, uint64_t ns)
{
        const struct itimerspec at = {
                .it_value = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) },
        };

        timerfd_settime(pump->grid.timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void watch_everybody(vec_pump *pump)
{
        struct vec_conn *conn, *next;

        for (conn = pump->conns; conn; conn = next) {
                next = conn->next;
                if (vec_conn_watch(pump, conn) < 0)
                        vec_conn_kill(pump, conn, VEC_REASON_NONE);
        }
}

/* They are not looked at before they are taken into a batch, so each of them has to fit. */
static int small_frames_fit(const vec_pump *pump)
{
        size_t count, n;
        const struct vec_op_row *row = vec_op_rows(&count);

        for (n = 0; n < count; n++)
                if (pump->grid.slot_ns <= pump->grid.tail_ns || vec_cost_most(pump, row[n].number) < RX_SIZE)
                        return 0;
        return 1;
}

int vec_grid_set(vec_pump *pump, uint32_t strict, uint32_t slot_us, const struct vec_share *shares, uint32_t count,
                 uint16_t *round, uint32_t slots)
{
        struct vec_grid *grid = &pump->grid, before = *grid;
        uint32_t i;
        int r;

        if (strict) {
                r = vec_cost_measure(pump);
                if (r < 0)
                        return r;
                grid->slot_us = slot_us;
                grid->slot_ns = (uint64_t)slot_us * 1000;
                grid->tail_ns = TAIL_NS + pump->cost.wipe;
                if (!small_frames_fit(pump)) {
                        *grid = before;
                        return -VEC_ETOOLARGE;
                }
        }
        for (i = 0; i < count; i++)
                if (!vec_instance_get(pump, shares[i].instance)) {
                        *grid = before;
                        return -VEC_EEXHAUSTED;
                }
        vec_turn_close(pump);
        wake_at(pump, 0);
        free(grid->round);
        grid->round = round;
        grid->slots = slots;
        grid->instances = strict ? count : 0;
        grid->strict = (uint8_t)!!strict;
        grid->open = 0;
        grid->owner = NULL;
        grid->ends = 0;
        pump->ring = pump->ring_last = NULL;
        for (i = 0; i < VEC_INSTANCES_MAX; i++)
                if (pump->instance[i]) {
                        pump->instance[i]->weight = 1;
                        pump->instance[i]->round = pump->instance[i]->ringed = 0;
                        pump->instance[i]->deficit = 0;
                }
        for (i = 0; i < count; i++) {
                pump->instance[shares[i].instance]->weight = shares[i].weight;
                pump->instance[shares[i].instance]->round = strict ? shares[i].weight : 0;
        }
        if (before.strict != grid->strict) {
                watch_everybody(pump);
                vec_grid_hurry(pump);
        }
        for (i = 0; i < VEC_INSTANCES_MAX; i++)
                if (pump->instance[i] && pump->instance[i]->ready)
                        vec_ring_add(pump, pump->instance[i]);
        return 0;
}

/* ---- by the clock ---- */

static void begin_slot(vec_pump *pump, uint64_t now)
{
        struct vec_grid *grid = &pump->grid;
        uint64_t number = now / grid->slot_ns;

        if (grid->ends && number > grid->number + 1)
                pump->counters.missed += number - grid->number - 1;
        grid->number = number;
        grid->ends = (number + 1) * grid->slot_ns;
        grid->closes = grid->ends - grid->tail_ns;
        grid->owner = pump->instance[grid->round[number % grid->slots]];
        grid->owner->slots_had++;
        grid->open = 1;
        grid->full = 0;
        grid->fresh = READING;
        grid->turns = pump->counters.turns;
        pump->counters.slots++;
        wake_at(pump, grid->closes);
}

static void end_slot(vec_pump *pump)
{
        struct vec_grid *grid = &pump->grid;
        uint64_t now;

        vec_turn_close(pump);
        grid->open = 0;
        now = vec_now_ns();
        if (pump->counters.turns != grid->turns && now > grid->ends) {
                pump->counters.overruns++;
                vec_pump_tell(pump, VEC_EVENT_OVERRUN, grid->owner->index, now - grid->ends, VEC_REASON_NONE);
        }
        wake_at(pump, grid->ends);
}

static void look_at_the_grid(vec_pump *pump)
{
        struct vec_grid *grid = &pump->grid;
        uint64_t now = vec_now_ns();

        if (!grid->slots)
                return;
        if (grid->open && now >= grid->closes)
                end_slot(pump);
        /* The tail's work is small, but not nothing: look again. */
        if (!grid->open && vec_now_ns() >= grid->ends)
                begin_slot(pump, vec_now_ns());
}

int vec_grid_lets(const vec_pump *pump, const struct vec_instance *instance)
{
        const struct vec_grid *grid = &pump->grid;

        return !grid->strict || (grid->open && grid->owner == instance && vec_now_ns() < grid->closes);
}

int vec_grid_tail(const vec_pump *pump)
{
        const struct vec_grid *grid = &pump->grid;

        return !grid->strict || !grid->slots || (!grid->open && vec_now_ns() + SMALL_NS < grid->ends);
}

/* ---- the loop ---- */

static void in_the_slot(vec_pump *pump)
{
        struct vec_grid *grid = &pump->grid;

        /* What came since its last slot is read before it is judged late. */
        if (grid->fresh == JUDGING) {
                vec_conn_deadlines_of(pump, grid->owner, vec_now_ns());
                grid->fresh = 0;
        }
        if (grid->owner->ready && !grid->full && vec_grid_lets(pump, grid->owner))
                grid->full = (uint8_t)!vec_turn(pump, grid->owner);
        if (pump->starved)
                vec_conn_feed(pump, grid->owner);
}

int vec_grid_step(vec_pump *pump)
{
        struct vec_grid *grid = &pump->grid;
        struct epoll_event events[EVENTS];
        int i, count, epoll, busy;

        look_at_the_grid(pump);
        vec_mailbox_serve(pump, 0);
        if (grid->open)
                in_the_slot(pump);
        else
                while (pump->dead && vec_grid_tail(pump))
                        vec_conn_reap_one(pump);
        busy = grid->open && (grid->fresh || (grid->owner->ready && !grid->full));
        epoll = grid->open && grid->owner->epoll >= 0 ? grid->owner->epoll : pump->epoll;
        count = epoll_wait(epoll, events, EVENTS, busy ? 0 : -1);
        if (count < 0)
                return errno == EINTR ? 0 : -VEC_EINTERNAL;
        for (i = 0; i < count; i++) {
                struct vec_conn *conn = events[i].data.ptr;

                if (!conn)
                        vec_pump_drain_wake(pump);
                else if (vec_grid_lets(pump, conn->instance))
                        vec_conn_event(pump, conn, events[i].events);
        }
        if (grid->fresh == READING)
                grid->fresh = JUDGING;
        return 0;
}
