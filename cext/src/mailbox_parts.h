/* What the files of the mailbox share: mailbox.c, commands.c. */
#ifndef VEC_MAILBOX_PARTS_H
#define VEC_MAILBOX_PARTS_H

#include "pump_parts.h"

struct vec_command {
        struct vec_command *next;
        const struct vec_row *row;
        uint32_t instance, card, deadline_ms, most;
        uint64_t number, handle;
        int fd, word_fd, status, state;
        uint8_t alg, usage, attributes, reason;
        const uint8_t *tag;
        void *ret;
        uint32_t *ret_count;
        struct vec_grid_report *ret_grid;
        const struct vec_share *shares;
        uint16_t *round;
        uint32_t strict, slot_us, count, slots;
};

enum vec_when { AT_ONCE, IN_THE_TAIL, IN_ITS_SLOT };

struct vec_row {
        int (*serve)(vec_pump *pump, struct vec_command *command);
        uint8_t in_turn;
        enum vec_when when;
};

/* Put it in the box and wait. What the pump has begun it ends soon, so that is waited for: nothing is done twice. */
int vec_mailbox_post(vec_pump *pump, struct vec_command *command, const struct vec_row *row, uint32_t timeout_ms,
                     uint8_t *ret_reason);

#endif
