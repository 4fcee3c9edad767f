/* What the pump says of a turn to the audit chain (audit.h): the difference that the turn made to its counters. */
#include "pump_parts.h"

void vec_record_begin(vec_pump *pump)
{
        pump->before = pump->counters;
        pump->broken_before = pump->out_of_service;
}

void vec_record_now(vec_pump *pump, enum vec_audit_kind kind, uint32_t instance, unsigned flags)
{
        struct vec_audit_facts facts = {
                .word = pump->word ? vec_word_load(pump->word) : 0,
                .instance = (uint16_t)instance,
                .kind = (uint8_t)kind,
                .flags = (uint8_t)(flags | (pump->out_of_service ? VEC_AUDIT_OUT_OF_SERVICE : 0)),
        };

        vec_audit_note(pump->audit, &facts);
}

void vec_record_end(vec_pump *pump, enum vec_audit_kind kind, uint32_t instance, unsigned flags)
{
        const struct vec_counters *before = &pump->before, *now = &pump->counters;
        uint64_t switched = now->switches - before->switches, wiped = now->wipes - before->wipes;
        int broke = pump->out_of_service && !pump->broken_before;
        struct vec_audit_facts facts = {
                .word = pump->word ? vec_word_load(pump->word) : 0,
                .instance = (uint16_t)instance,
                .kind = (uint8_t)kind,
                .flags = (uint8_t)flags,
                .requests = (uint16_t)(now->requests - before->requests),
                .refused = (uint16_t)(now->refused - before->refused),
        };

        /* A switch whose wipe could be checked is one wipe; what is more is R11's, or one that could not. */
        if (switched)
                facts.flags |= VEC_AUDIT_SWITCHED;
        if (wiped > switched)
                facts.flags |= broke ? VEC_AUDIT_WIPED : VEC_AUDIT_WIPED | VEC_AUDIT_READ_BACK;
        if (pump->out_of_service)
                facts.flags |= VEC_AUDIT_OUT_OF_SERVICE;
        vec_audit_note(pump->audit, &facts);
}
