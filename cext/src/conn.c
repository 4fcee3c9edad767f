/*
 * One data connection: its life, what it waits for, and until when. receive.c has its bytes in, send.c its bytes out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conn_parts.h"
#include "vec/arena.h"

enum { MS = 1000000 };

/* ---- lists ---- */

void vec_conn_ready(struct vec_conn *conn)
{
        struct vec_instance *instance = conn->instance;

        conn->ready_next = NULL;
        if (instance->ready_last)
                instance->ready_last->ready_next = conn;
        else
                instance->ready = conn;
        instance->ready_last = conn;
        conn->queued = 1;
}

static void ready_remove(struct vec_conn *conn)
{
        struct vec_instance *instance = conn->instance;
        struct vec_conn **link, *before = NULL;

        for (link = &instance->ready; *link && *link != conn; link = &(*link)->ready_next)
                before = *link;
        if (!*link)
                return;
        *link = conn->ready_next;
        if (instance->ready_last == conn)
                instance->ready_last = before;
        conn->queued = 0;
}

void vec_conn_starve(vec_pump *pump, struct vec_conn *conn)
{
        conn->starved_next = NULL;
        if (pump->starved_last)
                pump->starved_last->starved_next = conn;
        else
                pump->starved = conn;
        pump->starved_last = conn;
        conn->starved = 1;
}

void vec_conn_unstarve(vec_pump *pump, struct vec_conn *conn)
{
        struct vec_conn **link, *before = NULL;

        for (link = &pump->starved; *link && *link != conn; link = &(*link)->starved_next)
                before = *link;
        if (!*link)
                return;
        *link = conn->starved_next;
        if (pump->starved_last == conn)
                pump->starved_last = before;
        conn->starved = 0;
}

static void own_add(struct vec_conn *conn)
{
        conn->own_next = conn->instance->conns;
        if (conn->own_next)
                conn->own_next->own_prev = conn;
        conn->instance->conns = conn;
}

static void own_remove(struct vec_conn *conn)
{
        if (conn->own_prev)
                conn->own_prev->own_next = conn->own_next;
        else
                conn->instance->conns = conn->own_next;
        if (conn->own_next)
                conn->own_next->own_prev = conn->own_prev;
}

/* ---- what it waits for ---- */

/* The set of an instance, made with its first connection: what ends a wait is in it as well. */
static int own_set(vec_pump *pump, struct vec_instance *instance)
{
        struct epoll_event event = { .events = EPOLLIN };

        if (instance->epoll >= 0)
                return instance->epoll;
        instance->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (instance->epoll < 0)
                return -1;
        if (epoll_ctl(instance->epoll, EPOLL_CTL_ADD, pump->mailbox.wake, &event) < 0 ||
            epoll_ctl(instance->epoll, EPOLL_CTL_ADD, pump->grid.timer, &event) < 0) {
                close(instance->epoll);
                instance->epoll = -1;
        }
        return instance->epoll;
}

int vec_conn_watch(vec_pump *pump, struct vec_conn *conn)
{
        struct epoll_event event = { .events = conn->interest, .data.ptr = conn };
        int set = pump->grid.strict ? own_set(pump, conn->instance) : pump->epoll;

        if (set < 0)
                return -VEC_EEXHAUSTED;
        if (conn->epoll >= 0)
                epoll_ctl(conn->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
        if (epoll_ctl(set, EPOLL_CTL_ADD, conn->fd, &event) < 0)
                return errno == EEXIST ? -VEC_EEXISTS : -VEC_EEXHAUSTED;
        conn->epoll = set;
        return 0;
}

static enum conn_wait waits_for(const struct vec_conn *conn)
{
        if (conn->state == CONN_DEAD)
                return WAIT_NOTHING;
        if (tx_pending(conn))
                return WAIT_READER;
        if (conn->starved)
                return WAIT_CREDIT;
        if (conn->state == CONN_ATTACHING)
                return WAIT_TAG;
        /* What is complete waits for us. */
        if (conn->queued || conn->state == CONN_CLOSING)
                return WAIT_NOTHING;
        return conn->rx_end != conn->rx_start || conn->large || conn->skip ? WAIT_FRAME : WAIT_NOTHING;
}

/* Deadlines count from the start of a wait and are not moved by single bytes: a slow drip holds nothing for long. */
void vec_conn_arm(vec_pump *pump, struct vec_conn *conn)
{
        enum conn_wait wait = waits_for(conn);
        uint32_t interest = 0;
        struct epoll_event event = { .data.ptr = conn };

        if (wait != conn->wait) {
                pump->waiting += (wait != WAIT_NOTHING) - (conn->wait != WAIT_NOTHING);
                conn->wait = wait;
                conn->deadline = vec_now_ns() +
                                 (uint64_t)(wait == WAIT_TAG ? conn->attach_ms : pump->options.stall_ms) * MS;
        }
        if (conn->state == CONN_DEAD)
                return;
        if (tx_pending(conn))
                interest = EPOLLOUT;
        else if (!conn->starved && !conn->eof && conn->state != CONN_CLOSING && !large_complete(conn))
                interest = EPOLLIN;
        if (interest == conn->interest)
                return;
        conn->interest = interest;
        event.events = interest;
        if (epoll_ctl(conn->epoll, EPOLL_CTL_MOD, conn->fd, &event) < 0)
                vec_conn_kill(pump, conn, VEC_REASON_NONE);
}

/* The frame it waited for is there: the next one has time of its own. */
void vec_conn_wait_anew(vec_pump *pump, struct vec_conn *conn)
{
        pump->waiting -= conn->wait != WAIT_NOTHING;
        conn->wait = WAIT_NOTHING;
}

/* ---- life ---- */

/* Strict: each instance has its part, so that nobody's number of connections is another one's business. */
static uint32_t connections_left(const vec_pump *pump, const struct vec_instance *instance)
{
        uint32_t most = pump->options.connections, open = (uint32_t)pump->counters.connections;

        if (pump->grid.strict && pump->grid.instances) {
                most = most / pump->grid.instances ? most / pump->grid.instances : 1;
                open = instance->connections;
        }
        return open < most ? most - open : 0;
}

int vec_conn_attach(vec_pump *pump, int fd, struct vec_instance *instance, const uint8_t tag[32], uint32_t deadline_ms)
{
        struct vec_header ready = { .op = VEC_CONTROL_ATTACH, .flags = VEC_F_REPLY };
        uint8_t header[VEC_HEADER_SIZE];
        struct iovec iov = { header, sizeof(header) };
        int family = 0, type = 0, r;
        socklen_t size = sizeof(int);
        struct vec_conn *conn;

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM ||
            (family != AF_UNIX && family != AF_VSOCK))
                return -VEC_EMALFORMED;
        if (!connections_left(pump, instance))
                return -VEC_EEXHAUSTED;
        conn = calloc(1, sizeof(*conn));
        if (!conn || !(conn->rx = malloc(RX_SIZE))) {
                free(conn);
                return -VEC_EEXHAUSTED;
        }
        conn->fd = fd;
        conn->epoll = -1;
        conn->instance = instance;
        conn->state = CONN_ATTACHING;
        conn->attach_ms = deadline_ms;
        conn->interest = EPOLLIN;
        memcpy(conn->tag, tag, sizeof(conn->tag));
        r = vec_conn_watch(pump, conn);
        if (r < 0) {
                free(conn->rx);
                free(conn);
                return r;
        }
        own_add(conn);
        conn->next = pump->conns;
        if (pump->conns)
                pump->conns->prev = conn;
        pump->conns = conn;
        pump->counters.connections++;
        instance->connections++;
        vec_header_build(&ready, header);
        vec_conn_send(pump, conn, &iov, 1);
        vec_conn_arm(pump, conn);
        return 0;
}

/*
 * Its memory stays until vec_conn_reap: a running turn may be looking at it. The descriptor may have copies in
 * other processes (the broker's), so closing it alone would neither leave the epoll set nor tell the peer.
 */
void vec_conn_kill(vec_pump *pump, struct vec_conn *conn, uint8_t why)
{
        if (conn->state == CONN_DEAD)
                return;
        conn->instance->attached -= conn->proved;
        conn->state = CONN_DEAD;
        if (!conn->why)
                conn->why = why;
        vec_conn_arm(pump, conn);
        epoll_ctl(conn->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
        shutdown(conn->fd, SHUT_RDWR);
        close(conn->fd);
        if (conn->prev)
                conn->prev->next = conn->next;
        else
                pump->conns = conn->next;
        if (conn->next)
                conn->next->prev = conn->prev;
        own_remove(conn);
        if (conn->queued)
                ready_remove(conn);
        if (conn->starved)
                vec_conn_unstarve(pump, conn);
        vec_streams_close_of(pump, conn->instance, conn);
        conn->next = pump->dead;
        pump->dead = conn;
        pump->counters.connections--;
        conn->instance->connections--;
        vec_pump_tell(pump, VEC_EVENT_CLOSED, conn->instance->index, conn->instance->connections, conn->why);
}

void vec_conn_reap_one(vec_pump *pump)
{
        struct vec_conn *conn = pump->dead;

        pump->dead = conn->next;
        vec_conn_tx_free(pump, conn);
        vec_conn_large_free(pump, conn);
        vec_conn_credit_free(pump, conn);
        vec_wipe(conn->rx, RX_SIZE);
        free(conn->rx);
        vec_wipe(conn, sizeof(*conn));
        free(conn);
}

void vec_conn_reap(vec_pump *pump)
{
        while (pump->dead)
                vec_conn_reap_one(pump);
}

void vec_conn_event(vec_pump *pump, struct vec_conn *conn, uint32_t events)
{
        if (conn->state == CONN_DEAD)
                return;
        if ((events & EPOLLOUT) && tx_pending(conn)) {
                vec_conn_flush(pump, conn);
                vec_conn_look(pump, conn);
        }
        if (events & EPOLLIN)
                vec_conn_receive(pump, conn);
        /* Nobody is there to take an answer. */
        if ((events & (EPOLLERR | EPOLLHUP)) && conn->state != CONN_DEAD)
                vec_conn_kill(pump, conn, VEC_REASON_NONE);
}

/* ---- time and credit ---- */

static void timed_out(vec_pump *pump, struct vec_conn *conn)
{
        const struct vec_header attach = { .op = VEC_CONTROL_ATTACH };
        struct vec_frame frame;

        switch (conn->wait) {
        case WAIT_TAG:
                conn->state = CONN_CLOSING;
                conn->why = VEC_REASON_ATTACH_TAG;
                vec_conn_refuse(pump, conn, &attach, -VEC_ETIMEOUT, VEC_REASON_ATTACH_TAG);
                break;
        case WAIT_CREDIT:
                /* Ours to answer for: the frame is refused and skipped, the connection goes on. */
                vec_conn_unstarve(pump, conn);
                vec_conn_judge(conn->rx + conn->rx_start, &frame);
                vec_conn_consume(pump, conn, VEC_HEADER_SIZE, vec_body_size(&frame.header), 0);
                vec_conn_refuse(pump, conn, &frame.header, -VEC_EEXHAUSTED, VEC_REASON_CREDIT);
                break;
        default:
                vec_conn_kill(pump, conn, VEC_REASON_NONE);
                return;
        }
        vec_conn_look(pump, conn);
}

void vec_conn_deadlines(vec_pump *pump, uint64_t now)
{
        struct vec_conn *conn, *next;

        for (conn = pump->conns; conn; conn = next) {
                next = conn->next;
                if (conn->wait != WAIT_NOTHING && conn->deadline <= now)
                        timed_out(pump, conn);
        }
}

void vec_conn_deadlines_of(vec_pump *pump, struct vec_instance *instance, uint64_t now)
{
        struct vec_conn *conn, *next;

        for (conn = instance->conns; conn; conn = next) {
                next = conn->own_next;
                if (conn->wait != WAIT_NOTHING && conn->deadline <= now)
                        timed_out(pump, conn);
        }
}

void vec_conn_feed(vec_pump *pump, const struct vec_instance *only)
{
        struct vec_conn *conn = pump->starved, *next;

        /* In the order in which they came: who finds none again, or is not asked, goes back into it. */
        pump->starved = pump->starved_last = NULL;
        for (; conn; conn = next) {
                next = conn->starved_next;
                conn->starved = 0;
                if (only && conn->instance != only)
                        vec_conn_starve(pump, conn);
                else
                        vec_conn_look(pump, conn);
        }
}
