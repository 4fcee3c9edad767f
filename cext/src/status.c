/* The statuses: status.h as data. */
#include "vec/status.h"

#define ROW(name, number, exit_code, ckr, sentence) {#name, number, exit_code, ckr, sentence},
static const struct vec_status_row rows[] = {VEC_STATUSES(ROW)};
#undef ROW

enum { COUNT = sizeof rows / sizeof rows[0] };

const struct vec_status_row *vec_status_rows(size_t *ret_count)
{
        *ret_count = COUNT;
        return rows;
}

const char *vec_status_sentence(int status)
{
        /* Not -status: the smallest int has no positive. */
        for (size_t at = 0; at < COUNT; at++)
                if (status == rows[at].number || status == -(int)rows[at].number)
                        return rows[at].sentence;
        return "no such status";
}
