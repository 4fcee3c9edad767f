/*
 * Bytes in: from a connection's stream to complete frames.
 *
 * A frame of up to RX_SIZE bytes is taken where it stands in the small buffer; a larger one gets a buffer of its
 * own, by credit, before its body is read. A refused body is skipped, so the next frame is found; only a header
 * that cannot be believed ends the connection.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>

#include "conn_parts.h"
#include "vec/arena.h"

enum { READS = 4, LARGE_DONE = UINT32_MAX };

void vec_conn_large_free(vec_pump *pump, struct vec_conn *conn)
{
        vec_buffer_put(pump, conn->large, conn->large_have);
        conn->large = NULL;
        conn->large_have = conn->large_need = 0;
}

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
void vec_conn_judge(const uint8_t *bytes, struct vec_frame *frame)
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
        vec_conn_judge(conn->rx + start, ret);
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

static void skip_body(struct vec_conn *conn)
{
        uint32_t avail = conn->rx_end - conn->rx_start;
        uint32_t now = conn->skip < avail ? (uint32_t)conn->skip : avail;

        if (now)
                vec_wipe(conn->rx + conn->rx_start, now);
        conn->rx_start += now;
        conn->skip -= now;
}

/* Strict: it would never get a turn. Its body is skipped, and as a refused part it ends its stream. */
static void refuse_large(vec_pump *pump, struct vec_conn *conn, const struct vec_frame *frame, size_t body)
{
        const struct vec_entry entry = { .conn = conn, .frame = *frame };

        if (!(frame->header.flags & VEC_F_FIRST))
                vec_request_end_stream(pump, conn->instance, &entry);
        vec_conn_consume(pump, conn, VEC_HEADER_SIZE, body, 0);
        vec_conn_refuse(pump, conn, &frame->header, -VEC_ETOOLARGE, VEC_REASON_SLOT_SIZE);
        skip_body(conn);
}

/* The first frame does not fit into rx: credit for its body and its answer, then a buffer. */
static void start_large(vec_pump *pump, struct vec_conn *conn)
{
        uint32_t avail = conn->rx_end - conn->rx_start;
        struct vec_frame frame;
        size_t body, charge;

        if (conn->large || conn->skip || avail < VEC_HEADER_SIZE)
                return;
        vec_conn_judge(conn->rx + conn->rx_start, &frame);
        if (frame.status < 0 || vec_body_size(&frame.header) + VEC_HEADER_SIZE <= RX_SIZE)
                return;
        body = vec_body_size(&frame.header);
        if (pump->grid.strict && !vec_cost_fits(pump, &frame)) {
                refuse_large(pump, conn, &frame, body);
                return;
        }
        charge = vec_credit_class(body) + vec_credit_class(vec_reply_room(&frame));
        if (!vec_credit_take(pump, conn->instance, charge)) {
                if (!conn->starved)
                        vec_conn_starve(pump, conn);
                return;
        }
        conn->charge += charge;
        conn->large = vec_buffer_get(pump, body);
        if (!conn->large) {
                vec_conn_kill(pump, conn, VEC_REASON_CREDIT);
                return;
        }
        vec_conn_wait_anew(pump, conn);
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
        vec_conn_wait_anew(pump, conn);
        if (!right) {
                conn->state = CONN_CLOSING;
                conn->why = VEC_REASON_ATTACH_TAG;
                vec_conn_refuse(pump, conn, &attach, -VEC_EPROTOCOL, VEC_REASON_ATTACH_TAG);
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
                                vec_conn_ready(conn);
                        vec_ring_add(pump, conn->instance);
                } else if (conn->eof && !tx_pending(conn)) {
                        vec_conn_kill(pump, conn, VEC_REASON_NONE);
                        return;
                }
        }
        vec_conn_arm(pump, conn);
}

void vec_conn_consume(vec_pump *pump, struct vec_conn *conn, uint32_t offset, uint64_t skip, int fatal)
{
        if (conn->state == CONN_DEAD)
                return;
        vec_conn_wait_anew(pump, conn);
        if (offset == LARGE_DONE) {
                /* The turn has overwritten it (vec_input_wipe). */
                conn->large_have = 0;
                vec_conn_large_free(pump, conn);
        } else {
                conn->rx_start += offset;
        }
        if (!tx_pending(conn) && !conn->large)
                vec_conn_credit_free(pump, conn);
        conn->skip = skip;
        if (fatal) {
                conn->state = CONN_CLOSING;
                conn->why = VEC_REASON_BAD_HEADER;
        }
}

void vec_conn_receive(vec_pump *pump, struct vec_conn *conn)
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
                if (!room || conn->state == CONN_CLOSING || !vec_grid_lets(pump, conn->instance))
                        break;
                if (pump->grid.strict && room > SLOT_IO)
                        room = SLOT_IO;
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
