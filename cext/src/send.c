/*
 * Bytes out: replies and refusals of a connection. What the peer does not take at once is kept in a buffer of the
 * connection; while something is kept nothing further is read (receive.c): who does not read does not get to ask.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "conn_parts.h"
#include "vec/arena.h"

/* With the limit, where it is the card's own. */
static size_t explain(const vec_pump *pump, const struct vec_header *of, uint8_t reason, char *to, size_t room)
{
        const char *sentence = vec_reason_sentence(reason);
        int length;

        if (reason == VEC_REASON_SLOT_SIZE)
                length = snprintf(to, room, "%s (at most %" PRIu64 " bytes in %" PRIu32 " us)", sentence,
                                  vec_cost_most(pump, of->op), pump->grid.slot_us);
        else
                length = snprintf(to, room, "%s", sentence);
        return (size_t)length < room ? (size_t)length : room - 1;
}

uint32_t vec_refusal_build(const vec_pump *pump, const struct vec_header *of, int status, uint8_t reason, uint8_t *to)
{
        char sentence[REFUSAL_SIZE - VEC_HEADER_SIZE - 2];
        size_t length = explain(pump, of, reason, sentence, sizeof(sentence));
        struct vec_header header = {
                .op = of->op, .flags = VEC_F_REPLY | (of->flags & (VEC_F_FIRST | VEC_F_LAST)),
                .status = (uint8_t)-status, .request = of->request, .key = of->key, .stream = of->stream,
                .sequence = of->sequence,
        };

        header.data_len = (uint32_t)length + 2;
        vec_header_build(&header, to);
        to[VEC_HEADER_SIZE] = (uint8_t)vec_reason_rule(reason);
        to[VEC_HEADER_SIZE + 1] = reason;
        memcpy(to + VEC_HEADER_SIZE + 2, sentence, length);
        return VEC_HEADER_SIZE + header.data_len;
}

void vec_conn_refuse(vec_pump *pump, struct vec_conn *conn, const struct vec_header *of, int status, uint8_t reason)
{
        uint8_t refusal[REFUSAL_SIZE];
        struct iovec iov = { refusal, vec_refusal_build(pump, of, status, reason, refusal) };

        pump->counters.refused++;
        vec_conn_send(pump, conn, &iov, 1);
}

void vec_conn_tx_free(vec_pump *pump, struct vec_conn *conn)
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

void vec_conn_credit_free(vec_pump *pump, struct vec_conn *conn)
{
        vec_credit_give(pump, conn->instance, conn->charge);
        conn->charge = 0;
}

static void tx_flushed(vec_pump *pump, struct vec_conn *conn)
{
        vec_conn_tx_free(pump, conn);
        if (!conn->large)
                vec_conn_credit_free(pump, conn);
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
        ssize_t sent = -1;

        if (conn->state == CONN_DEAD || !count)
                return;
        errno = EAGAIN;
        /* Of a turn that was let in its answers are let out: they were reckoned with. */
        if (pump->turn_of == conn->instance->index || vec_grid_lets(pump, conn->instance))
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

void vec_conn_flush(vec_pump *pump, struct vec_conn *conn)
{
        size_t left = conn->tx_end - conn->tx_start;
        ssize_t sent;

        if (pump->grid.strict && left > SLOT_IO)
                left = SLOT_IO;
        sent = send(conn->fd, conn->tx + conn->tx_start, left, MSG_NOSIGNAL | MSG_DONTWAIT);

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
                        end += vec_refusal_build(pump, &header, -VEC_EDENIED, VEC_REASON_RESCINDED, tx + end);
                }
        }
        vec_conn_tx_free(pump, conn);
        conn->tx = tx;
        conn->tx_end = end;
}
