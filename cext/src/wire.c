/* The wire: headers to and from bytes, held against the tables of wire.h. No input or output, no memory. */
#include "vec/wire.h"

#include "vec/status.h"

#define OP_ROW(name, number, in, out, usage, stream) {#name, number, in, out, usage, stream},
static const struct vec_op_row op_rows[] = {VEC_OPS(OP_ROW)};
#undef OP_ROW

#define ALG_ROW(name, number, text, key, iv, tag, evp) {#name, number, text, key, iv, tag, evp},
static const struct vec_alg_row alg_rows[] = {VEC_ALGS(ALG_ROW)};
#undef ALG_ROW

#define CONTROL_ROW(name, number, request, reply) {#name, number, request, reply},
static const struct vec_control_row control_rows[] = {VEC_CONTROLS(CONTROL_ROW)};
#undef CONTROL_ROW

#define REASON_ROW(name, number, rule, sentence) {#name, number, rule, sentence},
static const struct vec_reason_row reason_rows[] = {VEC_REASONS(REASON_ROW)};
#undef REASON_ROW

/* Is there a status of that number? One case a row: the compiler refuses two rows of one number. */
static int status_known(uint8_t number)
{
        switch (number) {
#define STATUS_CASE(name, number, exit_code, ckr, sentence) case number:
        VEC_STATUSES(STATUS_CASE)
#undef STATUS_CASE
                return 1;
        default:
                return 0;
        }
}

/* A row without both attributes could be asked for without the monitor. */
#define OP_HAS_ATTRIBUTES(name, number, in, out, usage, stream)                                             \
        _Static_assert((in) != 0 && (out) != 0 && (number) > 0 && (number) < 0x80, #name);
VEC_OPS(OP_HAS_ATTRIBUTES)
#undef OP_HAS_ATTRIBUTES

#define CONTROL_IN_HALF(name, number, request, reply) _Static_assert((number) >= 0x80 && (number) <= 0xff, #name);
VEC_CONTROLS(CONTROL_IN_HALF)
#undef CONTROL_IN_HALF

enum { CONTROL_HALF = 0x80, FLAGS_KNOWN = VEC_F_REPLY | VEC_F_FIRST | VEC_F_LAST | VEC_F_UNVERIFIED };

#define ROWS(table)                                                                                         \
        const struct vec_##table##_row *vec_##table##_rows(size_t *ret_count)                               \
        {                                                                                                   \
                *ret_count = sizeof table##_rows / sizeof table##_rows[0];                                  \
                return table##_rows;                                                                        \
        }                                                                                                   \
        static const struct vec_##table##_row *table##_find(uint8_t number)                                 \
        {                                                                                                   \
                for (size_t at = 0; at < sizeof table##_rows / sizeof table##_rows[0]; at++)                \
                        if (table##_rows[at].number == number)                                              \
                                return &table##_rows[at];                                                   \
                return NULL;                                                                                \
        }

ROWS(op)
ROWS(alg)
ROWS(control)
ROWS(reason)

const struct vec_op_row *vec_op_find(uint8_t number)
{
        return op_find(number);
}

const struct vec_alg_row *vec_alg_find(uint8_t number)
{
        return alg_find(number);
}

static uint16_t get16(const uint8_t *at)
{
        return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
        return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static uint64_t get64(const uint8_t *at)
{
        return (uint64_t)get32(at) << 32 | get32(at + 4);
}

static void put16(uint8_t *at, uint16_t value)
{
        at[0] = (uint8_t)(value >> 8);
        at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
        put16(at, (uint16_t)(value >> 16));
        put16(at + 2, (uint16_t)value);
}

static void put64(uint8_t *at, uint64_t value)
{
        put32(at, (uint32_t)(value >> 32));
        put32(at + 4, (uint32_t)value);
}

static int refuse(int status, uint8_t reason, uint8_t *ret_reason)
{
        *ret_reason = reason;
        return -status;
}

static int check_control(const struct vec_header *header, uint8_t *ret_reason)
{
        if (header->data_len > VEC_CONTROL_MAX)
                return refuse(VEC_ETOOLARGE, VEC_REASON_BAD_LENGTH, ret_reason);
        if (header->aad_len || header->iv_len || header->tag_len)
                return refuse(VEC_EMALFORMED, VEC_REASON_BAD_LENGTH, ret_reason);
        if ((header->flags & ~VEC_F_REPLY) || header->key || header->stream || header->sequence)
                return refuse(VEC_EMALFORMED, VEC_REASON_BAD_HEADER, ret_reason);
        return 0;
}

static int check_data(const struct vec_header *header, const struct vec_op_row *row, uint8_t *ret_reason)
{
        const uint8_t one_shot = VEC_F_FIRST | VEC_F_LAST;

        if (header->data_len > VEC_DATA_MAX || header->aad_len > VEC_AAD_MAX || header->iv_len > VEC_IV_MAX ||
            header->tag_len > VEC_TAG_MAX)
                return refuse(VEC_ETOOLARGE, VEC_REASON_BAD_LENGTH, ret_reason);
        if (header->flags & VEC_F_REPLY)
                return 0;
        if ((header->flags & VEC_F_UNVERIFIED) ||
            !!(header->flags & VEC_F_FIRST) != (header->sequence == 0) ||
            ((header->flags & one_shot) == one_shot) != (header->stream == 0) ||
            (header->stream && !row->stream))
                return refuse(VEC_EMALFORMED, VEC_REASON_BAD_HEADER, ret_reason);
        return 0;
}

int vec_header_parse(const uint8_t bytes[48], struct vec_header *ret, uint8_t *ret_reason)
{
        struct vec_header header = {
                .op = bytes[5],
                .flags = bytes[6],
                .status = bytes[7],
                .request = get64(bytes + 8),
                .key = get64(bytes + 16),
                .stream = get32(bytes + 24),
                .sequence = get32(bytes + 28),
                .aad_len = get32(bytes + 32),
                .data_len = get32(bytes + 36),
                .iv_len = get16(bytes + 40),
                .tag_len = get16(bytes + 42),
        };
        const struct vec_op_row *row = op_find(header.op);
        int r;

        if (get32(bytes) != VEC_WIRE_MAGIC)
                return refuse(VEC_EMALFORMED, VEC_REASON_BAD_HEADER, ret_reason);
        ret->op = header.op;
        ret->request = header.request;
        if (bytes[4] != VEC_WIRE_VERSION)
                return refuse(VEC_EVERSION, VEC_REASON_BAD_HEADER, ret_reason);
        if (get32(bytes + 44) != 0 || (header.flags & ~FLAGS_KNOWN))
                return refuse(VEC_EMALFORMED, VEC_REASON_BAD_HEADER, ret_reason);
        if (header.flags & VEC_F_REPLY ? !status_known(header.status) : header.status != 0)
                return refuse(VEC_EMALFORMED, VEC_REASON_BAD_HEADER, ret_reason);
        /* A refusal echoes what was asked, a row or not. */
        if (!row && !control_find(header.op) && !header.status)
                return refuse(VEC_EMALFORMED, VEC_REASON_BAD_OP, ret_reason);
        r = header.op < CONTROL_HALF ? check_data(&header, row, ret_reason) : check_control(&header, ret_reason);
        if (r < 0)
                return r;
        *ret = header;
        return 0;
}

void vec_header_build(const struct vec_header *header, uint8_t ret_bytes[48])
{
        put32(ret_bytes, VEC_WIRE_MAGIC);
        ret_bytes[4] = VEC_WIRE_VERSION;
        ret_bytes[5] = header->op;
        ret_bytes[6] = header->flags;
        ret_bytes[7] = header->status;
        put64(ret_bytes + 8, header->request);
        put64(ret_bytes + 16, header->key);
        put32(ret_bytes + 24, header->stream);
        put32(ret_bytes + 28, header->sequence);
        put32(ret_bytes + 32, header->aad_len);
        put32(ret_bytes + 36, header->data_len);
        put16(ret_bytes + 40, header->iv_len);
        put16(ret_bytes + 42, header->tag_len);
        put32(ret_bytes + 44, 0);
}

size_t vec_body_size(const struct vec_header *header)
{
        return (size_t)header->iv_len + header->aad_len + header->data_len + header->tag_len;
}

int vec_reason_rule(uint8_t reason)
{
        const struct vec_reason_row *row = reason_find(reason);

        return row ? row->rule : 0;
}

const char *vec_reason_sentence(uint8_t reason)
{
        const struct vec_reason_row *row = reason_find(reason);

        return row ? row->sentence : "";
}
