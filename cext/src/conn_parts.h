/* What the files of a connection share: conn.c, receive.c, send.c. */
#ifndef VEC_CONN_PARTS_H
#define VEC_CONN_PARTS_H

#include "pump_parts.h"

static inline int tx_pending(const struct vec_conn *conn)
{
        return conn->tx_end != conn->tx_start;
}

static inline int large_complete(const struct vec_conn *conn)
{
        return conn->large && conn->large_have == conn->large_need;
}

/* ---- conn.c ---- */

/* A complete frame waits for the instance's turn. */
void vec_conn_ready(struct vec_conn *conn);
/* A large frame waits for credit; no longer. */
void vec_conn_starve(vec_pump *pump, struct vec_conn *conn);
void vec_conn_unstarve(vec_pump *pump, struct vec_conn *conn);
/* Events and deadline, by what it waits for now. */
void vec_conn_arm(vec_pump *pump, struct vec_conn *conn);
/* What it waited for is there: whatever comes next has time of its own. */
void vec_conn_wait_anew(vec_pump *pump, struct vec_conn *conn);

/* ---- receive.c ---- */

void vec_conn_receive(vec_pump *pump, struct vec_conn *conn);
/* The header at `bytes`, judged: the data half serves requests, of data operations. */
void vec_conn_judge(const uint8_t *bytes, struct vec_frame *frame);
void vec_conn_large_free(vec_pump *pump, struct vec_conn *conn);

/* ---- send.c ---- */

void vec_conn_flush(vec_pump *pump, struct vec_conn *conn);
void vec_conn_refuse(vec_pump *pump, struct vec_conn *conn, const struct vec_header *of, int status, uint8_t reason);
void vec_conn_tx_free(vec_pump *pump, struct vec_conn *conn);
void vec_conn_credit_free(vec_pump *pump, struct vec_conn *conn);

#endif
