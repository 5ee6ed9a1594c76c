/* What the generators share: one stage's forward or backward of a micro-batch with its messages. Inside this room only. */
#ifndef SC_SCHEDULE_LIST_H
#define SC_SCHEDULE_LIST_H

#include "proto/base/plan.h"

/* RECV_F F SEND_F and RECV_B B SEND_B, without the messages that the stage's place makes needless. */
sc_status sc_schedule_add_forward(sc_plan *plan, int stage, int microbatch);
sc_status sc_schedule_add_backward(sc_plan *plan, int stage, int microbatch);

/* The actions of one stage's training step up to its last backward. */
typedef sc_status sc_schedule_generator(sc_plan *plan, int stage);
sc_schedule_generator sc_schedule_gpipe;
sc_schedule_generator sc_schedule_1f1b;

#endif
