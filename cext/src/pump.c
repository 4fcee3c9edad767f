/* The pump's life, its loop and its events: pump.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

#include "pump_parts.h"
#include "vec/arena.h"

enum { EVENTS = 64, TICK_MS = 100, MS = 1000000 };

uint64_t vec_now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void vec_pump_defaults(struct vec_pump_options *ret)
{
        *ret = (struct vec_pump_options){
                .credit = 64 << 20, .connections = 1024, .keys = UINT32_MAX, .stall_ms = 30000, .busy_ms = 1000,
                .idle_ms = 1000, .iv_max = UINT64_C(1) << 32, .stream_max = UINT64_MAX,
        };
}

/* ---- events ---- */

void vec_pump_tell(vec_pump *pump, enum vec_event_kind kind, uint32_t instance, uint64_t value, uint8_t reason)
{
        struct vec_event_node *node = calloc(1, sizeof(*node));
        const uint64_t one = 1;

        /* The state itself can be asked for, so a lost event is a delay and not a lie. */
        if (!node)
                return;
        node->event = (struct vec_event){ .kind = (uint8_t)kind, .reason = reason, .instance = instance, .value = value };
        pthread_mutex_lock(&pump->event_lock);
        if (pump->event_last)
                pump->event_last->next = node;
        else
                pump->event = node;
        pump->event_last = node;
        pthread_mutex_unlock(&pump->event_lock);
        if (write(pump->event_fd, &one, sizeof(one)) < 0)
                errno = 0;
}

int vec_pump_event(vec_pump *pump, struct vec_event *ret)
{
        struct vec_event_node *node;
        uint64_t count;

        pthread_mutex_lock(&pump->event_lock);
        node = pump->event;
        if (node) {
                pump->event = node->next;
                if (!pump->event)
                        pump->event_last = NULL;
        } else if (read(pump->event_fd, &count, sizeof(count)) < 0) {
                errno = 0;
        }
        pthread_mutex_unlock(&pump->event_lock);
        if (!node)
                return -VEC_EUNKNOWN;
        *ret = node->event;
        free(node);
        return 0;
}

vec_audit *vec_pump_audit(const vec_pump *pump)
{
        return pump->audit;
}

int vec_pump_event_fd(const vec_pump *pump)
{
        return pump->event_fd;
}

void vec_pump_out_of_service(vec_pump *pump)
{
        if (pump->out_of_service)
                return;
        pump->out_of_service = 1;
        /* q stays for good where it is set; where it is not, nothing may enter from here either. */
        if (pump->word)
                vec_card_quiesce(pump->word);
        vec_pump_tell(pump, VEC_EVENT_OUT_OF_SERVICE, VEC_NONE, 0, VEC_REASON_OUT_OF_SERVICE);
}

/* ---- life ---- */

int vec_pump_new(const struct vec_driver *driver, const struct vec_pump_options *options, vec_pump **ret_pump)
{
        struct vec_pump *pump = calloc(1, sizeof(*pump));
        struct epoll_event wake = { .events = EPOLLIN };
        void *out = NULL;
        int r = -VEC_EEXHAUSTED, secret;

        if (!pump)
                return r;
        /* A single large frame needs credit for body and answer from an instance's half. */
        if (options->credit / 2 < 2 * BUFFER_LARGE || !options->connections || !options->keys) {
                free(pump);
                return -VEC_EMALFORMED;
        }
        pump->driver = driver;
        pump->options = *options;
        pump->credit_left = (int64_t)options->credit;
        pump->context = pump->output = pump->turn_of = VEC_NONE;
        pump->epoll = pump->event_fd = pump->grid.timer = -1;
        pthread_mutex_init(&pump->event_lock, NULL);
        r = vec_mailbox_open(&pump->mailbox);
        if (r < 0)
                goto fail_box;
        r = vec_locked_map(OUT_SIZE, &out, &secret);
        if (r < 0)
                goto fail;
        pump->out = out;
        r = -VEC_EFAILED;
        pump->epoll = epoll_create1(EPOLL_CLOEXEC);
        pump->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (pump->epoll < 0 || pump->event_fd < 0 ||
            epoll_ctl(pump->epoll, EPOLL_CTL_ADD, pump->mailbox.wake, &wake) < 0)
                goto fail;
        r = vec_audit_new(&pump->audit);
        if (r == 0)
                r = driver->open(&pump->engine);
        if (r == 0)
                r = vec_grid_open(pump);
        if (r < 0)
                goto fail;
        *ret_pump = pump;
        return 0;
fail:
        if (pump->engine)
                driver->close(pump->engine);
        vec_grid_close(pump);
        vec_audit_free(pump->audit);
        vec_locked_unmap(pump->out, OUT_SIZE);
        if (pump->epoll >= 0)
                close(pump->epoll);
        if (pump->event_fd >= 0)
                close(pump->event_fd);
        vec_mailbox_close(&pump->mailbox);
fail_box:
        pthread_mutex_destroy(&pump->event_lock);
        free(pump);
        return r;
}

void vec_pump_free(vec_pump *pump)
{
        struct vec_event event;
        unsigned i;

        if (!pump)
                return;
        for (i = 0; i < VEC_INSTANCES_MAX; i++)
                if (pump->instance[i]) {
                        if (pump->instance[i]->epoll >= 0)
                                close(pump->instance[i]->epoll);
                        free(pump->instance[i]);
                }
        vec_grid_close(pump);
        pump->driver->close(pump->engine);
        vec_audit_free(pump->audit);
        vec_buffers_free(pump);
        vec_locked_unmap(pump->out, OUT_SIZE);
        if (pump->word) {
                vec_matrices_unmap(pump->matrices);
                vec_word_unmap(pump->word);
        }
        while (vec_pump_event(pump, &event) == 0)
                ;
        close(pump->epoll);
        close(pump->event_fd);
        vec_mailbox_close(&pump->mailbox);
        pthread_mutex_destroy(&pump->event_lock);
        free(pump);
}

void vec_pump_stop(vec_pump *pump)
{
        const uint64_t one = 1;

        atomic_store(&pump->stopping, 1);
        if (write(pump->mailbox.wake, &one, sizeof(one)) < 0)
                errno = 0;
}

static void destroy_everything(vec_pump *pump)
{
        unsigned i;

        while (pump->conns)
                vec_conn_kill(pump, pump->conns, VEC_REASON_NONE);
        vec_conn_reap(pump);
        for (i = 0; i < VEC_INSTANCES_MAX; i++)
                if (pump->instance[i])
                        vec_slots_destroy(pump, pump->instance[i]);
        vec_engine_wipe(pump);
}

/* ---- the loop ---- */

/* Whoever is first by its share has its turn. */
static void one_turn(vec_pump *pump)
{
        struct vec_instance *instance = vec_fair_next(pump);

        if (!instance)
                return;
        vec_turn(pump, instance);
        vec_fair_done(pump, instance);
        pump->idle_told = 0;
}

static int idle_due(const vec_pump *pump)
{
        return pump->last_request && !pump->idle_told;
}

static int wait_ms(const vec_pump *pump)
{
        if (pump->ring)
                return 0;
        return pump->waiting || idle_due(pump) ? TICK_MS : -1;
}

static void look_at_the_clock(vec_pump *pump)
{
        uint64_t now = vec_now_ns();

        if (now - pump->now < (uint64_t)TICK_MS * MS)
                return;
        pump->now = now;
        if (pump->waiting)
                vec_conn_deadlines(pump, now);
        if (idle_due(pump) && now - pump->last_request > (uint64_t)pump->options.idle_ms * MS) {
                pump->idle_told = 1;
                vec_pump_tell(pump, VEC_EVENT_IDLE, VEC_NONE, 0, VEC_REASON_NONE);
        }
}

void vec_pump_drain_wake(const vec_pump *pump)
{
        uint64_t count;

        if (read(pump->mailbox.wake, &count, sizeof(count)) < 0)
                errno = 0;
}

/* Once round the loop; grid.c has the other one. */
static int fair_step(vec_pump *pump)
{
        struct epoll_event events[EVENTS];
        int i, count = epoll_wait(pump->epoll, events, EVENTS, wait_ms(pump));

        if (count < 0 && errno != EINTR)
                return -VEC_EINTERNAL;
        for (i = 0; i < count; i++) {
                if (events[i].data.ptr)
                        vec_conn_event(pump, events[i].data.ptr, events[i].events);
                else
                        vec_pump_drain_wake(pump);
        }
        vec_mailbox_serve(pump, 0);
        if (pump->ring)
                one_turn(pump);
        if (pump->starved)
                vec_conn_feed(pump, NULL);
        look_at_the_clock(pump);
        vec_conn_reap(pump);
        return 0;
}

int vec_pump_run(vec_pump *pump)
{
        sigset_t all;
        int r = 0;

        /* Signals are the main thread's. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        /* libcrypto's state of this thread, made outside the arena. */
        ERR_clear_error();
        vec_grid_hurry(pump);
        while (r == 0 && !atomic_load_explicit(&pump->stopping, memory_order_relaxed))
                r = pump->grid.strict ? vec_grid_step(pump) : fair_step(pump);
        destroy_everything(pump);
        vec_mailbox_end(&pump->mailbox);
        return r;
}
