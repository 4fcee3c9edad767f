/*
 * One data connection: bytes in, frames out to the turn, answers back, and a deadline for whatever it waits for.
 *
 * A frame of up to RX_SIZE bytes is taken where it stands in the small buffer; a larger one gets a buffer of its
 * own by credit before its body is read. While an answer is unsent nothing further is read: who does not read does
 * not get to ask. A refused body is skipped, so the next frame is found; only a header that cannot be believed
 * ends the connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "pump_parts.h"
#include "vec/arena.h"

enum { READS = 4, LARGE_DONE = UINT32_MAX, MS = 1000000 };

/* ---- lists ---- */

static void ready_push(struct vec_conn *conn)
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

static void starve(vec_pump *pump, struct vec_conn *conn)
{
        conn->starved_next = NULL;
        if (pump->starved_last)
                pump->starved_last->starved_next = conn;
        else
                pump->starved = conn;
        pump->starved_last = conn;
        conn->starved = 1;
}

static void starved_remove(vec_pump *pump, struct vec_conn *conn)
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

/* ---- refusals ---- */

uint32_t vec_refusal_build(const struct vec_header *of, int status, uint8_t reason, uint8_t *to)
{
        const char *sentence = vec_reason_sentence(reason);
        size_t length = strlen(sentence);
        struct vec_header header = {
                .op = of->op, .flags = VEC_F_REPLY | (of->flags & (VEC_F_FIRST | VEC_F_LAST)),
                .status = (uint8_t)-status, .request = of->request, .key = of->key, .stream = of->stream,
                .sequence = of->sequence,
        };

        if (length > REFUSAL_SIZE - VEC_HEADER_SIZE - 2)
                length = REFUSAL_SIZE - VEC_HEADER_SIZE - 2;
        header.data_len = (uint32_t)length + 2;
        vec_header_build(&header, to);
        to[VEC_HEADER_SIZE] = (uint8_t)vec_reason_rule(reason);
        to[VEC_HEADER_SIZE + 1] = reason;
        memcpy(to + VEC_HEADER_SIZE + 2, sentence, length);
        return VEC_HEADER_SIZE + header.data_len;
}

static void refuse_now(vec_pump *pump, struct vec_conn *conn, const struct vec_header *of, int status, uint8_t reason)
{
        uint8_t refusal[REFUSAL_SIZE];
        struct iovec iov = { refusal, vec_refusal_build(of, status, reason, refusal) };

        pump->counters.refused++;
        vec_conn_send(pump, conn, &iov, 1);
}

/* ---- what it waits for ---- */

static int tx_pending(const struct vec_conn *conn)
{
        return conn->tx_end != conn->tx_start;
}

static int large_complete(const struct vec_conn *conn)
{
        return conn->large && conn->large_have == conn->large_need;
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
static void arm(vec_pump *pump, struct vec_conn *conn)
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
        if (epoll_ctl(pump->epoll, EPOLL_CTL_MOD, conn->fd, &event) < 0)
                vec_conn_kill(pump, conn, VEC_REASON_NONE);
}

/* The frame it waited for is there: the next one has time of its own. */
static void wait_anew(vec_pump *pump, struct vec_conn *conn)
{
        pump->waiting -= conn->wait != WAIT_NOTHING;
        conn->wait = WAIT_NOTHING;
}

/* ---- life ---- */

int vec_conn_attach(vec_pump *pump, int fd, struct vec_instance *instance, const uint8_t tag[32], uint32_t deadline_ms)
{
        struct vec_header ready = { .op = VEC_CONTROL_ATTACH, .flags = VEC_F_REPLY };
        struct epoll_event event = { .events = EPOLLIN };
        uint8_t header[VEC_HEADER_SIZE];
        struct iovec iov = { header, sizeof(header) };
        int family = 0, type = 0;
        socklen_t size = sizeof(int);
        struct vec_conn *conn;

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM ||
            (family != AF_UNIX && family != AF_VSOCK))
                return -VEC_EMALFORMED;
        if (pump->counters.connections >= pump->options.connections)
                return -VEC_EEXHAUSTED;
        conn = calloc(1, sizeof(*conn));
        if (!conn || !(conn->rx = malloc(RX_SIZE))) {
                free(conn);
                return -VEC_EEXHAUSTED;
        }
        conn->fd = fd;
        conn->instance = instance;
        conn->state = CONN_ATTACHING;
        conn->attach_ms = deadline_ms;
        conn->interest = EPOLLIN;
        memcpy(conn->tag, tag, sizeof(conn->tag));
        event.data.ptr = conn;
        if (epoll_ctl(pump->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
                free(conn->rx);
                free(conn);
                return errno == EEXIST ? -VEC_EEXISTS : -VEC_EEXHAUSTED;
        }
        conn->next = pump->conns;
        if (pump->conns)
                pump->conns->prev = conn;
        pump->conns = conn;
        pump->counters.connections++;
        instance->connections++;
        vec_header_build(&ready, header);
        vec_conn_send(pump, conn, &iov, 1);
        arm(pump, conn);
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
        arm(pump, conn);
        epoll_ctl(pump->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
        shutdown(conn->fd, SHUT_RDWR);
        close(conn->fd);
        if (conn->prev)
                conn->prev->next = conn->next;
        else
                pump->conns = conn->next;
        if (conn->next)
                conn->next->prev = conn->prev;
        if (conn->queued)
                ready_remove(conn);
        if (conn->starved)
                starved_remove(pump, conn);
        conn->next = pump->dead;
        pump->dead = conn;
        pump->counters.connections--;
        conn->instance->connections--;
        vec_pump_tell(pump, VEC_EVENT_CLOSED, conn->instance->index, conn->instance->connections, conn->why);
}

static void tx_free(vec_pump *pump, struct vec_conn *conn)
{
        if (conn->tx_large) {
                vec_buffer_put(pump, conn->tx_large, conn->tx_end);
        } else if (conn->tx) {
                vec_wipe(conn->tx, conn->tx_end);
                free(conn->tx);
        }
        conn->tx = NULL;
        conn->tx_large = NULL;
        conn->tx_start = conn->tx_end = conn->tx_frame = 0;
}

static void credit_free(vec_pump *pump, struct vec_conn *conn)
{
        vec_credit_give(pump, conn->instance, conn->charge);
        conn->charge = 0;
}

static void large_free(vec_pump *pump, struct vec_conn *conn)
{
        vec_buffer_put(pump, conn->large, conn->large_have);
        conn->large = NULL;
        conn->large_have = conn->large_need = 0;
}

void vec_conn_reap(vec_pump *pump)
{
        struct vec_conn *conn;

        while ((conn = pump->dead)) {
                pump->dead = conn->next;
                tx_free(pump, conn);
                large_free(pump, conn);
                credit_free(pump, conn);
                vec_wipe(conn->rx, RX_SIZE);
                free(conn->rx);
                vec_wipe(conn, sizeof(*conn));
                free(conn);
        }
}

/* ---- bytes out ---- */

static void tx_flushed(vec_pump *pump, struct vec_conn *conn)
{
        tx_free(pump, conn);
        if (!conn->large)
                credit_free(pump, conn);
        if (conn->state == CONN_CLOSING)
                vec_conn_kill(pump, conn, conn->why);
}

/* Keep what was not taken, from `iov` on, of which `sent` bytes of the first are out. */
static int keep(vec_pump *pump, struct vec_conn *conn, const struct iovec *iov, unsigned count, size_t sent)
{
        size_t left = 0;
        unsigned i;

        for (i = 0; i < count; i++)
                left += iov[i].iov_len;
        left -= sent;
        if (left <= TX_SIZE) {
                conn->tx = malloc(TX_SIZE);
        } else {
                conn->tx_large = vec_buffer_get(pump, left);
                conn->tx = conn->tx_large ? conn->tx_large->data : NULL;
        }
        if (!conn->tx)
                return -VEC_EEXHAUSTED;
        conn->tx_frame = sent ? (uint32_t)(iov[0].iov_len - sent) : 0;
        for (i = 0; i < count; i++) {
                memcpy(conn->tx + conn->tx_end, (char *)iov[i].iov_base + sent, iov[i].iov_len - sent);
                conn->tx_end += (uint32_t)(iov[i].iov_len - sent);
                sent = 0;
        }
        return 0;
}

void vec_conn_send(vec_pump *pump, struct vec_conn *conn, struct iovec *iov, unsigned count)
{
        struct msghdr message = { .msg_iov = iov, .msg_iovlen = count };
        ssize_t sent;

        if (conn->state == CONN_DEAD || !count)
                return;
        do
                sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (sent < 0 && errno == EINTR);
        if (sent < 0 && errno != EAGAIN) {
                vec_conn_kill(pump, conn, VEC_REASON_NONE);
                return;
        }
        if (sent < 0)
                sent = 0;
        pump->counters.bytes_out += (uint64_t)sent;
        while (count && (size_t)sent >= iov->iov_len) {
                sent -= (ssize_t)iov->iov_len;
                iov++;
                count--;
        }
        if (count && keep(pump, conn, iov, count, (size_t)sent) < 0)
                vec_conn_kill(pump, conn, VEC_REASON_CREDIT);
}

static void flush(vec_pump *pump, struct vec_conn *conn)
{
        ssize_t sent = send(conn->fd, conn->tx + conn->tx_start, conn->tx_end - conn->tx_start,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0) {
                if (errno != EAGAIN && errno != EINTR)
                        vec_conn_kill(pump, conn, VEC_REASON_NONE);
                return;
        }
        pump->counters.bytes_out += (uint64_t)sent;
        conn->tx_start += (uint32_t)sent;
        if (!tx_pending(conn))
                tx_flushed(pump, conn);
}

/* The frames in tx are our own, so their headers parse. */
static uint32_t tx_frame_at(const struct vec_conn *conn, uint32_t at, struct vec_header *ret)
{
        uint8_t reason;

        if (vec_header_parse(conn->tx + at, ret, &reason) < 0)
                abort();
        return VEC_HEADER_SIZE + (uint32_t)vec_body_size(ret);
}

void vec_conn_rescind(vec_pump *pump, struct vec_conn *conn)
{
        struct vec_header header;
        uint32_t at, end = 0, size;
        uint8_t *tx;

        if (conn->state == CONN_DEAD || !tx_pending(conn))
                return;
        while (conn->tx_frame < conn->tx_start)
                conn->tx_frame += tx_frame_at(conn, conn->tx_frame, &header);
        tx = conn->tx_frame == conn->tx_start ? malloc(TX_SIZE) : NULL;
        if (!tx) {
                pump->counters.discarded++;
                vec_conn_kill(pump, conn, VEC_REASON_RESCINDED);
                return;
        }
        for (at = conn->tx_start; at < conn->tx_end; at += size) {
                size = tx_frame_at(conn, at, &header);
                if (header.status || header.op >= VEC_CONTROL_HELLO) {
                        memcpy(tx + end, conn->tx + at, size);
                        end += size;
                } else {
                        pump->counters.discarded++;
                        end += vec_refusal_build(&header, -VEC_EDENIED, VEC_REASON_RESCINDED, tx + end);
                }
        }
        tx_free(pump, conn);
        conn->tx = tx;
        conn->tx_end = end;
}

/* ---- bytes in ---- */

static uint32_t get32(const uint8_t *at)
{
        return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/*
 * A refused header's body. Magic and version right: the lengths mean what they say, and within their limits they
 * are worth reading past. Otherwise nobody knows where the next frame starts.
 */
static void find_the_next(const uint8_t *bytes, struct vec_frame *frame)
{
        uint32_t aad = get32(bytes + 32), data = get32(bytes + 36), rest = get32(bytes + 40);

        frame->fatal = get32(bytes) != VEC_WIRE_MAGIC || bytes[4] != VEC_WIRE_VERSION || get32(bytes + 44) != 0 ||
                       aad > VEC_AAD_MAX || data > VEC_DATA_MAX;
        frame->skip = frame->fatal ? 0 : (uint64_t)aad + data + (rest >> 16) + (rest & 0xffff);
}

/* The header at `bytes`, judged. The data half serves requests, of data operations. */
static void judge(const uint8_t *bytes, struct vec_frame *frame)
{
        *frame = (struct vec_frame){ .size = VEC_HEADER_SIZE };
        frame->status = vec_header_parse(bytes, &frame->header, &frame->reason);
        if (frame->status == 0 && (frame->header.flags & VEC_F_REPLY)) {
                frame->status = -VEC_EMALFORMED;
                frame->reason = VEC_REASON_BAD_HEADER;
        } else if (frame->status == 0 && !vec_op_find(frame->header.op)) {
                frame->status = -VEC_EMALFORMED;
                frame->reason = VEC_REASON_BAD_OP;
        }
        if (frame->status < 0)
                find_the_next(bytes, frame);
}

int vec_conn_frame(struct vec_conn *conn, uint32_t *offset, struct vec_frame *ret)
{
        uint32_t start = conn->rx_start + *offset;
        size_t body;

        if (conn->state != CONN_OPEN || conn->skip || tx_pending(conn) || conn->starved || *offset == LARGE_DONE)
                return 0;
        if (conn->large) {
                if (!large_complete(conn))
                        return 0;
                *ret = (struct vec_frame){ .header = conn->head, .body = conn->large->data };
                *offset = LARGE_DONE;
                return 1;
        }
        if (conn->rx_end - start < VEC_HEADER_SIZE)
                return 0;
        judge(conn->rx + start, ret);
        if (ret->status < 0) {
                *offset += ret->size;
                return 1;
        }
        body = vec_body_size(&ret->header);
        if (conn->rx_end - start - VEC_HEADER_SIZE < body)
                return 0;
        ret->body = conn->rx + start + VEC_HEADER_SIZE;
        ret->size = (uint32_t)(VEC_HEADER_SIZE + body);
        *offset += ret->size;
        return 1;
}

/* The first frame does not fit into rx: credit for its body and its answer, then a buffer. */
static void start_large(vec_pump *pump, struct vec_conn *conn)
{
        uint32_t avail = conn->rx_end - conn->rx_start;
        struct vec_frame frame;
        size_t body, charge;

        if (conn->large || conn->skip || avail < VEC_HEADER_SIZE)
                return;
        judge(conn->rx + conn->rx_start, &frame);
        if (frame.status < 0 || vec_body_size(&frame.header) + VEC_HEADER_SIZE <= RX_SIZE)
                return;
        body = vec_body_size(&frame.header);
        charge = vec_credit_class(body) + vec_credit_class(vec_reply_room(&frame));
        if (!vec_credit_take(pump, conn->instance, charge)) {
                if (!conn->starved)
                        starve(pump, conn);
                return;
        }
        conn->charge += charge;
        conn->large = vec_buffer_get(pump, body);
        if (!conn->large) {
                vec_conn_kill(pump, conn, VEC_REASON_CREDIT);
                return;
        }
        wait_anew(pump, conn);
        conn->head = frame.header;
        conn->large_need = (uint32_t)body;
        conn->large_have = avail - VEC_HEADER_SIZE;
        if (conn->large_have > conn->large_need)
                conn->large_have = conn->large_need;
        memcpy(conn->large->data, conn->rx + conn->rx_start + VEC_HEADER_SIZE, conn->large_have);
        vec_wipe(conn->rx + conn->rx_start, VEC_HEADER_SIZE + conn->large_have);
        conn->rx_start += VEC_HEADER_SIZE + conn->large_have;
}

static void check_tag(vec_pump *pump, struct vec_conn *conn)
{
        const struct vec_header attach = { .op = VEC_CONTROL_ATTACH };
        const uint8_t *said = conn->rx + conn->rx_start;
        int right;

        if (conn->rx_end - conn->rx_start < VEC_ATTACH_TAG_SIZE)
                return;
        right = CRYPTO_memcmp(said, conn->tag, sizeof(conn->tag)) == 0;
        vec_wipe(conn->tag, sizeof(conn->tag));
        conn->rx_start += VEC_ATTACH_TAG_SIZE;
        wait_anew(pump, conn);
        if (!right) {
                conn->state = CONN_CLOSING;
                conn->why = VEC_REASON_ATTACH_TAG;
                refuse_now(pump, conn, &attach, -VEC_EPROTOCOL, VEC_REASON_ATTACH_TAG);
                return;
        }
        conn->state = CONN_OPEN;
        conn->proved = 1;
        conn->instance->attached++;
        vec_pump_tell(pump, VEC_EVENT_ATTACHED, conn->instance->index, conn->instance->attached, VEC_REASON_NONE);
}

/* Room for the rest of the first frame, without leaving a second copy of its start behind. */
static void compact(struct vec_conn *conn)
{
        uint32_t length = conn->rx_end - conn->rx_start;

        if (!length) {
                conn->rx_start = conn->rx_end = 0;
        } else if (conn->rx_end == RX_SIZE && conn->rx_start) {
                memmove(conn->rx, conn->rx + conn->rx_start, length);
                vec_wipe(conn->rx + length, RX_SIZE - length);
                conn->rx_start = 0;
                conn->rx_end = length;
        }
}

static void skip_body(struct vec_conn *conn)
{
        uint32_t avail = conn->rx_end - conn->rx_start;
        uint32_t now = conn->skip < avail ? (uint32_t)conn->skip : avail;

        if (now)
                vec_wipe(conn->rx + conn->rx_start, now);
        conn->rx_start += now;
        conn->skip -= now;
}

void vec_conn_look(vec_pump *pump, struct vec_conn *conn)
{
        struct vec_frame frame;
        uint32_t offset = 0;

        if (conn->state == CONN_DEAD)
                return;
        if (!tx_pending(conn)) {
                if (conn->state == CONN_ATTACHING)
                        check_tag(pump, conn);
                skip_body(conn);
                if (conn->state == CONN_OPEN && !conn->starved)
                        start_large(pump, conn);
                if (conn->state == CONN_DEAD)
                        return;
                if (conn->state == CONN_CLOSING && !tx_pending(conn)) {
                        vec_conn_kill(pump, conn, conn->why);
                        return;
                }
                compact(conn);
                if (vec_conn_frame(conn, &offset, &frame)) {
                        if (!conn->queued)
                                ready_push(conn);
                        vec_ring_add(pump, conn->instance);
                } else if (conn->eof && !tx_pending(conn)) {
                        vec_conn_kill(pump, conn, VEC_REASON_NONE);
                        return;
                }
        }
        arm(pump, conn);
}

void vec_conn_consume(vec_pump *pump, struct vec_conn *conn, uint32_t offset, uint64_t skip, int fatal)
{
        if (conn->state == CONN_DEAD)
                return;
        wait_anew(pump, conn);
        if (offset == LARGE_DONE)
                large_free(pump, conn);
        else
                conn->rx_start += offset;
        if (!tx_pending(conn) && !conn->large)
                credit_free(pump, conn);
        conn->skip = skip;
        if (fatal) {
                conn->state = CONN_CLOSING;
                conn->why = VEC_REASON_BAD_HEADER;
        }
}

static void receive(vec_pump *pump, struct vec_conn *conn)
{
        unsigned i;

        for (i = 0; i < READS && conn->state != CONN_DEAD && !tx_pending(conn) && !conn->starved; i++) {
                size_t room = RX_SIZE - conn->rx_end;
                uint8_t *to = conn->rx + conn->rx_end;
                ssize_t got;

                if (conn->large) {
                        room = conn->large_need - conn->large_have;
                        to = conn->large->data + conn->large_have;
                }
                if (!room || conn->state == CONN_CLOSING)
                        break;
                got = recv(conn->fd, to, room, MSG_DONTWAIT);
                if (got < 0 && errno != EAGAIN && errno != EINTR) {
                        vec_conn_kill(pump, conn, VEC_REASON_NONE);
                        return;
                }
                if (got < 0)
                        break;
                if (got == 0) {
                        conn->eof = 1;
                        break;
                }
                pump->counters.bytes_in += (uint64_t)got;
                if (conn->large)
                        conn->large_have += (uint32_t)got;
                else
                        conn->rx_end += (uint32_t)got;
                /* Only a frame that turns out large, or a body to skip, makes reading on worth while. */
                if ((size_t)got < room)
                        break;
                vec_conn_look(pump, conn);
        }
        vec_conn_look(pump, conn);
}

void vec_conn_event(vec_pump *pump, struct vec_conn *conn, uint32_t events)
{
        if (conn->state == CONN_DEAD)
                return;
        if ((events & EPOLLOUT) && tx_pending(conn)) {
                flush(pump, conn);
                vec_conn_look(pump, conn);
        }
        if (events & EPOLLIN)
                receive(pump, conn);
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
                refuse_now(pump, conn, &attach, -VEC_ETIMEOUT, VEC_REASON_ATTACH_TAG);
                break;
        case WAIT_CREDIT:
                /* Ours to answer for: the frame is refused and skipped, the connection goes on. */
                starved_remove(pump, conn);
                judge(conn->rx + conn->rx_start, &frame);
                vec_conn_consume(pump, conn, VEC_HEADER_SIZE, vec_body_size(&frame.header), 0);
                refuse_now(pump, conn, &frame.header, -VEC_EEXHAUSTED, VEC_REASON_CREDIT);
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

void vec_conn_feed(vec_pump *pump)
{
        struct vec_conn *conn = pump->starved, *next;

        pump->starved = pump->starved_last = NULL;
        for (; conn; conn = next) {
                next = conn->starved_next;
                conn->starved = 0;
                vec_conn_look(pump, conn);
        }
}
