/*
 * The paper's attributes, one bit each: what a cell of M or b, a card word and a row of the operation table hold
 * (docs/model.md, "Elements").
 */
#ifndef VEC_ATTRIBUTE_H
#define VEC_ATTRIBUTE_H

enum {
        VEC_R = 1,                     /* read */
        VEC_W = 2,                     /* read and write */
        VEC_A = 4,                     /* append */
        VEC_C = 8,                     /* trust relation */
        VEC_E = 16,                    /* e*, manager instruction */
};

#endif
