/* A batch: frames into entries, entries into replies, connections behind what was answered. */
#include <sys/uio.h>

#include "turn_parts.h"
#include "vec/arena.h"

/* Frames of one connection, as long as the batch has room and its answers have; 1: take from the next one as well. */
static int take_frames(struct vec_turn *turn, struct vec_conn *conn, uint32_t *bytes)
{
        vec_pump *pump = turn->pump;
        uint32_t offset = 0, taken = 0, kept = 0;

        while (turn->count < VEC_BATCH_REQUESTS) {
                struct vec_entry *entry = &pump->entry[turn->count];
                uint32_t cost, room;

                *entry = (struct vec_entry){ .conn = conn, .out = 0 };
                if (!vec_conn_frame(conn, &offset, &entry->frame))
                        return 1;
                room = vec_reply_room(&entry->frame);
                cost = (uint32_t)vec_body_size(&entry->frame.header);
                cost = cost > room ? cost : room;
                if ((turn->count && *bytes + cost > VEC_BATCH_BYTES) || (taken && kept + room > TX_SIZE))
                        return 0;
                if (pump->grid.strict && entry->frame.status == 0) {
                        entry->ns = vec_cost_of_frame(pump, &entry->frame);
                        if (turn->ns + entry->ns > turn->room)
                                return 0;
                        turn->ns += entry->ns;
                }
                entry->end = offset;
                entry->status = entry->frame.status;
                entry->reason = entry->frame.reason;
                entry->out = turn->count ? entry[-1].out + entry[-1].out_room : 0;
                entry->out_room = room;
                turn->works += entry->status == 0;
                turn->count++;
                *bytes += cost;
                kept += room;
                taken++;
                /* Where the next frame starts is known once the refused body is skipped. */
                if (entry->frame.status < 0)
                        return 1;
        }
        return 0;
}

void vec_batch_fill(struct vec_turn *turn)
{
        struct vec_instance *instance = turn->instance;
        uint32_t bytes = 0, before;
        int more = 1;

        while (more && instance->ready && turn->count < VEC_BATCH_REQUESTS) {
                struct vec_conn *conn = instance->ready;

                before = turn->count;
                more = take_frames(turn, conn, &bytes);
                /* No room was left for its first frame: it stays first. */
                if (!more && turn->count == before)
                        break;
                instance->ready = conn->ready_next;
                if (!instance->ready)
                        instance->ready_last = NULL;
                conn->queued = 0;
        }
}

int vec_input_wipe(struct vec_turn *turn)
{
        uint32_t n;
        int clean = 1;

        for (n = 0; n < turn->done && !turn->input_wiped; n++) {
                struct vec_frame *frame = &turn->pump->entry[n].frame;
                size_t size = vec_body_size(&frame->header);

                if (!frame->body)
                        continue;
                vec_wipe(frame->body, size);
                clean &= vec_is_zero(frame->body, size);
        }
        turn->input_wiped = 1;
        return clean ? 0 : -VEC_EINTEGRITY;
}

void vec_batch_deliver(struct vec_turn *turn)
{
        vec_pump *pump = turn->pump;
        struct iovec iov[VEC_BATCH_REQUESTS];
        uint32_t n = 0, first;

        while (n < turn->done) {
                struct vec_conn *conn = pump->entry[n].conn;

                for (first = n; n < turn->done && pump->entry[n].conn == conn; n++) {
                        struct vec_entry *entry = &pump->entry[n];

                        pump->counters.requests++;
                        if (entry->status == 0) {
                                iov[n - first] = (struct iovec){ pump->out + entry->out, entry->length };
                                continue;
                        }
                        pump->counters.refused++;
                        iov[n - first] = (struct iovec){
                                pump->refusal[n],
                                vec_refusal_build(pump, &entry->frame.header, entry->status, entry->reason,
                                                  pump->refusal[n]),
                        };
                }
                vec_conn_send(pump, conn, iov, n - first);
        }
}

void vec_batch_discard(struct vec_turn *turn, int status, uint8_t reason)
{
        vec_pump *pump = turn->pump;
        uint32_t n;

        for (n = 0; n < turn->count; n++) {
                struct vec_entry *entry = &pump->entry[n];
                const struct vec_header *h = &entry->frame.header;
                int ran = turn->ran && n < turn->done;

                if (entry->status < 0)
                        continue;
                entry->status = status;
                entry->reason = reason;
                pump->counters.discarded += ran;
                /* Busy says that nothing of the request was done, so that it can be asked again as it is. */
                if (status == -VEC_EBUSY && !ran)
                        continue;
                /* The stream has swallowed a part whose answer nobody gets: what comes next would not fit. */
                if (status == -VEC_EBUSY && h->stream && !(h->flags & VEC_F_FIRST))
                        entry->status = -VEC_EGONE;
                vec_request_end_stream(pump, turn->instance, entry);
        }
}

void vec_batch_move_on(struct vec_turn *turn)
{
        vec_pump *pump = turn->pump;
        uint32_t n;

        vec_input_wipe(turn);
        for (n = 0; n < turn->count; n++) {
                struct vec_entry *entry = &pump->entry[n];
                int last_of_conn = n + 1 == turn->count || entry[1].conn != entry->conn;

                if (n < turn->done && (n + 1 == turn->done || last_of_conn))
                        vec_conn_consume(pump, entry->conn, entry->end, entry->frame.skip, entry->frame.fatal);
                if (last_of_conn)
                        vec_conn_look(pump, entry->conn);
        }
}
