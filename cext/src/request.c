/*
 * One request against its rows: the operation's, the algorithm's, the key slot's. What passes is handed to
 * the driver and answered; what does not has a status and a reason. The rows decide, in this order: operation, key,
 * use, lengths, IV, stream.
 */
#include <string.h>

#include "pump_parts.h"

enum { DIGEST_SIZE = 32 };

/* GCM: SP 800-38D, 2^39 - 256 bits under one IV. CTR: the 32-bit block counter behind a drawn IV. */
static const uint64_t stream_max[] = {
        [VEC_ALG_AES_128_GCM] = (UINT64_C(1) << 36) - 32,
        [VEC_ALG_AES_256_GCM] = (UINT64_C(1) << 36) - 32,
        [VEC_ALG_AES_128_CTR] = UINT64_C(1) << 36,
        [VEC_ALG_AES_256_CTR] = UINT64_C(1) << 36,
};

uint32_t vec_reply_room(const struct vec_frame *frame)
{
        uint32_t room = REPLY_OVERHEAD + frame->header.data_len;

        return frame->status < 0 || room < REFUSAL_SIZE ? REFUSAL_SIZE : room;
}

static int refuse(struct vec_entry *entry, int status, uint8_t reason)
{
        entry->status = -status;
        entry->reason = reason;
        return entry->status;
}

/* What a request is made of while it is being checked. */
struct shape {
        const struct vec_op_row *row;
        struct vec_slot *slot;         /* NULL without a key */
        struct vec_stream *stream;     /* NULL in a one shot */
        struct vec_work work;
        uint8_t iv_len, tag_len;       /* of the reply */
};

static int check_keyless(struct vec_instance *instance, struct vec_entry *entry, struct shape *shape)
{
        const struct vec_header *h = &entry->frame.header;

        if (h->key)
                return refuse(entry, VEC_EKEY, VEC_REASON_NO_KEY);
        if (!instance->slots)
                return refuse(entry, VEC_EKEY, VEC_REASON_ANY_KEY);
        if (h->iv_len || h->aad_len || h->tag_len)
                return refuse(entry, VEC_EMALFORMED, VEC_REASON_BAD_LENGTH);
        /* RANDOM answers with as many bytes as it was sent; what stands in them does not matter. */
        shape->work.out_len = h->data_len;
        if (h->op == VEC_OP_SHA256)
                shape->work.out_len = shape->work.last ? DIGEST_SIZE : 0;
        return 0;
}

static int check_iv(const vec_pump *pump, struct vec_entry *entry, struct shape *shape)
{
        const struct vec_header *h = &entry->frame.header;
        const struct vec_slot *slot = shape->slot;

        if (!shape->work.first)
                return h->iv_len ? refuse(entry, VEC_EMALFORMED, VEC_REASON_BAD_IV) : 0;
        if (h->op == VEC_OP_ENCRYPT && !h->iv_len) {
                if (slot->drawn >= pump->options.iv_max)
                        return refuse(entry, VEC_EEXHAUSTED, VEC_REASON_IV_LIMIT);
                shape->work.draw = 1;
                return 0;
        }
        if (h->op == VEC_OP_ENCRYPT && !(slot->usage & VEC_USE_OWN_IV))
                return refuse(entry, VEC_EUSAGE, VEC_REASON_OWN_IV);
        return h->iv_len == slot->alg->iv ? 0 : refuse(entry, VEC_EMALFORMED, VEC_REASON_BAD_IV);
}

static int check_keyed(const vec_pump *pump, struct vec_instance *instance, struct vec_entry *entry,
                       struct shape *shape)
{
        const struct vec_header *h = &entry->frame.header;
        const struct vec_alg_row *alg;
        int encrypting = h->op == VEC_OP_ENCRYPT;

        shape->slot = vec_slot_find(instance, h->key);
        if (!shape->slot)
                return refuse(entry, VEC_EKEY, VEC_REASON_NO_KEY);
        if (!(shape->slot->usage & shape->row->usage))
                return refuse(entry, VEC_EUSAGE, VEC_REASON_WRONG_USE);
        alg = shape->slot->alg;
        /* Where the algorithm has a tag it takes additional data, all of it with the first part. */
        if ((h->aad_len && (!alg->tag || !shape->work.first)) ||
            h->tag_len != (!encrypting && shape->work.last ? alg->tag : 0))
                return refuse(entry, VEC_EMALFORMED, VEC_REASON_BAD_LENGTH);
        shape->work.key = shape->slot->key;
        shape->work.out_len = h->data_len;
        shape->iv_len = encrypting && shape->work.first ? alg->iv : 0;
        shape->tag_len = encrypting && shape->work.last ? alg->tag : 0;
        return check_iv(pump, entry, shape);
}

static int check_stream(const vec_pump *pump, struct vec_instance *instance, struct vec_entry *entry,
                        struct shape *shape)
{
        const struct vec_header *h = &entry->frame.header;
        struct vec_stream *streams = vec_streams(instance, shape->slot), *stream;
        uint64_t most = pump->options.stream_max;

        if (!h->stream)
                return 0;
        stream = vec_stream_find(streams, h->stream);
        if (shape->work.first) {
                if (stream)
                        return refuse(entry, VEC_ESTREAM, VEC_REASON_NO_STREAM);
                stream = vec_stream_find(streams, 0);
                if (!stream)
                        return refuse(entry, VEC_EEXHAUSTED, VEC_REASON_STREAMS);
        } else if (!stream || stream->conn != entry->conn || stream->op != h->op || stream->sequence != h->sequence) {
                return refuse(entry, VEC_ESTREAM, VEC_REASON_NO_STREAM);
        }
        if (shape->slot && stream_max[shape->slot->alg->number] < most)
                most = stream_max[shape->slot->alg->number];
        if (h->data_len > most || stream->bytes > most - h->data_len || h->sequence == UINT32_MAX)
                return refuse(entry, VEC_EEXHAUSTED, VEC_REASON_STREAM_LONG);
        shape->stream = stream;
        shape->work.stream = &stream->state;
        return 0;
}

static int check(const vec_pump *pump, struct vec_instance *instance, struct vec_entry *entry, struct shape *shape)
{
        const struct vec_header *h = &entry->frame.header;
        int r;

        shape->row = vec_op_find(h->op);
        if (!shape->row)
                return refuse(entry, VEC_EMALFORMED, VEC_REASON_BAD_OP);
        shape->work.op = h->op;
        shape->work.first = !!(h->flags & VEC_F_FIRST);
        shape->work.last = !!(h->flags & VEC_F_LAST);
        r = shape->row->usage ? check_keyed(pump, instance, entry, shape) : check_keyless(instance, entry, shape);
        return r < 0 ? r : check_stream(pump, instance, entry, shape);
}

/* The frame's fields and the reply's, header || iv || data || tag on both sides. */
static void place(struct vec_entry *entry, struct shape *shape, uint8_t *out)
{
        const struct vec_header *h = &entry->frame.header;
        struct vec_work *work = &shape->work;

        work->iv = entry->frame.body;
        work->aad = work->iv + h->iv_len;
        work->aad_len = h->aad_len;
        work->in = work->aad + h->aad_len;
        work->in_len = h->data_len;
        work->tag = work->in + h->data_len;
        work->ret_iv = out + VEC_HEADER_SIZE;
        work->ret_out = work->ret_iv + shape->iv_len;
        work->ret_tag = work->ret_out + work->out_len;
        if (shape->iv_len && !work->draw)
                memcpy(work->ret_iv, work->iv, shape->iv_len);
}

static void answer(struct vec_entry *entry, const struct shape *shape, uint8_t *out)
{
        const struct vec_header *h = &entry->frame.header;
        struct vec_header reply = *h;

        reply.flags = h->flags | VEC_F_REPLY;
        /* Plaintext whose tag has not been seen. */
        if (h->op == VEC_OP_DECRYPT && shape->slot->alg->tag && !shape->work.last)
                reply.flags |= VEC_F_UNVERIFIED;
        reply.iv_len = shape->iv_len;
        reply.aad_len = 0;
        reply.data_len = shape->work.out_len;
        reply.tag_len = shape->tag_len;
        vec_header_build(&reply, out);
        entry->length = VEC_HEADER_SIZE + (uint32_t)vec_body_size(&reply);
}

/* What the part did to its stream; the driver has freed the state after the last part and after a failure. */
static void advance(const struct vec_entry *entry, struct vec_stream *stream)
{
        const struct vec_header *h = &entry->frame.header;

        if (entry->status < 0 || (h->flags & VEC_F_LAST)) {
                *stream = (struct vec_stream){ 0 };
                return;
        }
        stream->id = h->stream;
        stream->conn = entry->conn;
        stream->op = h->op;
        stream->sequence = h->sequence + 1;
        stream->bytes += h->data_len;
}

void vec_request_end_stream(vec_pump *pump, struct vec_instance *instance, const struct vec_entry *entry)
{
        const struct vec_header *h = &entry->frame.header;
        struct vec_slot *slot = h->key ? vec_slot_find(instance, h->key) : NULL;
        struct vec_stream *stream;

        if (!h->stream || (h->key && !slot))
                return;
        stream = vec_stream_find(vec_streams(instance, slot), h->stream);
        if (stream && stream->conn == entry->conn)
                vec_stream_close(pump, stream);
}

void vec_request_run(vec_pump *pump, struct vec_instance *instance, struct vec_entry *entry, uint8_t *out)
{
        struct shape shape = { 0 };

        if (check(pump, instance, entry, &shape) < 0) {
                /* A first part whose number is taken must not end the stream that has it. */
                if (!shape.work.first)
                        vec_request_end_stream(pump, instance, entry);
                return;
        }
        place(entry, &shape, out);
        if (shape.work.draw)
                shape.slot->drawn++;
        entry->reason = VEC_REASON_ENGINE;
        entry->status = pump->driver->run(pump->engine, &shape.work, &entry->reason);
        if (shape.stream)
                advance(entry, shape.stream);
        if (entry->status == 0) {
                entry->reason = VEC_REASON_NONE;
                answer(entry, &shape, out);
        }
}
