/* control: the socket of posternctl. One line is a question: [json ][all ]WORD[ ARGUMENT]; the answer is "ok N" or "error N" and N bytes, or "follow" and lines
 * until one side goes. First loop only, but for what is marked. */
#ifndef SERVICE_CONTROL_H
#define SERVICE_CONTROL_H

#include "gateway.h"
#include "postern/base/answer.h"

struct question;

/* How a question is answered: fills q->out, or q->fault and returns -1. */
typedef int question_handler(struct question *q);

/* One question with what its answer needs; lives until control has sent it. */
struct question {
    struct gateway *gateway;
    struct slice argument;        /* in line */
    bool json;
    bool all;
    struct buf line;
    struct buf out;
    struct fault fault;
    int result;
    struct pool_task task;
    question_handler *handler;
    void *sweep;                  /* sessions.c */
};

int control_new(struct gateway *gateway, const char *path, struct control **out, struct fault *fault);
void control_free(struct control **control);
/* A new snapshot is in force: tells those who follow. */
void control_follow(struct control *control, struct snapshot *snapshot);
/* The handler has ended. */
void question_answered(struct question *q);

/* sessions.c: both go round all loops and call question_answered in the end. */
void sessions_list(struct question *q);
void sessions_kick(struct question *q);
void sessions_forget(struct question *q);

/* status.c, [loop 0] */
int status_answer(struct question *q);

/* reports.c: [T] */
int settings_answer(struct question *q);
int links_answer(struct question *q);
int access_answer(struct question *q);
int locate_answer(struct question *q);

/* lockouts.c: [T] */
int lockouts_answer(struct question *q);
int unlock_answer(struct question *q);

#endif
